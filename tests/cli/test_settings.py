"""``settings``: what is set, where it came from, what is wrong, and nobody's secrets."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.settings import markdown_table
from app.settings.declarations import VARIABLES, examine, misspellings
from app.settings.sources import Environment, parse
from tests.cli.test_commands import BARE

if TYPE_CHECKING:
    from tests.cli.support import Checkout, Ended

SECRET = "hunter2-canary"  # noqa: S105 - a made-up one
#: The project's own file. Flask's program leaves it to us: else it wants python-dotenv for it.
OWN = {"ENV_FILE": "", "FLASK_SKIP_DOTENV": "1"}
SECRETS = [variable.name for variable in VARIABLES if variable.secret]


def _by_name(ended: Ended) -> dict[str, Any]:
    return {one["name"]: one for one in ended.json["settings"]}


def test_shows_every_setting_and_its_source(checkout: Checkout) -> None:
    """The environment's, the file's with its line, and the defaults."""
    checkout.write(".env", "# ours\nPORT=8080\nTHREADS=3\n")
    ended = checkout.flask("settings", "--json", **OWN, THREADS="4")
    listed = _by_name(ended)
    assert (ended.code, ended.json["ok"], ended.json["faults"]) == (0, True, [])
    assert list(listed) == [one.name for one in VARIABLES]
    found = {name: (listed[name]["value"], listed[name]["source"]) for name in listed}
    assert found["PORT"] == ("8080", ".env line 2")
    assert found["THREADS"] == ("4", "the environment")
    assert found["LOG_LEVEL"] == ("INFO", "default")
    assert found["EDGE_FUNCTIONS_FILE"] == (None, "default")
    assert found["AUTO_FIX_LOCK"] == (str(checkout.root / "requirements-flask.lock"), "default")
    lines = checkout.run("settings", ENV_FILE="").out.splitlines()
    assert lines[0].split() == ["NAME", "VALUE", "FROM"]
    assert ["PORT", "8080", ".env", "line", "2"] in [line.split() for line in lines]


def test_shows_what_is_wrong_instead_of_dying(checkout: Checkout) -> None:
    """Status 78, everything else reported all the same, each fault with its source."""
    checkout.write(".env", f"AUTO_FIX_MODE=maybe\n{SECRET}\nAUTO_FIX_WHEELHUOSE=x\n")
    ended = checkout.run("settings", "--json", ENV_FILE="", PORT="x", THREADS="4")
    assert (ended.code, ended.json["ok"]) == (78, False)
    messages = [fault["message"] for fault in ended.json["faults"]]
    assert sorted(messages) == [
        ".env line 2 cannot be used, and is not shown; expected NAME=value, a comment or nothing",
        "AUTO_FIX_MODE in .env line 1 is 'maybe'; expected heal, report or off",
        "PORT in the environment is 'x'; expected 1 to 65535",
    ]
    listed = _by_name(ended)
    assert [name for name in listed if not listed[name]["usable"]] == ["AUTO_FIX_MODE", "PORT"]
    assert listed["THREADS"]["value"] == "4"
    (warning,) = ended.json["warnings"]
    assert "AUTO_FIX_WHEELHOUSE is" in warning
    plain = checkout.run("settings", ENV_FILE="", PORT="x")
    assert (plain.code, plain.err) == (78, "")
    assert all(message in plain.out for message in messages)
    assert ["PORT", "cannot", "be", "used", "the", "environment"] in [
        line.split() for line in plain.out.splitlines()
    ]
    assert SECRET not in f"{ended}{plain}"


@pytest.mark.parametrize("right", [True, False])
def test_shows_no_secret(checkout: Checkout, *, right: bool) -> None:
    """Set or not is all that is said, in every form and wherever it is kept."""
    end = "" if right else " is wrong"
    token = checkout.write("token", f"{SECRET}{end}\n")
    checkout.write("tokens", f"ci:{SECRET}{end}\n")
    environ = {
        "AUTO_FIX_TOKENS_FILE": "tokens",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{SECRET}@127.0.0.1:4318{end}\0"[:-1],
    }
    for more in ({"AUTO_FIX_TOKEN": f"{SECRET}{end}"}, {"AUTO_FIX_TOKEN_FILE": str(token)}):
        ended = checkout.run("settings", "--json", **environ, **more)
        plain = checkout.run("settings", **environ, **more)
        assert ended.code == plain.code == (0 if right else 78)
        assert SECRET not in f"{ended}{plain}"
        listed = _by_name(ended)
        shown = {
            name: listed[name]["value"] for name in SECRETS if name in {*more, "AUTO_FIX_TOKENS"}
        }
        assert set(shown.values()) == {"set" if right else None}
        assert listed["OTEL_EXPORTER_OTLP_ENDPOINT"]["value"] is not None


def test_prints_the_table_of_the_readme(checkout: Checkout) -> None:
    """One row a setting, whatever is set here, and nothing else."""
    ended = checkout.run("settings", "--markdown", PORT="x")
    assert (ended.code, ended.out.splitlines()) == (0, list(markdown_table()))
    body = checkout.run("settings", "--markdown", "--json").json
    assert body["markdown"] == ended.out.splitlines()
    assert all(line.count("|") == 5 for line in ended.out.splitlines())


VARIABLE = """
[variable.SHOP_SIZE]
type = "integer"
default = 3
help = "How many shops there are."

[variable.SHOP_KEY]
secret = true
help = "Token of the shop."

[blueprint.orders]
import = "shop.orders:bp"
environment = ["SHOP_KEY"]
"""


class TestDeclared:
    """The variables of the manifest."""

    def test_are_shown_with_their_sources(self, checkout: Checkout) -> None:
        """As the settings are; of a secret only that it is set."""
        checkout.write("orchestrator.toml", VARIABLE)
        ended = checkout.run("settings", "--json", SHOP_KEY=SECRET)
        listed = _by_name(ended)
        shown = {name: (listed[name]["value"], listed[name]["source"]) for name in listed}
        assert (ended.code, SECRET in ended.out) == (0, False)
        assert shown["SHOP_KEY"] == ("set", "the environment")
        assert shown["SHOP_SIZE"] == ("3", "default")

    @pytest.mark.parametrize("dotenv_skipped", ["1", ""])
    def test_one_of_the_file(self, checkout: Checkout, dotenv_skipped: str) -> None:
        """Its source is the file, and what the example has is a placeholder there, too."""
        checkout.write("orchestrator.toml", VARIABLE)
        checkout.write(".env", f"SHOP_KEY={SECRET}\n")
        own = {"ENV_FILE": "", "FLASK_SKIP_DOTENV": dotenv_skipped}
        assert _by_name(checkout.flask("settings", "--json", **own))["SHOP_KEY"]["source"] == ".env"
        checkout.write(".env.example", f"SHOP_KEY={SECRET}\n")
        ended = checkout.flask("settings", **own)
        assert "SHOP_KEY in .env is a placeholder" in ended.out

    def test_one_that_is_missing(self, checkout: Checkout) -> None:
        """Status 78, and the sentence that health has."""
        checkout.write("orchestrator.toml", VARIABLE)
        ended = checkout.run("settings", SHOP_SIZE="many")
        assert ended.code == 78
        assert "SHOP_KEY is not set: set text (Token of the shop)" in ended.out
        assert "SHOP_SIZE in the environment is not a whole number" in ended.out

    def test_is_an_open_fault(self, checkout: Checkout) -> None:
        """Of a blueprint that needs it: ``status`` shows it with its advice."""
        checkout.write("orchestrator.toml", VARIABLE)
        (fault,) = checkout.run("status", "--json").json["faults"]
        assert (fault["kind"], fault["subject"]) == ("environment", "SHOP_KEY")
        assert (fault["cause"], fault["needed_by"]) == ("environment_missing", ["shop.orders"])
        assert "Token of the shop" in checkout.run("status").out
        assert checkout.run("status", "--json", SHOP_KEY=SECRET).json["faults"] == []

    def test_an_example(self, checkout: Checkout) -> None:
        """A .env file that says what each is for; it reads back as the defaults."""
        checkout.write("orchestrator.toml", VARIABLE)
        text = checkout.run("settings", "--example").out
        assert "# How many shops there are. (a whole number)\n# SHOP_SIZE=3\n" in text
        assert "# Token of the shop. (text, secret)\nSHOP_KEY=\n" in text
        assert all(f"# {variable.name}=" in text for variable in VARIABLES)
        parsed = parse(text.encode(), ".env")
        assert ([entry.name for entry in parsed.entries], parsed.faults) == (["SHOP_KEY"], ())


class TestEveryCommand:
    """The file counts for all of them, as it does for the service."""

    def test_reads_the_file(self, checkout: Checkout) -> None:
        """What status says of the engine is the file's where the environment has nothing."""
        checkout.write(".env", "AUTO_FIX_MODE=off\n")
        assert checkout.run("status", "--json", ENV_FILE="").json["mode"] == "off"
        ended = checkout.flask("status", "--json", **OWN, AUTO_FIX_MODE="report")
        assert ended.json["mode"] == "report"

    def test_refuses_a_wrong_line(self, checkout: Checkout) -> None:
        """In one sentence that names it; the doctor makes a finding of it."""
        checkout.write(".env", "AUTO_FIX_MODE=maybe\nnonsense\n")
        ended = checkout.run("status", ENV_FILE="")
        assert (ended.code, ended.out) == (78, "")
        assert ".env line 2 cannot be used" in ended.err
        assert "AUTO_FIX_MODE in .env line 1 is 'maybe'" in ended.err
        found = checkout.run("doctor", "--offline", "--json", ENV_FILE="").json["findings"]
        subjects = {one["subject"] for one in found if one["code"] == "setting_invalid"}
        assert subjects == {".env line 2", "AUTO_FIX_MODE"}

    def test_the_file_reaches_the_installers(self, checkout: Checkout) -> None:
        """An index that only the file names is the one that is asked."""
        environ = {name: text for name, text in checkout.environ.items() if "INDEX" not in name}
        checkout.write(
            ".env",
            "UV_DEFAULT_INDEX=http://127.0.0.1:9/canary/\nPIP_INDEX_URL=http://127.0.0.1:9/canary/\n",
        )
        alone = type(checkout)(checkout.root, {**environ, "UV_NO_CONFIG": "1", "ENV_FILE": ""})
        ended = alone.run("lock", "--check")
        assert ended.code == 69
        assert "127.0.0.1:9" in ended.err

    def test_the_file_counts_before_click_is_there(self, checkout: Checkout) -> None:
        """What heals the commands' own needs does so by the same settings."""
        bare = [sys.executable, "-I", "-S", "-c", BARE, str(checkout.root), "status"]
        checkout.write(".env", "AUTO_FIX_MODE=off\n")
        ended = checkout.command(bare, ENV_FILE="")
        assert (ended.code, ended.out) == (69, "")
        checkout.write(".env", f"AUTO_FIX_MODE=maybe\n{SECRET}\n")
        ended = checkout.command(bare, ENV_FILE="")
        assert (ended.code, ended.out) == (78, "")
        assert "AUTO_FIX_MODE in .env line 1 is 'maybe'" in ended.err
        assert "Traceback" not in ended.err
        assert SECRET not in ended.err


TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=20).map(SECRET.__add__)


@given(
    st.dictionaries(st.sampled_from([*SECRETS, "AUTO_FIX_TOKENS_FILE", "AUTO_FIX_TKOEN"]), TEXTS)
)
def test_no_secret_is_in_anything_that_is_reported(values: dict[str, str]) -> None:
    """Whatever is wrong with it, and however it is looked at."""
    environ = Environment(values)
    settings, faults = examine(environ)
    readings = [variable.read(environ) for variable in VARIABLES]
    shown = [one.show(read.value) for one, read in zip(VARIABLES, readings, strict=True)]
    listed = [environ, settings, faults, [str(fault) for fault in faults], readings, shown]
    assert SECRET not in json.dumps([repr(one) for one in (*listed, misspellings(environ))])
