"""Adoption: how long ``adopt`` takes for a whole application, from its start to its last line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import ROOT, Measurement, directory, interleaved, medians, spread

REPEATS = 5
MODULES, VIEWS = 300, 12
HEAD = '''"""Pages of part {number}."""

import json
import os
from datetime import datetime

import redis
from flask import Blueprint, abort, jsonify, request

from . import part_{other}

part_{number}_bp = Blueprint("part_{number}", __name__, url_prefix="/api/part-{number}")
API_KEY = os.environ["PART_API_KEY"]
TIMEOUT = float(os.environ.get("PART_TIMEOUT", "2.5"))


def client():
    """A client of the cache."""
    return redis.Redis(host=os.environ.get("CACHE_HOST", "localhost"), socket_timeout=TIMEOUT)

'''
VIEW = '''
@part_{number}_bp.route("/things-{view}/<int:identifier>", methods=["GET", "POST"])
def things_{view}(identifier):
    """Things of one kind, with what is known of each."""
    if request.method == "POST":
        body = request.get_json(force=True)
        if not isinstance(body, dict) or "name" not in body:
            abort(400, description="a name is missing")
        client().set(f"things-{view}:{{identifier}}", json.dumps(body))
    found = client().get(f"things-{view}:{{identifier}}")
    things = [thing for thing in json.loads(found or "[]") if thing["at"] < str(datetime.now())]
    return jsonify({{"identifier": identifier, "things": things, "count": len(things)}})

'''


def measure() -> Iterator[Measurement]:
    """The target of ``adopt``."""
    with directory() as place:
        lines = write_modules(place / "parts")

        def adopt() -> None:
            command = (sys.executable, "-m", "app.cli", "adopt", str(place / "parts"))
            environ = {**os.environ, "AUTO_FIX_HOME": str(place / "home")}
            ran = subprocess.run(
                command, cwd=ROOT, env=environ, check=True, capture_output=True, timeout=60
            )
            assert ran.stdout.count(b"+[blueprint.") == MODULES

        times = interleaved(REPEATS, {"adopt": adopt})
    yield Measurement(
        what=f"adopt over {MODULES} modules, cold",
        rule="at most",
        target=3.0,
        measured=medians(times)["adopt"],
        unit="s",
        details={**spread(times), "lines": lines},
    )


def write_modules(place: Path) -> int:
    """Write the modules of an application, each with one blueprint; how many lines they have."""
    place.mkdir()
    lines = 0
    for number in range(MODULES):
        text = HEAD.format(number=number, other=number // 10 * 10)
        text += "".join(VIEW.format(number=number, view=view) for view in range(VIEWS))
        (place / f"part_{number}.py").write_text(text, encoding="utf-8")
        lines += text.count("\n")
    return lines
