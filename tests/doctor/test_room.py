"""An owner's package keeps none of this house's rules, and breaks no check for that."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import Checkout
from tests.support.processes import ROOT
from tests.support.ugly import UGLY_BLUEPRINT

BIN = Path(sys.executable).parent
TABLE = '\n[blueprint.ugly]\nimport = "blueprints.ugly:SHOP"\n'


@pytest.fixture
def own(checkout: Checkout) -> Checkout:
    """A copy of the project with the owner's package."""
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, checkout.root)
    (checkout.root / "blueprints").mkdir(exist_ok=True)
    checkout.write("blueprints/ugly.py", UGLY_BLUEPRINT)
    checkout.write("orchestrator.toml", checkout.read("orchestrator.toml") + TABLE)
    return checkout


def commands(own: Checkout) -> list[list[str]]:
    """What `make check` runs there."""
    printed = subprocess.run(
        ["make", "-n", "-o", "setup", f"BIN={BIN}", "check"],  # noqa: S607
        cwd=own.root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [shlex.split(line) for line in printed.splitlines()]


def test_the_checks_of_this_house_leave_it_alone(own: Checkout) -> None:
    """Format, lint, contracts and the doctor pass; the types' command does not name it."""
    ran = set()
    for command in commands(own):
        tool = Path(command[0]).name
        ran.add(tool)
        if tool == "mypy":
            # A minute without a cache, so what it would look at is enough.
            assert not [part for part in command[1:] if part in {".", "blueprints"}]
            continue
        ended = own.command(command)
        assert (ended.code, tool) == (0, tool), f"{ended.out}\n{ended.err}"
    assert ran == {"ruff", "mypy", "lint-imports", BIN.joinpath(sys.executable).name}


def test_a_linter_of_the_whole_directory_leaves_it_alone(own: Checkout) -> None:
    """So an editor has nothing to say of it either."""
    ended = own.command([str(BIN / "ruff"), "check", "."])
    assert ended.code == 0, ended.out


def test_the_doctor_looks_at_it(own: Checkout) -> None:
    """A package that nothing brings is found in it, with the line."""
    own.write("blueprints/ugly.py", f"import quuxframework\n{UGLY_BLUEPRINT}")
    ended = own.run("doctor", "--strict", "--offline", "--json")
    (found,) = ended.json["findings"]
    assert (ended.code, found["code"]) == (1, "missing_requirement")
    assert (found["file"], found["line"]) == ("blueprints/ugly.py", 1)
