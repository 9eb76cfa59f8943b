"""What committed layers add to the start of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.engines import Setting, small
from benchmarks.harness import Measurement, directory, interleaved, medians, spread

REPEATS = 21
LAYERS = 20
BOOT = 'assert fixer.mode == "heal"; print(len(fixer.layers.loaded), flush=True); os._exit(0)'


def measure() -> Iterator[Measurement]:
    """A boot with layers against a boot without; a whole process each, from start to end."""
    names = [f"module{number}" for number in range(LAYERS)]
    with directory() as root:
        setting = small(root, names)
        empty, full = root / "empty", root / "full"
        setting.run(empty, BOOT)
        setting.run(full, f"for name in {names}: assert fixer.safe_import(name)[0]")
        times = interleaved(
            REPEATS,
            {
                "none": lambda: _boot(setting, empty, 0),
                "layers": lambda: _boot(setting, full, LAYERS),
            },
        )
    middle = medians(times)
    yield Measurement(
        what=f"boot with {LAYERS} committed layers, more than with none",
        rule="at most",
        target=30,
        measured=(middle["layers"] - middle["none"]) * 1000,
        unit="ms",
        details=spread(times),
    )


def _boot(setting: Setting, home: Path, layers: int) -> None:
    assert setting.run(home, BOOT) == str(layers)
