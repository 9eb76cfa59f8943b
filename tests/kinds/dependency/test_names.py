"""Import names and the distributions that bring them, as far as that is known."""

from __future__ import annotations

import time

import pytest

from app.kinds.dependency.facts.names import TABLE, import_name, known
from tools.names import table

#: Names that many got wrong, with the distributions that bring them.
NAMES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python",
    "dns": "dnspython",
    "fitz": "pymupdf",
    "git": "gitpython",
    "httpx": "httpx",
    "jwt": "pyjwt",
    "magic": "python-magic",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyopenssl",
    "orjson": "orjson",
    "pkg_resources": "setuptools",
    "psycopg2": "psycopg2",
    "serial": "pyserial",
    "socketio": "python-socketio",
    "ujson": "ujson",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
    # Parts of namespaces.
    "azure.identity.aio": "azure-identity",
    "google.api_core.exceptions": "google-api-core",
    "google.cloud.pubsub_v1": "google-cloud-pubsub",
    "google.cloud.storage": "google-cloud-storage",
    "google.protobuf.message": "protobuf",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.sdk.trace": "opentelemetry-sdk",
    "ruamel.yaml": "ruamel-yaml",
}


@pytest.mark.parametrize(("module", "distribution"), NAMES.items())
def test_known(module: str, distribution: str) -> None:
    """The likeliest distribution of a module comes first."""
    found = known(module)
    assert found is not None
    assert found.distributions[0] == distribution


@pytest.mark.parametrize("name", ["attr", "Crypto", "docx", "fitz", "jwt", "serial", "slugify"])
def test_namesake(name: str) -> None:
    """A distribution of the very name that is another project is known as such."""
    found = known(name)
    assert found is not None
    assert found.namesake == name.lower()
    assert found.namesake not in found.distributions


@pytest.mark.parametrize("name", ["no_such_module", "orchestrator", "", "#", "a\tb", "*"])
def test_unknown(name: str) -> None:
    """Nothing is known of a name that no project has."""
    assert known(name) is None


@pytest.mark.parametrize("name", ["google", "azure", "opentelemetry"])
def test_namespace(name: str) -> None:
    """A namespace alone says nothing of a distribution."""
    found = known(name)
    assert found is not None
    assert found.distributions == ()


@pytest.mark.parametrize(
    ("distribution", "module"),
    [
        ("pyyaml", "yaml"),
        ("beautifulsoup4", "bs4"),
        ("scikit-learn", "sklearn"),
        ("flask", "flask"),
    ],
)
def test_import_name(distribution: str, module: str) -> None:
    """The module of a distribution is known, a public one where it has one."""
    assert import_name(distribution) == module


@pytest.mark.parametrize("distribution", ["no-such-project", "\ud800", "beautiful"])
def test_no_import_name(distribution: str) -> None:
    """Nothing is known of what no project is called."""
    assert import_name(distribution) is None


def test_size_and_speed() -> None:
    """The table is large, small on disk, and quick to ask."""
    assert len(TABLE.read_text(encoding="ascii").splitlines()) > 1500
    assert TABLE.stat().st_size < 300_000
    known("zmq")
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        known("no.such.module")
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.01


def test_table() -> None:
    """The tool ranks by downloads, drops what was packed by mistake and finds namespaces."""
    ranking = ["shared-a", "first", "shared-b", "second", "shared-c", "shared-d", "rare-one"]
    modules = {
        "first": ["brought", "tests"],
        "second": ["brought", "first"],
        "shared-a": ["shared"],
        "shared-b": ["shared"],
        "rare-one": ["boto3-stubs", "single"],
    }
    assert table(modules, ranking, {"single": ["corrected"]}) == {
        "brought": ["first", "second"],
        "first": ["second"],
        "shared*": ["shared-a", "shared-b", "shared-c", "shared-d"],
        "single": ["corrected"],
    }
