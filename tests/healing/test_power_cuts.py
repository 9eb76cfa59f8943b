"""A power cut at any moment of a heal leaves the old state or the new one."""

from __future__ import annotations

from pathlib import Path

from app.healing.budget import MAX_RETRIES
from app.settings.declarations import Mode
from tests.conftest import World
from tests.healing.engines import run
from tests.healing.power_cuts import FATES

HEAL = """
from tests.healing.power_cuts import PowerCuts
cuts = PowerCuts(settings.home, settings.home.with_name("cuts"))
settings.home.mkdir(0o700)
cuts.begin()
done = fixer.safe_import("prey")[0]
say(done, cuts.end())
"""


def test_old_or_new(world: World) -> None:
    """A layer is there whole or not at all, and the budget holds, whatever was not on the disk."""
    world.publish("prey", files={f"prey/{name}.py": "X = 1\n" for name in ("__init__", "part")})
    done, moments = run(world, HEAL).split()
    assert done == "True"
    whole = {_content(layer) for layer in world.settings.home.glob("layers/*/*") if layer.is_dir()}
    assert len(whole) == 1
    old: list[Path] = []
    new: list[Path] = []
    for home in sorted((world.root / "cuts").iterdir()):
        fixer = world.fixer(home=home)
        assert fixer.mode is Mode.HEAL, home
        committed = fixer.layers.committed()
        layers = {_content(layer) for layer in home.glob("layers/*/*") if layer.is_dir()}
        assert layers == (whole if committed else set()), home
        assert fixer.budget_of("dependency", "prey").attempts_left >= MAX_RETRIES - 1, home
        (new if committed else old).append(home)
    assert len(old) + len(new) == len(FATES) * int(moments)
    for home in (old[0], old[len(old) // 2], old[-1], new[0]):
        assert run(world, "say(fixer.safe_import('prey')[0])", home=str(home)) == "True", home


def _content(directory: Path) -> frozenset[tuple[str, bytes]]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return frozenset((str(path.relative_to(directory)), path.read_bytes()) for path in files)
