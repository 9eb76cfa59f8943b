"""A blueprint that computes its addresses is known by those at which it was served last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.isolation.last_addresses import LARGEST, MOST_ADDRESSES, LastAddresses
from app.manifest import Blueprint
from app.settings.declarations import Settings
from tests.conftest import World
from tests.serving.house import House
from tests.support.blueprints import BLUEPRINTS

COMPUTED = """
from flask import Blueprint

bp = Blueprint("red", __name__, url_prefix="/".join(("", "own")))
bp.add_url_rule("/", view_func=lambda: "own")
"""
RULES = """
from flask import Blueprint

bp = Blueprint("red", __name__)
for word in ("orders", "shops"):
    bp.add_url_rule(f"/{word}/<name>", word, view_func=lambda name: name)
"""


@pytest.mark.parametrize(("code", "paths"), [(COMPUTED, ["/own"]), (RULES, ["/orders", "/shops"])])
def test_they_answer_in_quarantine(
    house: House,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    paths: list[str],
) -> None:
    """What a process has served answers 503 in the next one, where it cannot be imported."""
    monkeypatch.syspath_prepend(str(tmp_path / "house"))

    def create(code: str, module: str) -> Flask:
        house.specs.clear()
        house.add(module, code, prefix=None)
        spec: dict[str, Any] = {**house.specs[0], "name": "red"}
        own = (*BLUEPRINTS, Blueprint(**spec))
        settings = Settings(healing=world.settings)
        return create_app({"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "BLUEPRINTS": own})

    name = f"red_{len(paths)}"
    assert create(code, f"{name}_good").test_client().get(f"{paths[0]}/").status_code != 503
    # Another module, since this process has imported that one.
    client = create("1 / 0\n", f"{name}_bad").test_client()
    for path in paths:
        answer = client.get(f"{path}/any")
        assert (answer.status_code, answer.get_json()["blueprint"]) == (503, "red")
    assert client.get("/owner").status_code == 404
    shown = client.get("/api/auto-fix/status").get_json()["blueprints"]["red"]
    assert shown["paths"] == paths


class TestFile:
    """What is kept, and what is made of a file that somebody else wrote."""

    def test_what_is_kept(self, tmp_path: Path) -> None:
        """The last ones of each, as long as it is in the manifest, up to a bound."""
        known = LastAddresses(tmp_path / "home")
        assert known.of("red") == ()
        known.remember({"red": ("/a",), "blue": ("/b",)}, ["red", "blue"])
        known.remember({"red": ("/c",)}, ["red", "blue"])
        assert (known.of("red"), known.of("blue")) == (("/c",), ("/b",))
        many = tuple(f"/{number}" for number in range(2 * MOST_ADDRESSES))
        known.remember({"red": many}, ["red"])
        assert (known.of("red"), known.of("blue")) == (many[:MOST_ADDRESSES], ())
        known.remember({"red": ("/" + "x" * LARGEST,)}, ["red"])
        assert known.of("red") == many[:MOST_ADDRESSES]
        assert [path.name for path in (tmp_path / "home").iterdir()] == ["addresses.json"]

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", ()),
            ("[" * 100_000, ()),
            ('["/a"]', ()),
            ('{"red": "/a"}', ()),
            (json.dumps({"red": ["/a", 1, None, "b", "/c d", ["/e"]], "blue": 7}), ("/a",)),
            (" " * (LARGEST + 1), ()),
        ],
        ids=["empty", "deep", "list", "text", "mixed", "large"],
    )
    def test_a_file_of_another_hand(
        self, tmp_path: Path, text: str, found: tuple[str, ...]
    ) -> None:
        """What is no address is left out, and what is served next replaces it."""
        (tmp_path / "addresses.json").write_text(text, encoding="utf-8")
        known = LastAddresses(tmp_path)
        assert known.of("red") == found
        known.remember({"red": ("/b",)}, ["red"])
        assert known.of("red") == ("/b",)

    def test_a_home_that_cannot_be_written(self, tmp_path: Path) -> None:
        """Costs nothing else."""
        (tmp_path / "home").touch()
        known = LastAddresses(tmp_path / "home")
        known.remember({"red": ("/b",)}, ["red"])
        assert known.of("red") == ()
