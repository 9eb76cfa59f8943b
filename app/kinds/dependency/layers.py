"""Layers: one directory a fix, staged aside, committed by one rename, put on ``sys.path``.

::

    AUTO_FIX_HOME/
      staging/KEY/SUBJECT.ATTEMPT/      being installed; its owner holds the claim on SUBJECT
      layers/KEY/SUBJECT.ATTEMPT/       committed: layer.json and site/
      quarantine/SUBJECT.ATTEMPT/       did not pass the probe; kept to be looked at

KEY names the interpreter, its ABI, the platform and the lock, so that a new image never loads what
an old one installed.
"""

from __future__ import annotations

import errno
import importlib
import importlib.machinery
import importlib.metadata
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from app.healing.background import BoundedCall, free_after_fork
from app.healing.home import Untrusted, is_ours, make_directory
from app.kinds.dependency.diagnosis import Cause
from app.kinds.dependency.on_disk import distributions, invalidate_caches, is_as_recorded

logger = logging.getLogger(__name__)

#: How file systems fail that do not rename directories, as an overlay does with those of an image.
NO_RENAME = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP})
#: Quarantined directories kept to be looked at; older ones are removed.
KEPT_IN_QUARANTINE = 5
#: Age in nanoseconds at which a directory's time stamp can be trusted to tell the next change.
SETTLED = 100_000_000
#: How many files of a layer are written to the disk at once.
SYNCS = 8
#: Layers of another lock or interpreter are kept for this many seconds after their last use: a
#: process of the previous release may still be ending its requests.
KEY_KEPT = 7 * 24 * 3600.0
USED = ".used"
MANIFEST = "layer.json"
SITE = "site"
DEADLY = "deadly"
WORK = "work"
DISCARDED = "discarded-"
#: What names of our own look like: of layers and what becomes one, of what is on its way out, of
#: keys. What is called otherwise is somebody else's.
OWN = re.compile(r".+\.[0-9a-f]{32}", re.DOTALL)
OWN_DISCARDED = re.compile(rf"{DISCARDED}[0-9a-f]{{32}}")
OWN_KEY = re.compile(r".+-([0-9a-f]{16}|unreadable)")
NO_RENAMES = "the home's file system does not rename directories: layers are copied into place"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What a layer's manifest says. ``installed`` holds ``name==version``, ``at`` is ISO 8601."""

    attempt: str
    subject: str
    cause: str
    requirement: str
    installed: tuple[str, ...]
    hashes: tuple[str, ...]
    seconds: float
    at: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A directory that an installer may fill; nobody imports from it until it is committed."""

    attempt: str
    directory: Path

    @property
    def site(self) -> Path:
        """Where the distributions go."""
        return self.directory / SITE

    @property
    def work(self) -> Path:
        """Where an installer keeps its own files, which are not kept."""
        return self.directory / WORK


def interpreter_key(lock_digest: str) -> str:
    """The key of layers that this interpreter can load, e.g. ``cpython-313-x86_64-linux-gnu-ab…``.

    The first extension suffix names implementation, version, ABI flags and platform at once.
    """
    abi = importlib.machinery.EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so")
    return f"{abi}-{lock_digest}"


class Layers:
    """The layers under one home and key, and those of them that this process has loaded."""

    def __init__(self, home: Path, key: str) -> None:
        self.key = key
        self._home = home
        self._committed = home / "layers" / key
        self._staging = home / "staging" / key
        self._quarantine = home / "quarantine"
        self._loaded: list[str] = []
        self._seen = -1
        self._mutex = free_after_fork(threading.Lock())
        #: What the log has already: layers whose manifest cannot be read, and NO_RENAMES.
        self._logged: set[str] = set()
        #: Is told the subject and the attempt of a fix that has not lasted.
        self.lost: Callable[[str, str], None] = lambda _subject, _attempt: None
        #: The layers whose bytecode this process has removed.
        self._recompiled: set[Path] = set()
        #: What is not loaded because another user may have put it there.
        self._untrusted: set[str] = set()

    def prepare(self) -> None:
        """Create the directories, so that no path scan ever remembers them as missing.

        Raises:
            Untrusted: when another user decides what is in one of them.
            OSError: when the home cannot be written.
        """
        for directory in (self._committed, self._staging, self._quarantine):
            if not is_ours(self._home, *directory.relative_to(self._home).parts):
                raise Untrusted(directory.name)
            make_directory(directory)
        (self._committed / USED).touch()

    @property
    def directory(self) -> Path:
        """Where the committed layers are."""
        return self._committed

    @property
    def staging(self) -> Path:
        """Where fixes are made that nobody imports from yet."""
        return self._staging

    @property
    def loaded(self) -> tuple[str, ...]:
        """The ``sys.path`` entries that this process has from layers."""
        return tuple(self._loaded)

    def load(self) -> bool:
        """Put committed layers behind the rest of ``sys.path``; True when one was new.

        They stand there in the order of their commits, whenever and by whomever they are loaded.

        Costs one ``stat`` when nothing was committed or removed since the last call.
        """
        with self._mutex:
            try:
                changed = self._committed.stat().st_mtime_ns
            except OSError:
                changed = -1
            if changed == self._seen:
                return False
            sites = [str(path / SITE) for path in self._found()]
            fresh = [site for site in sites if site not in self._loaded]
            if sites != self._loaded:
                others = [entry for entry in sys.path if entry not in {*self._loaded, *sites}]
                self._loaded, sys.path[:] = sites, [*others, *sites]
                invalidate_caches()
            # File systems count in steps of a few milliseconds: a later change has to show. That
            # something becomes ours does not.
            settled = time.time_ns() - changed > SETTLED and not self._untrusted
            self._seen = changed if settled else -1
            return bool(fresh)

    def committed(self) -> tuple[Layer, ...]:
        """The committed layers, oldest first; one with an unreadable manifest is left out."""
        return tuple(filter(None, self._found().values()))

    def site(self, layer: Layer) -> Path:
        """Where a committed layer's distributions are."""
        return self._committed / f"{layer.subject}.{layer.attempt}" / SITE

    @contextmanager
    def stage(self, subject: str, attempt: str) -> Iterator[Stage]:
        """An empty staging directory; what is left of it afterwards is removed."""
        stage = Stage(attempt, self._staging / f"{subject}.{attempt}")
        make_directory(stage.work)
        # Here, because its mode is not to be that of the installer's choice.
        make_directory(stage.site)
        try:
            yield stage
        finally:
            shutil.rmtree(stage.directory, ignore_errors=True)

    def commit(self, stage: Stage, layer: Layer) -> None:
        """Make a staged fix a layer: its site and its manifest alone, by one rename.

        Raises:
            OSError: when the disk is full or the home cannot be written; nothing is committed.
        """
        shutil.rmtree(stage.work)
        for left in stage.directory.iterdir():
            if left.is_dir() and not left.is_symlink():
                if left.name != SITE:
                    shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
        manifest = stage.directory / MANIFEST
        manifest.touch(0o600)
        manifest.write_text(json.dumps(asdict(layer), indent=1), encoding="utf-8")
        make_directory(self._committed)
        # What is renamed has to be on the disk before its name is, or a power cut leaves half.
        paths = [
            os.path.join(directory, name)  # noqa: PTH118 - one for each file
            for directory, _, files in os.walk(stage.directory)
            for name in (*files, ".")
        ]
        # File systems write in one go what is asked for meanwhile: one after another takes tenfold.
        shares = (paths[first::SYNCS] for first in range(min(SYNCS, len(paths))))
        for call in [BoundedCall(partial(_sync, share), "sync") for share in shares]:
            call.wait(threading.TIMEOUT_MAX)
        try:
            stage.directory.rename(self._committed / stage.directory.name)
        except OSError as error:
            if error.errno not in NO_RENAME:
                raise
            self._copy(stage)
        _sync([str(self._committed)])

    def _copy(self, stage: Stage) -> None:
        """Commit where no directory can be renamed: the manifest last, which makes it a layer."""
        if NO_RENAMES not in self._logged:
            self._logged.add(NO_RENAMES)
            logger.warning(NO_RENAMES)
        layer = self._committed / stage.directory.name
        try:
            shutil.copytree(stage.site, layer / SITE, symlinks=True)
            shutil.copyfile(stage.directory / MANIFEST, layer / MANIFEST)
            # Others look again when this directory has changed.
            os.utime(self._committed)
        except OSError:
            shutil.rmtree(layer, ignore_errors=True)
            raise

    def quarantine(self, stage: Stage) -> None:
        """Keep a staged fix that failed its probe out of the way, and only the newest few."""
        shutil.rmtree(stage.work)
        self._to_quarantine(stage.directory)

    def _to_quarantine(self, directory: Path) -> None:
        # The kernel's own stamps count in steps of milliseconds, too coarse to tell an order.
        now = time.time_ns()
        os.utime(directory, ns=(now, now))
        make_directory(self._quarantine)
        shutil.move(directory, self._quarantine / directory.name)
        others = (path for path in _own(self._quarantine) if not self._is_deadly(path))
        newest_first = sorted(others, key=_modified, reverse=True)
        for path in newest_first[KEPT_IN_QUARANTINE:]:
            shutil.rmtree(path, ignore_errors=True)

    def set_aside_damaged(self, tops: Collection[str]) -> bool:
        """Take the layers that bring a top-level name and are not as installed out of use.

        Of one that is, the bytecode is removed, once for each process: it may be what is damaged.
        True when something has changed, so that the import can be tried again.

        Raises:
            OSError: when the home cannot be written.
        """
        changed = False
        for layer in self.committed():
            site = self.site(layer)
            brings = any((site / top).exists() or (site / f"{top}.py").exists() for top in tops)
            if layer.subject not in tops and not brings:
                continue
            recorded = set(distributions(site).values()) == set(layer.hashes)
            if recorded and is_as_recorded(site):
                caches = () if site in self._recompiled else tuple(site.rglob("__pycache__"))
                self._recompiled.add(site)
                for cache in caches:
                    shutil.rmtree(cache, ignore_errors=True)
                changed = changed or bool(caches)
                continue
            self.set_aside(layer, "a layer is damaged, it is set aside")
            for name, module in list(sys.modules.items()):
                if str(getattr(module, "__file__", None)).startswith(f"{site}/"):
                    sys.modules.pop(name, None)
            changed = True
        self.load()
        invalidate_caches()
        return changed

    def deadly(self) -> frozenset[str]:
        """The subjects of which a layer, of this lock and interpreter, has ended processes."""
        found = _own(self._quarantine)
        return frozenset(_subject(path) for path in found if self._is_deadly(path))

    def _is_deadly(self, path: Path) -> bool:
        try:
            return (path / DEADLY).read_text(encoding="utf-8") == self.key
        except (OSError, UnicodeDecodeError):
            return False

    def set_aside(self, layer: Layer, why: str, *, deadly: bool = False) -> None:
        """Take a layer out of use, which the log gets as the event ``why``.

        One that is ``deadly`` is remembered until the lock or the interpreter changes.

        Raises:
            OSError: when the home cannot be written, or another process was faster.
        """
        directory = self.site(layer).parent
        if deadly:
            (directory / DEADLY).write_text(self.key, encoding="utf-8")
        self._to_quarantine(directory)
        if not deadly:
            self.lost(layer.subject, layer.attempt)
        fields = {"subject": layer.subject, "layer": directory.name}
        logger.warning(why, extra={"fields": fields})

    def sweep(self, subject: str) -> None:
        """Remove what dead owners left in staging.

        Only the holder of the claim on ``subject`` may call this: then no owner is alive.
        """
        half = (path for path in _own(self._committed) if not (path / MANIFEST).exists())
        for left in (*_own(self._staging), *half):
            if _subject(left) == subject:
                shutil.rmtree(left, ignore_errors=True)

    def remove(self, subject: str) -> int:
        """Remove the committed layers of a subject; how many there were."""
        found = [path for path in self._found() if _subject(path) == subject]
        for path in found:
            self._discard(path)
        return len(found)

    def prune(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Remove the layers that nobody needs, and return their subjects.

        Those are layers whose distributions are all in the base environment by now, and those
        whose subject is not in ``wanted`` any more.
        """
        removed = []
        for path, layer in self._found().items():
            if layer is None or layer.subject not in wanted or self._superseded(layer):
                self._discard(path)
                removed.append(_subject(path))
        for left in _own(self._staging, OWN_DISCARDED):
            shutil.rmtree(left, ignore_errors=True)
        for directory in _own(self._committed.parent, OWN_KEY):
            used = _modified(directory / USED)
            if used and time.time() - used / 1e9 > KEY_KEPT:
                shutil.rmtree(directory, ignore_errors=True)
                shutil.rmtree(self._home / "staging" / directory.name, ignore_errors=True)
        return tuple(removed)

    def _superseded(self, layer: Layer) -> bool:
        """Layers stand last on the path, so what is found elsewhere first is what is used.

        The path may have layers that another engine or the parent of this process has loaded. A
        partial install is in the base by its metadata alone, which is why it was healed.
        """
        if layer.cause == Cause.PARTIAL_INSTALL:
            return False
        base = [entry for entry in sys.path if not Path(entry, "..", MANIFEST).exists()]
        names = [pin.partition("==")[0] for pin in layer.installed]
        return bool(names) and all(
            any(importlib.metadata.distributions(name=name, path=base)) for name in names
        )

    def _discard(self, layer: Path) -> None:
        """Out of sight by one rename, then removed at leisure; another may have been faster."""
        bin_ = self._staging / f"{DISCARDED}{uuid.uuid4().hex}"
        try:
            layer.rename(bin_)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in NO_RENAME:
                raise
            (layer / MANIFEST).unlink(missing_ok=True)
            bin_ = layer
        shutil.rmtree(bin_, ignore_errors=True)

    def _found(self) -> dict[Path, Layer | None]:
        """The layers that are ours by their directories, in the order of their commits.

        None stands for what a manifest says that cannot be read.
        """
        directory = self._committed.relative_to(self._home).parts
        found: dict[Path, Layer | None] = {}
        untrusted = set()
        if not is_ours(self._home, *directory):
            untrusted.add(self.key)
        else:
            for path in sorted(_own(self._committed)):
                parts = ((*directory, path.name, part) for part in (MANIFEST, SITE))
                if not all(is_ours(self._home, *each) for each in parts):
                    untrusted.add(path.name)
                elif (path / MANIFEST).exists():
                    found[path] = self._read(path / MANIFEST)
        for name in untrusted - self._untrusted:
            fields = {"layer": name}
            logger.warning("others can change a layer, it is not loaded", extra={"fields": fields})
        self._untrusted = untrusted
        return dict(
            sorted(found.items(), key=lambda item: (item[1].at if item[1] else "", item[0]))
        )

    def _read(self, manifest: Path) -> Layer | None:
        name = manifest.parent.name
        try:
            layer = _parsed(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            if name not in self._logged:
                self._logged.add(name)
                fields = {"layer": name}
                logger.warning("a layer has no readable manifest", extra={"fields": fields})
            return None
        self._logged.discard(name)
        return layer


def _sync(paths: Iterable[str]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _own(directory: Path, form: re.Pattern[str] = OWN) -> list[Path]:
    """The directories in a directory whose names have a form of our own; links are none."""
    try:
        return [
            path
            for path in directory.iterdir()
            if form.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        ]
    except OSError:
        # Not there, or a home with a name that no file system takes.
        return []


def _modified(path: Path) -> int:
    """When it was last changed, in nanoseconds since the epoch; 0 for what is gone by now."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _subject(layer: Path) -> str:
    return layer.name.rpartition(".")[0]


def _parsed(text: str) -> Layer:
    """What a manifest says.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: when it was not written by a commit.
    """
    values = json.loads(text)
    datetime.fromisoformat(values["at"])
    layer = Layer(**{**values, **{k: tuple(values[k]) for k in ("installed", "hashes")}})
    words = (layer.attempt, layer.subject, layer.cause, layer.requirement)
    # What is shown and compared as text has to be text.
    "".join((*words, *layer.installed, *layer.hashes))
    return replace(layer, seconds=float(layer.seconds))
