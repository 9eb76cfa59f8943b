"""Packages that do harm where they are imported, correctly hashed and approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.index import Fault

SOUND = "value = 1\n"
SLEEP = "import time\ntime.sleep(3600)\n"
CRASH = "import os\nos._exit(9)\n"
SIGNAL = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
    os._exit(0)
"""
DELETE = "import pathlib, shutil\nshutil.rmtree(pathlib.Path(__file__).parent)\n"
MEDDLE = """
import os, signal, sys
for name in list(os.environ):
    if name.startswith("AUTO_FIX"):
        del os.environ[name]
sys.meta_path.insert(0, type("Hook", (), {"find_spec": staticmethod(lambda *_: None)}))
sys.path[:] = list(reversed(sys.path))
try:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
except ValueError:
    pass
"""
THREADS = """
import threading, time
for _ in range(20):
    threading.Thread(target=time.sleep, args=(3600,)).start()
"""


@dataclass(frozen=True)
class Package:
    """What a wheel holds, what imports it, and how the index treats it.

    ``heals`` says whether it comes live at last; None where either may be. ``kills`` says that it
    may end the processes that import it.
    """

    heals: bool | None
    files: Mapping[str, str] = field(default_factory=lambda: {"prey/__init__.py": SOUND})
    code: str = "import prey\n"
    fault: Fault | None = None
    kills: bool = False


def _top(code: str, *, heals: bool | None = False, kills: bool = False) -> Package:
    return Package(heals, {"prey/__init__.py": code}, kills=kills)


def _sub(code: str, *, heals: bool | None, kills: bool = False) -> Package:
    files = {"prey/__init__.py": SOUND, "prey/sub.py": code}
    return Package(heals, files, "import prey.sub\n", kills=kills)


PACKAGES: dict[str, Package] = {
    "sound": Package(heals=True),
    "submodule": _sub(SOUND, heals=True),
    "300 files": Package(
        heals=True,
        files={f"prey/{name}.py": SOUND for name in ("__init__", *map("m{}".format, range(300)))},
    ),
    "raises": _top("raise SystemExit(3)\n"),
    "hangs": _top(SLEEP),
    "crashes": _top(CRASH, kills=True),
    "segfaults": _top(SIGNAL, kills=True),
    "submodule crashes": _sub(CRASH, heals=False, kills=True),
    "submodule segfaults": _sub(SIGNAL, heals=False, kills=True),
    "deletes itself": _top(DELETE, heals=None),
    "daemon": _top(DAEMON, heals=None),
    "meddles": _top(MEDDLE, heals=None),
    "threads": _top(THREADS, heals=None),
    "path file": Package(
        heals=None,
        files={"prey/__init__.py": SOUND, "prey.pth": CRASH, "sitecustomize.py": CRASH},
        kills=True,
    ),
    "leaves its directory": Package(
        heals=False, files={"prey/__init__.py": SOUND, "../escaped.py": SOUND}
    ),
    "takes a name of ours": Package(
        heals=None, files={"prey/__init__.py": SOUND, "app/__init__.py": CRASH}
    ),
    "not found": Package(heals=False, fault=Fault.NOT_FOUND),
    "other bytes": Package(heals=False, fault=Fault.WRONG_HASH),
    "cut short": Package(heals=False, fault=Fault.TRUNCATED),
    "index fails": Package(heals=False, fault=Fault.SERVER_ERROR),
}
