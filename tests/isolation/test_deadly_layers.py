"""A healed package that ends the processes that import it: it is set aside, and the rest serves."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any

import pytest

from tests.healing.engines import committed, quarantined
from tests.serving.house import House, serving, status, working
from tests.support.processes import Server, wait_until

LIVE = 60
#: A signal that a process sends itself may meet another thread, while the import goes on and ends.
CRASH = "import ctypes\nctypes.string_at(0)\n"
SET_ASIDE = "a layer ended the process"
STATUS = """
import json, os
from app.settings.declarations import Settings
from app.utils.auto_fix import AutoFixer
print(json.dumps(AutoFixer(Settings.from_environ(os.environ).healing).status()))
"""
VIEW = """
@bp.get("/use")
def use():
    {code}
    return "used"
"""
#: Where a healed package is imported from, if not from a blueprint's module as it is imported.
WAYS = {
    "a view": "import prey.part",
    "a dynamic import": "__import__('importlib').import_module('pr' + 'ey.part')",
    "safe_import": (
        "from flask import current_app;"
        "current_app.extensions['auto_fixer'].safe_import('prey.part')"
    ),
}


def publish(house: House, part: str = CRASH) -> None:
    """Approve a package that can be imported, and has a part that ends who imports that."""
    house.world.publish("prey", files={"prey/__init__.py": "", "prey/part.py": part})


def fault(server: Server) -> dict[str, Any]:
    """The open fault of the package, as the status has it."""
    faults = status(server)["faults"]
    return next((one for one in faults if one["subject"] == "prey"), {})


def dies(server: Server, path: str) -> bool:
    """Whether a request ends the worker that has it; before, what it needs may be healed."""
    try:
        return server.get(path).status == 0
    except (OSError, HTTPException):
        return True


class TestSetAside:
    """The layer goes, for as long as the lock is what it is."""

    @pytest.mark.parametrize("way", WAYS)
    def test_in_a_request(self, house: House, way: str) -> None:
        """One request may end the worker; then the layer is gone, and everything else serves."""
        publish(house)
        house.add("uses", "import prey\n" + working("uses") + VIEW.format(code=WAYS[way]))
        with house.serve(workers=1) as server:
            serving(server, 1, "uses")
            wait_until(lambda: dies(server, "/uses/use"), timeout=LIVE)
            wait_until(lambda: SET_ASIDE in server.log_text, timeout=LIVE)
            wait_until(lambda: fault(server).get("outcome") == "set_aside", timeout=LIVE)
            assert server.get("/uses/use").status == 503
            assert server.log_text.count("Booting worker") <= 3
            told = server.get("/api/auto-fix/force-health-check").json()
            assert any("prey" in e and "run make lock" in e for e in told["errors_detected"])
            assert json.loads(house.run(STATUS))["fix_attempts"] == {"prey": 1}

    def test_preload(self, house: House) -> None:
        """The master dies of it once; the one that is started next sets the layer aside."""
        publish(house)
        house.add("asks", "import prey\nif prey:\n    import prey.part\n" + working("asks"))
        house.add("good", working("good"))
        with pytest.raises(RuntimeError), house.serve("--preload", workers=1):
            pass
        assert committed(house.home) == ["prey"]
        with house.serve("--preload", workers=1) as server:
            serving(server, 1, "good")
            assert SET_ASIDE in server.log_text
            assert server.get("/asks").status == 503
            assert fault(server)["outcome"] == "set_aside"
            assert quarantined(house.home) == ["prey"]

    def test_preload_in_a_request(self, house: House) -> None:
        """The worker that the master forks anew finds the mark of the one before."""
        publish(house)
        house.add("uses", working("uses") + VIEW.format(code="import prey, prey.part"))
        with house.serve("--preload", workers=1) as server:
            serving(server, 1, "uses")
            wait_until(lambda: dies(server, "/uses/use"), timeout=LIVE)
            wait_until(lambda: SET_ASIDE in server.log_text, timeout=LIVE)
            wait_until(lambda: server.get("/uses/use").status == 503, timeout=LIVE)
            assert server.log_text.count("Booting worker") <= 3
