"""The served API, held to its description by schemathesis with every check that it has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.edge.served import function, served
from tests.support.edge_server import edge_server
from tests.support.processes import ROOT, Server, base_environ

TOKEN = "a-token-for-the-run-of-the-checks"  # noqa: S105 - a made-up one
#: Half of the calls name the function that is registered, half name what is generated.
CONFIGURATION = """
seed = 1
hooks = "tests.routes.hooks"

[dictionaries.functions]
values = ["echo"]

[parameters]
"path.name" = { dictionary = "functions", probability = 0.5 }
"""
EXAMPLES = "20"

#: Sent where the description asks for it, and left out where a check wants to see it missing.
AUTHENTICATION = f"""
[auth.openapi.bearer]
bearer = "{TOKEN}"
"""


def _document(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = server.get("/api/openapi.json").json()
    return document


def _run(
    server: Server, directory: Path, configuration: str, document: Mapping[str, Any], *more: str
) -> subprocess.CompletedProcess[str]:
    """Run all checks on what a document says of a server."""
    (directory / "schemathesis.toml").write_text(configuration)
    # From a file, because the operation that a document is read from would be left out.
    (directory / "openapi.json").write_text(json.dumps(document))
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
            *("run", "openapi.json", "--url", server.url, "--no-color"),
            *("--checks", "all", "--mode", "all", "--max-examples", EXAMPLES),
            *("--report", "json", "--report-json-path", "report.json", *more),
        ],
        cwd=directory,
        env=base_environ(PYTHONPATH=str(ROOT), NO_PROXY="127.0.0.1", HOME=str(directory)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )


def _check(server: Server, directory: Path, configuration: str) -> None:
    """Let every operation pass every check."""
    document = _document(server)
    run = _run(server, directory, configuration, document)
    assert run.returncode == 0, run.stdout
    tested = json.loads((directory / "report.json").read_text())["operations"]["tested"]
    assert tested == sum(map(len, document["paths"].values()))


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A real server with one edge function that answers, behind one trusted proxy."""
    environ = {"TRUSTED_PROXIES": "1", **request.param}
    with edge_server() as edge, served(tmp_path, function("echo", edge.url), **environ) as running:
        yield running


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_without_a_token(server: Server, tmp_path: Path) -> None:
    """Where no token is configured every operation does what is described, and nothing else."""
    _check(server, tmp_path, CONFIGURATION)


@pytest.mark.parametrize("server", [{"AUTO_FIX_TOKEN": TOKEN}], indirect=True)
def test_with_a_token(server: Server, tmp_path: Path) -> None:
    """Where one is configured too, for who has it; who has none or a wrong one is refused."""
    _check(server, tmp_path, CONFIGURATION + AUTHENTICATION)


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_a_lie_is_found(server: Server, tmp_path: Path) -> None:
    """A description that says something else than the server does fails the run."""
    document = _document(server)
    answer = document["paths"]["/livez"]["get"]["responses"]["200"]
    answer["headers"]["X-Promised"] = {"required": True, "schema": {"type": "string"}}
    run = _run(server, tmp_path, CONFIGURATION, document, "--include-operation-id", "livez")
    assert run.returncode == 1
    assert "X-Promised" in run.stdout
