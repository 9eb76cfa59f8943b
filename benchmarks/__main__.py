"""``python -m benchmarks [names]``: run the named benchmarks, or all; the table goes to stdout.

The exit status is 1 when a target is missed. ``benchmarks/results/latest.json`` has the details.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import benchmarks
from benchmarks.harness import Measurement

RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
#: Modules of this package that are no benchmarks of this command; ``image`` wants a Docker engine.
OTHERS = {"__main__", "cases", "harness", "engines", "image", "served"}


def main(wanted: list[str]) -> int:
    """Run, print, write."""
    known = {info.name for info in pkgutil.iter_modules(benchmarks.__path__)} - OTHERS
    if unknown := set(wanted) - known:
        print(f"no such benchmark: {', '.join(sorted(unknown))}", file=sys.stderr)
        print(f"there are: {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    found = {name: _measure(name) for name in sorted(wanted or known)}
    made = {name: measurements for name, measurements in found.items() if measurements is not None}
    rows = [measurement for measurements in made.values() for measurement in measurements]
    print(_table(rows))
    _write(made)
    if failed := found.keys() - made.keys():
        print(f"could not be measured: {', '.join(sorted(failed))}", file=sys.stderr)
    return 0 if not failed and all(row.met for row in rows) else 1


def _measure(name: str) -> list[Measurement] | None:
    """What a benchmark measured; None when it failed, which costs the others nothing."""
    print(f"measuring {name}", file=sys.stderr)
    try:
        return list(importlib.import_module(f"benchmarks.{name}").measure())
    except Exception:  # noqa: BLE001 - its trace is shown, and the exit status tells
        traceback.print_exc()
        return None


def _table(rows: Iterable[Measurement]) -> str:
    lines: list[tuple[str, ...]] = [("what", "target", "measured", "")]
    for row in rows:
        unit = row.unit and f" {row.unit}"
        target = f"{row.rule} {row.target:g}{unit}"
        verdict = "met" if row.met else "MISSED"
        lines.append((row.what, target, f"{row.measured:.3g}{unit}", verdict))
        lines += [(f"  {part}", "", f"{value:.3g}{unit}", "") for part, value in row.parts.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _write(made: dict[str, list[Measurement]]) -> None:
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "benchmarks": {
            name: [{**asdict(row), "met": row.met} for row in rows] for name, rows in made.items()
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
