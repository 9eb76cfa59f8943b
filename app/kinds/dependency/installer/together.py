"""What one boot misses is installed once: each package's part waits until its own heal takes it.

The heal that comes first installs what the application's modules miss altogether, in one run of a
tool, and imports all of it in one child. Each part, whole with what it needs, lies ready then; its
heal has only to commit it, under its own claim and into a layer of its own. What parts share is
linked, not copied, where the file system can. Nothing that lies ready is imported by anybody.
"""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from importlib.util import cache_from_source
from pathlib import Path

from app.healing.kind import Repair, Work
from app.healing.locks import Busy, exclusive
from app.kinds.dependency.catalog import InstallPlan
from app.kinds.dependency.layers import Stage
from app.kinds.dependency.on_disk import distributions, find_on_disk
from app.kinds.dependency.probe import Verdict
from app.kinds.dependency.requirements import normalize, top_level
from app.settings.files import read_bounded

logger = logging.getLogger(__name__)

#: What a lock and a directory in staging are called that serve several heals.
TOGETHER = "together"
#: What directories in staging are called in which a part lies ready.
PREFIX = "ready-"
#: Seconds for which it does: as long as a boot takes at most.
READY = 600.0
#: No module of an application is larger.
MAX_SOURCE_BYTES = 1 << 20
#: How many modules of an application are read at most.
MAX_MODULES = 500


def imported_by(modules: Iterable[str], own: AbstractSet[str]) -> frozenset[str]:
    """The top-level names that modules of the application import as they begin, and what these do.

    ``own`` are the application's own top-level names. Only what no condition, handler or function
    stands around counts: that is what an import of the module cannot do without. What is loaded is
    not looked at, and nothing is imported.
    """
    waiting = list(modules)
    seen: set[str] = set()
    found: set[str] = set()
    while waiting and len(seen) < MAX_MODULES:
        name = waiting.pop()
        if top_level(name) not in own:
            found.add(top_level(name))
        elif name not in seen and name not in sys.modules:
            seen.add(name)
            spec = find_on_disk(name)
            if spec is not None and (spec.origin or "").endswith(".py"):
                waiting += _imports(Path(str(spec.origin)))
    return frozenset(found)


def _imports(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(read_bounded(path, MAX_SOURCE_BYTES))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            # What is imported from a package may be a module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class Together:
    """The parts that lie ready in a staging directory.

    ``install`` fills a stage as a plan says and returns why it could not; ``prove`` imports modules
    from a stage in a child.
    """

    def __init__(
        self,
        staging: Path,
        install: Callable[[InstallPlan, Stage, Work], Repair | None],
        prove: Callable[[Sequence[str], Stage, Work], Verdict],
    ) -> None:
        self._staging, self._install, self._prove = staging, install, prove
        #: The plans that could not be installed together.
        self._apart: frozenset[str] = frozenset()

    def fill(
        self, plan: InstallPlan, others: Callable[[], list[InstallPlan]], stage: Stage, work: Work
    ) -> bool:
        """Fill a stage with what lies ready and is proven: whether there was such a thing.

        Where there is not, and ``others`` are missing too, all of it is installed and made ready,
        in half of the time that there is: the other half is left for this plan alone.
        """
        ends_at = time.monotonic() + work.deadline / 2
        if self._take(plan, stage):
            return True
        plans = [plan, *others()]
        if len(plans) == 1 or self._apart.issuperset(one.digest for one in plans):
            return False
        with (
            suppress(Busy, OSError),
            exclusive(self._staging / TOGETHER, wait=work.deadline / 2),
        ):
            # Another process may have been faster.
            return self._take(plan, stage) or (
                self._make_ready(plans, stage, replace(work, deadline=ends_at - time.monotonic()))
                and self._take(plan, stage)
            )
        return False

    def discard_old(self) -> None:
        """Remove the parts that nobody has taken in time."""
        for part in self._staging.glob(f"{PREFIX}*"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > READY:
                    shutil.rmtree(part, ignore_errors=True)

    def _take(self, plan: InstallPlan, stage: Stage) -> bool:
        part = self._staging / f"{PREFIX}{plan.module}"
        try:
            if time.time() - part.stat().st_mtime > READY:
                return False
            part.rename(stage.site)
        except OSError:
            return False
        # What it needs may have been healed for another one meanwhile; it has its own.
        fits = {entry.pin for entry in plan.missing} <= distributions(stage.site).keys()
        if not fits:
            shutil.rmtree(stage.site)
        return fits

    def _make_ready(self, plans: Sequence[InstallPlan], stage: Stage, work: Work) -> bool:
        """Install what all plans say in one run, prove it in one child: whether that went well."""
        # Unless it does, each by itself shows which one is at fault.
        self._apart = frozenset(plan.digest for plan in plans)
        both = Stage(stage.attempt, stage.directory / TOGETHER)
        both.work.mkdir(parents=True)
        missing = {entry.name: entry for plan in plans for entry in plan.missing}
        whole = replace(plans[0], missing=tuple(missing.values()))
        modules = [plan.module for plan in plans]
        ready = self._install(whole, both, work) is None and self._prove(modules, both, work).ok
        if ready:
            _lay_ready(both.site, plans, self._staging)
            self._apart = frozenset()
        else:
            fields = {"modules": " ".join(modules)}
            logger.info("what is missing cannot be installed together", extra={"fields": fields})
        shutil.rmtree(both.directory, ignore_errors=True)
        return ready


def _lay_ready(site: Path, plans: Sequence[InstallPlan], staging: Path) -> None:
    """Make a part of each plan out of what was installed for all."""
    files = _files(site)
    needs = {
        plan.module: {name for entry in plan.missing for name in files[entry.name]}
        for plan in plans
    }
    takers = Counter(top for names in needs.values() for top in {*map(_top, names)})
    for module, names in needs.items():
        # Whoever takes it must find it whole.
        making = staging / f"{PREFIX}{module}.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for top in {*map(_top, names)}:
            if takers[top] == 1:
                (site / top).rename(making / top)
        for name in names:
            if takers[_top(name)] > 1:
                (making / name).parent.mkdir(parents=True, exist_ok=True)
                _link(site / name, making / name)
        part = staging / f"{PREFIX}{module}"
        shutil.rmtree(part, ignore_errors=True)
        making.rename(part)


def _top(name: str) -> str:
    return name.partition("/")[0]


def _files(site: Path) -> dict[str, set[str]]:
    """What each distribution consists of, its bytecode included, as paths below ``site``."""
    found: dict[str, set[str]] = {}
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
        names = {row[0] for row in rows if row}
        compiled = {cache_from_source(name) for name in names if name.endswith(".py")}
        present = {name for name in names | compiled if (site / name).is_file()}
        found[normalize(distribution.metadata["Name"])] = present
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
