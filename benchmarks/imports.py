"""Asking the engine for a module that is loaded already."""

from __future__ import annotations

import importlib
import timeit
from collections.abc import Iterator

from app.utils.auto_fix import AutoFixer, safe_import
from benchmarks.harness import Measurement, interleaved, medians

REPEATS = 25
CALLS = 20_000
MODULE = "json"


def measure() -> Iterator[Measurement]:
    """``safe_import`` against ``importlib.import_module``."""
    importlib.import_module(MODULE)
    engine = AutoFixer()
    times = interleaved(
        REPEATS,
        {
            "safe_import": lambda: _seconds(lambda: safe_import(MODULE)),
            "AutoFixer.safe_import": lambda: _seconds(lambda: engine.safe_import(MODULE)),
            "importlib.import_module": lambda: _seconds(lambda: importlib.import_module(MODULE)),
        },
    )
    middle = medians(times)
    details: dict[str, object] = {
        f"{name}, ns": round(seconds / CALLS * 1e9) for name, seconds in middle.items()
    }
    for name in ("AutoFixer.safe_import", "safe_import"):
        yield Measurement(
            what=f"{name} of a loaded module against importlib.import_module",
            rule="at most",
            target=0.6,
            measured=middle[name] / middle["importlib.import_module"],
            unit="times",
            details=details,
        )


def _seconds(work: object) -> float:
    return timeit.timeit("work()", globals={"work": work}, number=CALLS)
