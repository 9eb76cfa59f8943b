"""What deploy/kubernetes says fits together, and fits the service that it runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it ships no type hints
import pytest
import yaml  # type: ignore[import-untyped] # it ships no type hints
from werkzeug.exceptions import HTTPException

from app.settings.declarations import VARIABLES, Settings
from tests.container.docker import PORT
from tests.support.http import Build
from tests.support.processes import ROOT

DIRECTORY = ROOT / "deploy/kubernetes"
NAME = "royal-equips-orchestrator"
LABELS = {"app.kubernetes.io/name": NAME}
#: Seconds of the grace period that are left for the end of the processes.
MARGIN = 3


def documents(text: str) -> dict[str, Any]:
    """The documents of a stream, by their kinds."""
    found = [one for one in yaml.safe_load_all(text) if one is not None]
    kinds = {one["kind"]: one for one in found}
    assert len(kinds) == len(found)
    return kinds


@pytest.fixture(scope="module")
def kustomization() -> Any:  # noqa: ANN401 - a YAML document
    """What kustomize is given."""
    return yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text())


@pytest.fixture(scope="module")
def resources(kustomization: Any) -> dict[str, Any]:  # noqa: ANN401
    """Everything that is applied."""
    return documents(
        "\n---\n".join((DIRECTORY / n).read_text() for n in kustomization["resources"])
    )


@pytest.fixture(scope="module")
def pod(resources: dict[str, Any]) -> Any:  # noqa: ANN401
    """What a pod is made from."""
    return resources["Deployment"]["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:  # noqa: ANN401
    """The one container of a pod."""
    (one,) = pod["spec"]["containers"]
    return one


@pytest.fixture(scope="module")
def environ(container: Any) -> dict[str, str]:  # noqa: ANN401
    """The settings that it is given."""
    return {one["name"]: one["value"] for one in container["env"]}


class TestTogether:
    """The documents are of one service."""

    def test_every_file_is_applied(self, kustomization: Any) -> None:  # noqa: ANN401
        """No file is left out."""
        files = {file.name for file in DIRECTORY.iterdir()} - {"kustomization.yaml"}
        assert files == set(kustomization["resources"])

    @pytest.mark.parametrize("version", ["1.30", "1.35"])
    def test_are_valid(self, resources: dict[str, Any], version: str) -> None:
        """Each is what Kubernetes' schemas say, without a field that they do not know."""
        for document in resources.values():
            kubernetes_validate.validate(document, version, strict=True)

    def test_one_that_is_not(self, resources: dict[str, Any]) -> None:
        """A field that is misspelt would be found."""
        wrong = {**resources["Service"], "spce": {}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, "1.35", strict=True)

    def test_kinds(self, resources: dict[str, Any]) -> None:
        """They are those that the documentation names, of versions that are not going away."""
        assert {kind: one["apiVersion"] for kind, one in resources.items()} == {
            "Deployment": "apps/v1",
            "Service": "v1",
            "PodDisruptionBudget": "policy/v1",
            "HorizontalPodAutoscaler": "autoscaling/v2",
            "NetworkPolicy": "networking.k8s.io/v1",
        }
        assert {one["metadata"]["name"] for one in resources.values()} == {NAME}

    def test_selectors(self, resources: dict[str, Any], pod: Any) -> None:  # noqa: ANN401
        """All of them mean the pods of the Deployment."""
        assert LABELS.items() <= pod["metadata"]["labels"].items()
        assert resources["Deployment"]["spec"]["selector"]["matchLabels"] == LABELS
        assert resources["Service"]["spec"]["selector"] == LABELS
        assert resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
        assert resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
        (spread,) = pod["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == LABELS

    def test_ports(self, resources: dict[str, Any], pod: Any, container: Any) -> None:  # noqa: ANN401
        """The Service, the network policy and the scraper mean the port that is listened on."""
        assert container["ports"] == [{"name": "http", "containerPort": PORT}]
        assert Settings().port == PORT
        (port,) = resources["Service"]["spec"]["ports"]
        assert port["targetPort"] == "http"
        (rule,) = resources["NetworkPolicy"]["spec"]["ingress"]
        assert [one["port"] for one in rule["ports"]] == ["http"]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(PORT)

    def test_how_many(self, resources: dict[str, Any]) -> None:
        """Three at least, and the autoscaler alone says so; one at a time may be disrupted."""
        scaled = resources["HorizontalPodAutoscaler"]["spec"]
        assert (scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"]) == (
            "Deployment",
            NAME,
        )
        assert 3 <= scaled["minReplicas"] < scaled["maxReplicas"]
        assert "replicas" not in resources["Deployment"]["spec"]
        assert resources["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
        assert resources["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0

    def test_image(self, kustomization: Any, container: Any) -> None:  # noqa: ANN401
        """It is the one that Compose builds, and kustomize can name another."""
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        assert compose["services"]["orchestrator"]["image"] == f"${{IMAGE:-{NAME}}}"
        assert container["image"] == NAME
        assert [one["name"] for one in kustomization["images"]] == [NAME]

    def test_kubectl_renders_it(self, resources: dict[str, Any]) -> None:
        """It makes the same of the directory, with the image's tag."""
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            pytest.skip("kubectl is not installed")
        rendered = subprocess.run(
            [kubectl, "kustomize", str(DIRECTORY)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found = documents(rendered.stdout)
        (one,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
        image, _, tag = one["image"].partition(":")
        assert (image, bool(tag)) == (NAME, True)
        one["image"] = image
        assert found == resources


class TestService:
    """They fit the service."""

    @pytest.mark.parametrize(
        ("probe", "path"),
        [("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")],
    )
    def test_probes(self, build: Build, container: Any, probe: str, path: str) -> None:  # noqa: ANN401
        """They ask for what the application answers."""
        asked = container[probe]["httpGet"]
        assert asked == {"path": path, "port": "http"}
        assert is_served(build, asked["path"])

    def test_scraped_path(self, build: Build, pod: Any) -> None:  # noqa: ANN401
        """So does the scraper."""
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert is_served(build, annotations["prometheus.io/path"])

    def test_settings(self, environ: dict[str, str]) -> None:
        """Every variable is a setting, with a value that can be used."""
        assert set(environ) <= {name for one in VARIABLES for name in one.names}
        assert Settings.from_environ(environ).graceful_timeout > 0

    def test_times(self, pod: Any, container: Any, environ: dict[str, str]) -> None:  # noqa: ANN401
        """The kubelet kills later than what is under way may end."""
        command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "sleep"
        graceful = Settings.from_environ(environ).graceful_timeout
        end = pod["spec"]["terminationGracePeriodSeconds"]
        assert end >= int(seconds) + graceful + MARGIN
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 120

    def test_token(self, pod: Any, container: Any, environ: dict[str, str]) -> None:  # noqa: ANN401
        """The token's file is that of the mounted secret."""
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "token"]
        assert Path(environ["AUTO_FIX_TOKEN_FILE"]).parent == Path(mount["mountPath"])
        assert mount["readOnly"] is True
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "token"]
        assert volume["secret"]["secretName"] == NAME
        assert f"create secret generic {NAME} --from-literal=tokens=" in documentation()


class TestRights:
    """A pod may do no more than it has to."""

    def test_user(self, pod: Any, container: Any) -> None:  # noqa: ANN401
        """Any user but root, of group 0, without a way to more."""
        context = pod["spec"]["securityContext"]
        assert context == {
            "runAsNonRoot": True,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["automountServiceAccountToken"] is False
        # runAsNonRoot is checked by number.
        assert "\nUSER 10001:" in (ROOT / "Dockerfile").read_text()

    def test_places_to_write(self, pod: Any, container: Any) -> None:  # noqa: ANN401
        """The home, and memory for what is temporary, each bounded."""
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
        assert set(volumes) == {one["name"] for one in container["volumeMounts"]}
        assert "AUTO_FIX_HOME=/var/lib/auto-fix" in (ROOT / "Dockerfile").read_text()
        for path in ("/var/lib/auto-fix", "/tmp", "/dev/shm"):  # noqa: S108 - inside
            assert mounts[path]["emptyDir"]["sizeLimit"]
        for path in ("/tmp", "/dev/shm"):  # noqa: S108
            assert mounts[path]["emptyDir"]["medium"] == "Memory"

    def test_resources(self, container: Any) -> None:  # noqa: ANN401
        """Requests for the scheduler, and a bound for memory."""
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}

    def test_network(self, resources: dict[str, Any]) -> None:
        """Nothing goes out but questions for names and HTTPS, to no private address."""
        policy = resources["NetworkPolicy"]["spec"]
        assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
        names, world = policy["egress"]
        assert {one["port"] for one in names["ports"]} == {53}
        assert [one["port"] for one in world["ports"]] == [443]
        (target,) = world["to"]
        assert "169.254.0.0/16" in target["ipBlock"]["except"]


def is_served(build: Build, path: str) -> bool:
    """Whether a rule of the application is for this path."""
    try:
        return bool(build().url_map.bind("localhost").match(path))
    except HTTPException:
        return False


def documentation() -> str:
    """The page of the documentation."""
    return (ROOT / "docs/KUBERNETES.md").read_text()
