"""Each command for real: a subprocess in a copy of the project, wheels from loopback."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from app.cli.group import COMMANDS, EXIT_CODES, auto_fix
from app.isolation.workers import WorkerBoard
from tests.cli.support import Checkout
from tests.support.index import Fault
from tests.support.processes import base_environ, wait_until

if TYPE_CHECKING:
    from tests.conftest import World

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")
ATTEMPTED = "missing_distribution"


class TestAll:
    """What holds for every command."""

    def test_help_documents_the_exit_codes(self, checkout: Checkout) -> None:
        """Flask's program finds the commands, and help lists them with their codes."""
        ended = checkout.flask("--help")
        assert ended.code == 0
        assert all(name in ended.out for name in COMMANDS)
        assert "Exit codes of every command" in ended.out

    @pytest.mark.parametrize("columns", ["60", "80"])
    def test_no_summary_is_cut(self, checkout: Checkout, columns: str) -> None:
        """However narrow the terminal is, subcommands and the group itself included."""
        for arguments in (["auto-fix", "--help"], ["auto-fix", "layers", "--help"], ["--help"]):
            command = [sys.executable, "-m", "flask", *arguments]
            _, _, listed = checkout.command(command, COLUMNS=columns).out.partition("Commands:")
            assert listed
            assert [line for line in listed.splitlines() if line.endswith(("...", "…"))] == []

    @pytest.mark.parametrize("name", ["status", "fix", "history --limit x", "layers verify"])
    def test_a_wrong_command_line_is_json_where_json_is_asked_for(
        self, checkout: Checkout, name: str
    ) -> None:
        """Status 2, and standard error silent."""
        ended = checkout.run(*name.split(), "--json", "--no-such-option")
        assert (ended.code, ended.json["error"]["code"]) == (2, "usage")

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_prints_json(self, name: str) -> None:
        """The option is there, on subcommands too."""
        command = auto_fix.get_command(click.Context(auto_fix), name)
        assert command is not None
        for one in (command, *getattr(command, "commands", {}).values()):
            assert any("--json" in option.opts for option in one.params)

    def test_a_wrong_setting_is_one_sentence(self, checkout: Checkout) -> None:
        """Status 78, the variable named, in both forms."""
        ended = checkout.run("status", AUTO_FIX_MODE="maybe")
        assert (ended.code, ended.out) == (78, "")
        assert "AUTO_FIX_MODE" in ended.err
        body = checkout.run("drift", "--json", AUTO_FIX_MODE="maybe").json
        assert body["error"]["code"] == "setting_invalid"

    def test_a_terminal_gets_a_ruled_table(self, checkout: Checkout) -> None:
        """Elsewhere the same columns are plain; neither has anything that drives a terminal."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "app.cli", "layers"]
        with os.fdopen(ours, "rb", buffering=0) as screen:
            environ = base_environ(**checkout.environ, TERM="dumb", COLUMNS="80")
            subprocess.run(command, cwd=checkout.root, env=environ, stdout=theirs, check=True)
            os.close(theirs)
            shown = screen.read(4096).decode()
        assert "┃ module ┃" in shown
        assert checkout.run("layers").out == "MODULE  AT  INSTALLED  ATTEMPT\n"

    def test_reading_makes_nothing(self, checkout: Checkout) -> None:
        """The home is not created by looking, by the doctor neither."""
        for command in ("status", "history", "drift", "layers", "health"):
            assert checkout.run(command, "--json").code == 0
        checkout.run("doctor", "--offline")
        assert not Path(checkout.environ["AUTO_FIX_HOME"]).exists()

    @pytest.mark.parametrize("missing", ["flask", "rich"])
    def test_works_without(self, checkout: Checkout, missing: str) -> None:
        """An interpreter that cannot import the package still runs the commands."""
        hidden = checkout.root / "hidden" / missing
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").write_text(f"raise ModuleNotFoundError(name={missing!r})\n")
        environ = {"PYTHONPATH": str(hidden.parent)}
        assert checkout.run("status", "--json", **environ).json["mode"] == "heal"
        assert checkout.run("history", **environ).code == 0
        found = checkout.run("doctor", "--offline", "--json", **environ).json["findings"]
        broken = {one["subject"] for one in found if one["code"] == "blueprint_fails"}
        assert ("app.routes.health" in broken) is (missing == "flask")

    def test_heals_click_itself_or_says_so(self, world: World, small: Checkout) -> None:
        """Without click there is one sentence; with an index that has it the command runs."""
        bare = [sys.executable, "-I", "-S", "-c", BARE, str(small.root), "status", "--json"]
        ended = small.command(bare, AUTO_FIX_MODE="report")
        assert ended.code == 69
        assert "click is missing" in ended.err
        world.publish("click", "8.5.1", files=_installed("click"))
        world.publish("packaging", "26.0", files=_installed("packaging"))
        small.write("requirements-flask.lock", world.settings.lock.read_bytes())
        small.approve("click>=8.1", "packaging>=24.0")
        assert json.loads(small.command(bare).out)["fixes"] == ["click", "packaging"]

    def test_documents_every_code(self) -> None:
        """docs/CLI.md has every exit code, command and finding code."""
        from app.doctor.findings import Code
        from tests.support.processes import ROOT

        text = (ROOT / "docs" / "CLI.md").read_text()
        codes = [line.split()[0] for line in EXIT_CODES.splitlines() if line[2:3].isdigit()]
        assert [code for code in codes if f"| {code} |" not in text] == []
        assert [code for code in Code if f"`{code}`" not in text] == []
        assert [name for name in COMMANDS if f"`{name}" not in text] == []


class TestHealing:
    """``fix``, and what the other commands say of it."""

    def test_fix_heals_and_everything_shows_it(self, small: Checkout) -> None:
        """Status, history, test-import, layers, health and drift agree on what was done."""
        assert small.run("test-import", "redis").code == 1
        fixed = small.run("fix", "redis", "--json")
        assert (fixed.code, fixed.json["outcome"]) == (0, "healed")
        assert sorted(fixed.json["installed"]) == ["beta==2.0", "redis==5.9"]
        assert small.run("test-import", "redis", "--json").json["success"] is True
        status = small.run("status", "--json").json
        assert (status["fixes"], status["fix_attempts"]) == (["redis"], {"redis": 1})
        (row,) = small.run("history", "--json").json
        assert (row["module"], row["outcome"], row["cause"]) == ("redis", "healed", ATTEMPTED)
        assert [one["module"] for one in small.run("layers", "--json").json] == ["redis"]
        drift = small.run("drift")
        assert (drift.code, drift.out) == (3, "redis>=5.0\n")
        assert small.run("fix", "redis", "--json").json["outcome"] == "already_available"

    def test_a_failed_fix_says_why_and_reset_gives_the_budget_back(
        self, world: World, small: Checkout
    ) -> None:
        """The outcome is typed; three failures use the budget up; reset returns it."""
        world.index.faults["redis"] = Fault.WRONG_HASH
        for _ in range(3):
            ended = small.run("fix", "redis", "--json")
            assert (ended.code, ended.json["outcome"]) == (1, "hash_mismatch")
        spent = small.run("fix", "redis")
        assert spent.code == 1
        assert "reset redis" in spent.out
        assert small.run("reset", "redis", "--json").json["attempts_left"] == 3
        listed = small.run("history", "--outcome", "hash_mismatch", "--since", "1h", "--json").json
        assert len(listed) == 3

    @pytest.mark.parametrize("name", ["--index-url=x", "../x", "os;rm", "x" * 500, "é"])
    def test_what_is_no_module_name_is_refused(self, checkout: Checkout, name: str) -> None:
        """Status 2 and one line."""
        ended = checkout.run("test-import", "--json", "--", name)
        assert (ended.code, ended.json["error"]["code"]) == (2, "invalid_module_name")

    @pytest.mark.parametrize("command", ["fix", "reset"])
    def test_each_command_refuses_it(self, checkout: Checkout, command: str) -> None:
        """Those that change something above all."""
        ended = checkout.run(command, "--json", "--", "../x")
        assert (ended.code, ended.json["error"]["code"]) == (2, "invalid_module_name")

    def test_a_stranger_is_not_installed(self, small: Checkout, world: World) -> None:
        """What the map does not name is refused, and the index is not asked."""
        ended = small.run("fix", "beta", "--json")
        assert (ended.code, ended.json["outcome"]) == (1, "not_approved")
        assert world.index.requests == []

    def test_history_follows(self, small: Checkout) -> None:
        """A row that another process writes appears, as a line of JSON; Ctrl-C ends it."""
        environ = base_environ(**small.environ)
        command = [sys.executable, "-m", "app.cli", "history", "--follow", "--json"]
        with subprocess.Popen(
            command, cwd=small.root, env=environ, stdout=subprocess.PIPE, text=True
        ) as follower:
            assert follower.stdout is not None
            assert small.run("fix", "redis").code == 0
            assert json.loads(follower.stdout.readline())["outcome"] == "healed"
            follower.send_signal(signal.SIGINT)
            assert follower.wait(20) == 0

    def test_an_interrupted_fix_leaves_nothing_half_done(
        self, world: World, small: Checkout
    ) -> None:
        """Ctrl-C while a wheel is downloaded: status 130, no layer; then it heals."""
        world.index.hold()
        environ = base_environ(**small.environ)
        command = [sys.executable, "-m", "app.cli", "fix", "redis", "--json"]
        with subprocess.Popen(
            command, cwd=small.root, env=environ, stdout=subprocess.PIPE, text=True
        ) as running:
            wait_until(lambda: world.index.waiting)
            running.send_signal(signal.SIGINT)
            body = json.loads(running.communicate(timeout=30)[0])
        assert (running.returncode, body["error"]["code"]) == (130, "interrupted")
        world.index.release()
        assert small.run("layers", "--json").json == []
        assert small.run("fix", "redis").code == 0

    def test_an_unwritable_home_is_what_a_fix_names(self, small: Checkout) -> None:
        """The mode that it leaves, and why; status says the same of itself."""
        home = {"AUTO_FIX_HOME": str(small.root / "requirements-flask.txt" / "home")}
        body = small.run("fix", "redis", "--json", **home).json
        assert (body["outcome"], body["mode_reason"]) == ("mode", "home_unwritable")
        assert "mode (home_unwritable): " in small.run("fix", "redis", **home).out
        status = small.run("status", "--json", **home).json
        assert (status["mode"], status["mode_reason"]) == ("report", "home_unwritable")

    def test_moments_have_one_form(self, small: Checkout) -> None:
        """RFC 3339 with milliseconds and an offset, and the history names the host."""
        assert small.run("fix", "redis").code == 0
        (row,) = small.run("history", "--json").json
        moments = [
            row["at"],
            small.run("layers", "--json").json[0]["at"],
            small.run("drift", "--json").json["items"][0]["at"],
            small.run("health", "--json").json["timestamp"],
        ]
        assert [one for one in moments if not RFC_3339.fullmatch(one)] == []
        header, line = (text.split() for text in small.run("history").out.splitlines())
        assert line[header.index("HOST")] == row["host"] == socket.gethostname()


class TestStatus:
    """The mode of the service beside the command's own."""

    def test_shows_the_mode_of_the_workers(self, checkout: Checkout) -> None:
        """As they wrote it down themselves, whatever this process may do."""
        assert checkout.run("status", "--json").json["service_modes"] == []
        board = WorkerBoard(Path(checkout.environ["AUTO_FIX_HOME"]))
        board.write({"mode": "report"})
        body = checkout.run("status", "--json").json
        assert (body["mode"], body["service_modes"]) == ("heal", ["report"])
        assert RFC_3339.fullmatch(body["workers"][0]["last_seen"])
        assert "heal; the service: report" in checkout.run("status").out
        board.close()


class TestLayers:
    """Listed, verified and removed."""

    def test_verify_sees_every_change(self, small: Checkout) -> None:
        """A changed file, a lost one, a new one and a rewritten RECORD."""
        assert small.run("fix", "redis").code == 0
        assert small.run("layers", "verify").code == 0
        (site,) = Path(small.environ["AUTO_FIX_HOME"]).glob("layers/*/*/site")
        module = site / "redis" / "__init__.py"
        module.write_text("changed = True\n")
        (site / "beta" / "__init__.py").unlink()
        (site / "new.py").touch()
        ended = small.run("layers", "verify", "redis", "--json")
        assert ended.code == 1
        listed = {flaw["file"]: flaw["reason"] for flaw in ended.json[0]["flaws"]}
        assert listed == {
            "redis/__init__.py": "changed since the heal",
            "beta/__init__.py": "missing",
            "new.py": "in no RECORD",
        }
        record = next(site.glob("redis*.dist-info/RECORD"))
        record.write_text(
            "\n".join(line for line in record.read_text().split() if "init" not in line)
        )
        flaws = small.run("layers", "verify", "--json").json[0]["flaws"]
        assert any(flaw["file"].endswith("RECORD") for flaw in flaws)

    def test_remove_undoes_a_fix(self, small: Checkout) -> None:
        """The layer goes and with it the drift; another name is reported."""
        assert small.run("fix", "redis").code == 0
        assert small.run("layers", "remove", "redis", "--json").code == 0
        assert small.run("drift").code == 0
        assert small.run("test-import", "redis").code == 1
        assert small.run("layers", "remove", "redis", "--json").code == 65


class TestHealth:
    """``health`` on the host."""

    def test_sees_dependencies_and_blueprints(self, checkout: Checkout) -> None:
        """The documented fields, healthy here."""
        ended = checkout.run("health", "--json")
        assert (ended.code, ended.json["overall_status"]) == (0, "healthy")
        assert {"dependency_flask", "module_app_routes_health"} <= {*ended.json["checks"]}

    def test_shows_the_mode_that_is_set(self, checkout: Checkout) -> None:
        """Not that of the command, which only reads."""
        assert checkout.run("health", "--json").json["auto_fixer"]["mode"] == "heal"
        body = checkout.run("health", "--json", AUTO_FIX_MODE="off").json
        assert body["auto_fixer"]["mode"] == "off"

    def test_an_unhealthy_service_exits_with_one(self, checkout: Checkout) -> None:
        """A critical blueprint that cannot be imported."""
        checkout.write("app/routes/health.py", "raise RuntimeError\n")
        ended = checkout.run("health")
        assert ended.code == 1
        assert ended.out.startswith("unhealthy\n")


#: An interpreter without site-packages: nothing but the standard library and the project.
BARE = """
import sys
sys.path.insert(0, sys.argv[1])
sys.argv[:2] = ["app.cli"]
from app.cli.__main__ import main
main()
"""


def _installed(name: str) -> dict[str, str | bytes]:
    """The files of an installed package, for a wheel."""
    import importlib

    root = Path(str(importlib.import_module(name).__file__)).parent
    return {str(path.relative_to(root.parent)): path.read_bytes() for path in root.rglob("*.py")}
