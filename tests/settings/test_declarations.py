"""Settings: defaults, coercion, where they come from, and every fault at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from app.access.tokens import check_token_file
from app.cli.settings import markdown_table
from app.settings.declarations import (
    VARIABLES,
    HealingSettings,
    Mode,
    Settings,
    adopt,
    load,
    misspellings,
)
from app.settings.errors import SettingsError
from app.settings.sources import Environment
from tests.cli.support import copy_project
from tests.support.processes import ROOT, Server, base_environ, http_request, serve

SECRET = "hunter2-canary"  # noqa: S105 - a made-up one
UNREADABLE = "{} cannot be used, and is not shown; expected NAME=value, a comment or nothing"
#: What an operator could set, none of it a default; paths are made where a test needs them.
EVERYTHING = {
    "AUTO_FIX_MODE": "report",
    "AUTO_FIX_HOME": "home",
    "AUTO_FIX_LOCK": "a.lock",
    "AUTO_FIX_MANIFEST": "a.toml",
    "AUTO_FIX_WHEELHOUSE": ".",
    "AUTO_FIX_ALLOW_UNLOCKED": "Yes",
    "AUTO_FIX_SPARES": "on",
    "AUTO_FIX_CONFIRM_SECONDS": "60",
    "AUTO_FIX_MIGRATE": "true",
    "AUTO_FIX_TOKENS": f"ci:{SECRET}, alice:0ther",
    "SECRETS_DIR": "secrets",
    "EDGE_FUNCTIONS_FILE": "functions.toml",
    "PORT": "8080",
    "WEB_CONCURRENCY": "3",
    "THREADS": "16",
    "WORKER_CLASS": "SYNC",
    "LOG_LEVEL": "debug",
    "LOG_FORMAT": "json",
    "ACCESS_LOG": "Errors",
    "STARTUP_PATIENCE": "90",
    "REQUEST_TIMEOUT": "20",
    "GRACEFUL_TIMEOUT": "30",
    "TRUSTED_PROXIES": "1",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "PROMETHEUS_MULTIPROC_DIR": "metrics",
}


def _faults_of(environ: dict[str, str]) -> SettingsError:
    _, faults = Settings.read(Environment.of(environ))
    assert faults
    return SettingsError(faults)


def test_nothing_set_gives_the_defaults() -> None:
    """With no variable set, the settings are the documented defaults."""
    assert Settings.from_environ({}) == Settings()


def test_empty_is_unset() -> None:
    """An empty or blank variable means its default."""
    environ = dict.fromkeys((name for one in VARIABLES for name in one.names), "  ")
    assert Settings.from_environ(environ) == Settings()


def test_everything_set() -> None:
    """Every variable reaches its field."""
    settings = Settings.from_environ(EVERYTHING)
    assert settings == Settings(
        healing=HealingSettings(
            mode=Mode.REPORT,
            home=Path("home").absolute(),
            lock=Path("a.lock").absolute(),
            manifest=Path("a.toml").absolute(),
            wheelhouse=Path().absolute(),
            allow_unlocked=True,
            spares=True,
            secrets=Path("secrets").absolute(),
            confirm_seconds=60,
            migrate=True,
        ),
        edge_functions_file=Path("functions.toml"),
        tokens=(("ci", SECRET), ("alice", "0ther")),
        port=8080,
        web_concurrency=3,
        threads=16,
        worker_class="sync",
        log_level="DEBUG",
        log_format="json",
        access_log="errors",
        startup_patience=90,
        request_timeout=20,
        graceful_timeout=30,
        trusted_proxies=1,
        otlp_endpoint="http://127.0.0.1:4318",
        metrics_directory=Path("metrics"),
    )
    left = {
        field.name
        for field in fields(settings)
        if getattr(settings, field.name) == getattr(Settings(), field.name)
    }
    assert left == {"token", "token_file"}


def test_a_token_alone_or_in_a_file() -> None:
    """The file is named, and read by who compares tokens: it may change while the service runs."""
    assert Settings.from_environ({"AUTO_FIX_TOKEN": SECRET}).token == SECRET
    settings = Settings.from_environ({"AUTO_FIX_TOKEN_FILE": "tokens"})
    assert (settings.token, settings.token_file) == (None, Path("tokens").absolute())
    both = str(_faults_of({"AUTO_FIX_TOKEN": SECRET, "AUTO_FIX_TOKEN_FILE": "tokens"}))
    assert "expected AUTO_FIX_TOKEN or AUTO_FIX_TOKEN_FILE, not both" in both
    assert SECRET not in both


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "1e3"),
        ("PORT", "1_000"),
        ("PORT", "\u0661\u0662"),
        ("PORT", "9" * 10_000),
        ("WEB_CONCURRENCY", "many"),
        ("THREADS", "0"),
        ("WORKER_CLASS", "gthread; rm -rf /"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml\nforged"),
        ("AUTO_FIX_MODE", "maybe"),
        ("EDGE_FUNCTIONS_FILE", "a\0b"),
        ("AUTO_FIX_HOME", "a\0b"),
        ("AUTO_FIX_LOCK", "a" * 5000),
        ("AUTO_FIX_WHEELHOUSE", "{absent}"),
        ("AUTO_FIX_ALLOW_UNLOCKED", "perhaps"),
        ("AUTO_FIX_TOKEN", "two words"),
        ("AUTO_FIX_TOKEN", "x" * 5000),
        ("AUTO_FIX_TOKENS", "no-name"),
        ("AUTO_FIX_TOKENS", "a:1,a:2"),
        ("AUTO_FIX_TOKENS_FILE", "{absent}"),
        ("ACCESS_LOG", "some"),
        ("STARTUP_PATIENCE", "-1"),
        ("REQUEST_TIMEOUT", "0"),
        ("REQUEST_TIMEOUT", "1.5"),
        ("GRACEFUL_TIMEOUT", "0"),
        ("GRACEFUL_TIMEOUT", "601"),
        ("TRUSTED_PROXIES", "11"),
        ("TRUSTED_PROXIES", "0" * 10 + "99"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://" + "x" * 5000),
    ],
)
def test_nonsense_is_one_clear_sentence(tmp_path: Path, name: str, value: str) -> None:
    """A value that makes no sense is named with what was expected, on one short line."""
    text = str(_faults_of({name: value.replace("{absent}", str(tmp_path / "absent"))}))
    assert text.startswith(name)
    assert "expected" in text
    assert text.isprintable()
    assert len(text) < 300


def test_all_faults_at_once() -> None:
    """Three wrong settings are reported together, the engine's among them."""
    error = _faults_of({"PORT": "x", "THREADS": "y", "AUTO_FIX_MODE": "z", "LOG_LEVEL": "INFO"})
    assert sorted(fault.name for fault in error.faults) == ["AUTO_FIX_MODE", "PORT", "THREADS"]


def test_every_setting_can_be_wrong() -> None:
    """None of them takes whatever it is given, and only these end a start."""
    wrong = {variable.name: "\0" for variable in VARIABLES if variable.name != "ENV_FILE"}
    faults = _faults_of(wrong).faults
    assert {fault.name for fault in faults} == set(wrong)
    assert {fault.name for fault in faults if fault.fatal} == {
        "AUTO_FIX_MODE",
        "AUTO_FIX_HOME",
        "AUTO_FIX_LOCK",
        "AUTO_FIX_WHEELHOUSE",
        "AUTO_FIX_TOKEN",
        "AUTO_FIX_TOKENS",
        "AUTO_FIX_TOKEN_FILE",
        "PORT",
    }


def test_falls_back_to_the_default() -> None:
    """What can be lived without is as if it were not set; beside a fatal fault it is named too."""
    assert Settings.from_environ({"THREADS": "0", "LOG_FORMAT": "xml"}) == Settings()
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"THREADS": "0", "PORT": "x"})
    assert {fault.name for fault in caught.value.faults} == {"THREADS", "PORT"}


@pytest.mark.parametrize("name", [one.name for one in VARIABLES if one.secret])
def test_a_wrong_secret_is_not_shown(name: str) -> None:
    """A secret that cannot be used is named, and its value is shown to nobody."""
    error = _faults_of({name: f"very secret {SECRET}\0"})
    assert name in str(error)
    assert "secret" not in f"{error}{error!r}{error.faults!r}"


def test_an_address_loses_its_password() -> None:
    """A wrong one is shown without it."""
    text = str(_faults_of({"OTEL_EXPORTER_OTLP_ENDPOINT": f"ftp://user:{SECRET}@127.0.0.1/"}))
    assert "ftp://...@127.0.0.1/" in text


def test_secrets_are_not_in_the_representation() -> None:
    """Printing the settings prints no token, and not where tokens are."""
    for name in ("AUTO_FIX_TOKEN", "AUTO_FIX_TOKENS", "AUTO_FIX_TOKEN_FILE"):
        text = f"ci:{SECRET}" if name == "AUTO_FIX_TOKENS" else SECRET
        assert SECRET not in repr(Settings.from_environ({name: text}))


def test_settings_are_frozen() -> None:
    """Nobody changes a setting of a running service."""
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_declarations_name_each_variable_once() -> None:
    """No variable is two settings', and each declaration says all of it."""
    names = [name for one in VARIABLES for name in one.own_names]
    assert len(set(names)) == len(names)
    assert set(names) == {name for one in VARIABLES for name in one.names}
    assert all(one.syntax.expected and one.meaning for one in VARIABLES)


def test_documented_defaults_are_the_defaults() -> None:
    """A default that the documentation shows is a value that gives the default."""
    shown = {one.name: one.documented_default for one in VARIABLES if one.name != "ENV_FILE"}
    relative = ("AUTO_FIX_HOME", "AUTO_FIX_LOCK", "AUTO_FIX_MANIFEST")
    environ = {**shown, **{name: str(ROOT / shown[name]) for name in relative}}
    assert Settings.from_environ(environ) == Settings()


def test_the_readme_shows_every_setting() -> None:
    """The README's table is that of the code, row by row."""
    lines = (ROOT / "README.md").read_text().splitlines()
    table = list(markdown_table())
    assert any(lines[at : at + len(table)] == table for at in range(len(lines))), (
        "put the output of `.venv/bin/flask auto-fix settings --markdown` into README.md"
    )
    assert sum(line.startswith("| `") for line in lines) == len(VARIABLES)


#: What Compose does not hand on: the port inside, and what names files inside.
NOT_IN_COMPOSE = {
    "PORT",
    "ENV_FILE",
    "AUTO_FIX_HOME",
    "AUTO_FIX_LOCK",
    "AUTO_FIX_MANIFEST",
    "AUTO_FIX_WHEELHOUSE",
    "AUTO_FIX_TOKEN_FILE",
    "PROMETHEUS_MULTIPROC_DIR",
    "SECRETS_DIR",
}


def test_compose_hands_every_setting_on() -> None:
    """What an operator sets for Compose, in the shell or in ``.env``, holds in the container."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    handed_on = compose["services"]["orchestrator"]["environment"]
    assert set(handed_on) == {one.name for one in VARIABLES} - NOT_IN_COMPOSE
    assert all(value.startswith(f"${{{name}:-") for name, value in handed_on.items())


class TestLoading:
    """What a program does at its start."""

    def test_the_file_reaches_everybody(self, tmp_path: Path) -> None:
        """Installers and telemetry read the environment, so what the file adds is put there."""
        file = tmp_path / "some.env"
        file.write_text("THREADS=3\nPORT=8080\nUV_DEFAULT_INDEX='http://127.0.0.1/simple'\n")
        environ = {"ENV_FILE": str(file), "PORT": "9090", "THREADS": ""}
        settings = load(environ)
        assert (settings.threads, settings.port) == (3, 9090)
        assert environ["UV_DEFAULT_INDEX"] == "http://127.0.0.1/simple"
        assert Settings.from_environ(environ) == settings

    def test_the_file_is_read_once(self, tmp_path: Path) -> None:
        """A worker that begins after a change, or in the middle of one, begins like the others."""
        file = tmp_path / "some.env"
        file.write_text("THREADS=3")
        environ = {"ENV_FILE": str(file)}
        load(environ)
        file.write_text("THREADS=none\nnonsense")
        assert load(environ).threads == 3

    def test_every_fault_has_its_source(self, tmp_path: Path) -> None:
        """The environment's, the file's, those of a file of secrets and of the checks, at once."""
        (tmp_path / "tokens").write_text(f"no name but {SECRET}")
        file = tmp_path / "some.env"
        file.write_text(
            f"THREADS=x\n{SECRET}\nAUTO_FIX_TOKENS_FILE={tmp_path / 'tokens'}\n"
            f"AUTO_FIX_TOKEN_FILE={tmp_path / SECRET}"
        )
        with pytest.raises(SettingsError) as caught:
            load({"ENV_FILE": str(file), "PORT": "x"}, check_token_file)
        assert {fault.name: fault.source for fault in caught.value.faults} == {
            "PORT": "the environment",
            "THREADS": "some.env line 1",
            "some.env line 2": "some.env line 2",
            "AUTO_FIX_TOKENS": "the file that AUTO_FIX_TOKENS_FILE names",
            "AUTO_FIX_TOKEN_FILE": "some.env line 4",
        }
        assert SECRET not in f"{caught.value}{caught.value!r}"

    def test_a_misspelling_is_no_fault(self, tmp_path: Path) -> None:
        """A setting of a newer version must not keep an older one from starting."""
        file = tmp_path / "some.env"
        file.write_text(f"AUTO_FIX_TOKEN_FIEL={SECRET}")
        environ = adopt({"ENV_FILE": str(file), "AUTO_FIX_HOEM": "x"})
        assert Settings.from_environ(environ) == Settings()
        meant = [one.meant for one in misspellings(environ)]
        assert meant == ["AUTO_FIX_HOME", "AUTO_FIX_TOKEN_FILE"]
        assert SECRET not in f"{environ!r}{misspellings(environ)}"

    def test_from_environ_reads_no_file(self, tmp_path: Path) -> None:
        """Code that is given an environment sees that one alone."""
        assert Settings.from_environ({"ENV_FILE": str(tmp_path / "none")}) == Settings()
        environ = Environment({"PORT": "8080"})
        assert Settings.from_environ(environ).port == 8080


class TestStarting:
    """Real processes."""

    @pytest.mark.parametrize("module", ["deploy.serve", "wsgi"])
    def test_refuses_a_wrong_line_of_the_file(self, tmp_path: Path, module: str) -> None:
        """Status 78 and a sentence a fault, with its line, for the project's own .env file."""
        project = copy_project(tmp_path / "project")
        (project / ".env").write_text(f"# ours\nPORT=x\n{SECRET} 'is\nAUTO_FIX_MODE=heal\n")
        (tmp_path / "elsewhere").mkdir()
        ended = subprocess.run(
            [sys.executable, "-m", module],
            cwd=tmp_path / "elsewhere",
            env=base_environ(ENV_FILE="", THREADS="0", PYTHONPATH=str(project)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (78, "")
        start = "royal-equips-orchestrator cannot start: "
        lines = ended.stderr.splitlines()
        assert all(line.startswith(start) for line in lines)
        assert sorted(line.removeprefix(start) for line in lines) == [
            UNREADABLE.format(".env line 3"),
            "PORT in .env line 2 is 'x'; expected 1 to 65535",
            "THREADS in the environment is '0'; expected 1 to 512",
        ]

    @pytest.mark.parametrize(
        "command",
        [("-m", "deploy.serve"), ("-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app")],
        ids=["deploy.serve", "gunicorn"],
    )
    def test_refuses_a_file_without_tokens(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        """However it is started, and neither the token nor the path is shown."""
        place = tmp_path / SECRET
        place.write_text("\n# none yet\n")
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=base_environ(AUTO_FIX_TOKEN_FILE=str(place)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 78
        assert "AUTO_FIX_TOKEN_FILE in the environment cannot be used" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert SECRET not in ended.stderr

    def test_serves_with_what_the_file_sets(self, tmp_path: Path) -> None:
        """Its settings, its tokens and what gunicorn reads; a misspelled one is a warning."""
        (tmp_path / "token").write_text(f"{SECRET}\n")
        (tmp_path / "some.env").write_text(
            f"export AUTO_FIX_TOKEN_FILE='{tmp_path / 'token'}'\n"
            f"AUTO_FIX_HOME={tmp_path / 'home'}\n"
            "AUTO_FIX_MODE=report # heals nothing\n"
            "LOG_FORMAT=json\nWEB_CONCURRENCY=1\nAUTO_FIX_MOED=off\n"
            'GUNICORN_CMD_ARGS="--name=dotenv-canary"\n'
        )
        with serve(tmp_path / "log", {"ENV_FILE": str(tmp_path / "some.env")}) as server:
            assert _fix(server, SECRET) == 200
            assert _fix(server, "another") == 401
            environ = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
        assert b"GUNICORN_CMD_ARGS=--name=dotenv-canary" in environ
        assert not any(SECRET.encode() in one for one in environ)
        lines = server.lines()
        assert [one["meant"] for one in lines if one["event"] == "variable is no setting"] == [
            "AUTO_FIX_MODE"
        ]
        assert sum(one["event"].startswith("Booting worker") for one in lines) == 1


def _fix(server: Server, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{server.url}/api/auto-fix/fix"
    return http_request(url, method="POST", headers=headers, body=b'{"module": "flask"}').status
