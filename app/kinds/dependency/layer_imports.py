"""Imports from layers, marked while they run: a layer that ends a process there is set aside.

A layer is imported from wherever somebody asks for it: a blueprint, a view, an edge transport. So
the mark is left by what loads its modules, below all of these (PEP 302 path hooks).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import machinery
from pathlib import Path
from typing import Any

from app.healing.locks import Busy, exclusive
from app.healing.marks import Mark, Marks
from app.kinds.dependency.layers import Layer, Layers
from app.kinds.dependency.on_disk import distributions, is_whole

logger = logging.getLogger(__name__)

#: What follows the module in a mark of whose death a child has shown nothing.
SURVIVED = "survived"
#: What Python loads modules from a directory with, in its order.
LOADERS: tuple[tuple[type, list[str]], ...] = (
    (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
    (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES),
    (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
)


class LayerImports:
    """The marks of a home, for the layers in one directory of it. Creating it touches nothing.

    Args:
        layers: the layers of the home.
        directory: where the marks are left.
    """

    def __init__(self, layers: Layers, directory: Path) -> None:
        self._layers = layers
        self._marks = Marks(directory)
        self._prefix = f"{os.path.abspath(layers.directory)}/"  # noqa: PTH100 - keeps links
        self._hook: Callable[[str], Any] | None = None
        #: The layer that a thread imports from now, innermost, and the mark of that.
        self._thread = threading.local()
        #: The layers that were whole after the first import from them in this process.
        self._whole: set[str] = set()

    def watch(self) -> None:
        """From now on a mark is there while this process runs a module of a layer."""
        if self._hook is not None:
            return
        details = [(self._marking(loader), suffixes) for loader, suffixes in LOADERS]
        in_directory = machinery.FileFinder.path_hook(*details)

        def hook(path: str) -> Any:  # noqa: ANN401
            if not f"{os.path.abspath(path)}/".startswith(self._prefix):  # noqa: PTH100
                raise ImportError(path)
            return in_directory(path)

        self._hook = hook
        sys.path_hooks.insert(0, hook)
        for path in [*sys.path_importer_cache]:
            if path.startswith(self._prefix):
                sys.path_importer_cache.pop(path, None)
        # A process that ends in good order while a thread imports has not died of it.
        atexit.register(self.close)

    def close(self) -> None:
        """Take this process's marks away: it ends in good order."""
        self._marks.close()

    def contain(self, survives: Callable[[set[str]], bool]) -> bool:
        """Set aside the layers that processes died of since the last call; True when there is one.

        ``survives`` says whether a child that imports the same modules lives on. A layer is set
        aside when it does not, or when a process dies in the same module again after one did.
        """
        if not any(map(_is_fresh, self._marks.left())):
            return False
        with suppress(Busy), exclusive(self._marks.directory / ".lock"):
            # Another process may have been faster.
            dead = self._marks.left()
            layers = {self._layers.site(one).parent.name: one for one in self._layers.committed()}
            names = {mark.name for mark in dead if _is_fresh(mark)}
            gone = {name for name in names if self._dooms(layers.get(name), name, dead, survives)}
            return bool(gone)
        return False

    def _dooms(
        self,
        layer: Layer | None,
        name: str,
        dead: list[Mark],
        survives: Callable[[set[str]], bool],
    ) -> bool:
        """Whether a layer was set aside for the marks that dead processes left of it."""
        marks = [mark for mark in dead if mark.name == name]
        modules = {mark.text.partition("\n")[0] for mark in marks if _is_fresh(mark)}
        again = any(mark.text == f"{module}\n{SURVIVED}" for mark in marks for module in modules)
        if layer is not None and not again and survives(modules):
            fields = {"layer": name, "modules": " ".join(sorted(modules))}
            event = "a process died while it imported from a layer"
            logger.warning(event, extra={"fields": fields})
            for module in modules:
                first, *others = (mark for mark in marks if mark.text == f"{module}\n")
                first.add(SURVIVED)
                for mark in others:
                    mark.path.unlink(missing_ok=True)
            return False
        if layer is not None:
            why = "a layer ended the process that imported it, it is set aside"
            self._layers.set_aside(layer, why, deadly=True)
        self._marks.clear(name)
        return layer is not None

    @contextmanager
    def _during(self, file: str, module: str) -> Iterator[None]:
        """Within: this thread runs a module in a file of a layer."""
        layer = file.removeprefix(self._prefix).partition("/")[0]
        outer: str | None = getattr(self._thread, "layer", None)
        if layer == outer:
            yield
            return
        # One mark a thread: what an inner layer does is not for the outer one to answer for.
        outer_mark: Mark | None = getattr(self._thread, "mark", None)
        self._end(outer_mark)
        self._thread.layer, self._thread.mark = layer, self._begin(layer, f"{module}\n")
        try:
            yield
            self._check(layer, file)
        finally:
            mark: Mark | None = self._thread.mark
            self._end(mark)
            if mark is not None:
                self._marks.clear(layer, mark.text)
            again = outer_mark and self._begin(outer_mark.name, outer_mark.text)
            self._thread.layer, self._thread.mark = outer, again

    def _begin(self, layer: str, text: str) -> Mark | None:
        try:
            return self._marks.begin(layer, text)
        except OSError as error:
            logger.debug("import cannot be marked", extra={"fields": {"error": str(error)}})
            return None

    def _end(self, mark: Mark | None) -> None:
        if mark is not None:
            self._marks.end(mark)

    def _check(self, name: str, file: str) -> None:
        """Take a layer for lost that has taken files of its own away while it was imported."""
        there = os.path.exists(file)  # noqa: PTH110 - is text
        if name in self._whole and there:
            return
        self._whole.add(name)
        directory = self._layers.directory / name
        if not directory.exists():
            # It may have been set aside meanwhile, which is known then.
            subject, _, attempt = name.rpartition(".")
            self._layers.lost(subject, attempt)
        for layer in self._layers.committed():
            site = self._layers.site(layer)
            if site.parent == directory and not (
                there and is_whole(site) and set(distributions(site)) == set(layer.installed)
            ):
                with suppress(OSError):
                    why = "files of a layer were gone after its import, it is set aside"
                    self._layers.set_aside(layer, why)

    def _marking(self, loader: type[Any]) -> type[Any]:
        """A loader that does the same within a mark; compiled code runs when it is created, too."""
        during = self._during

        def create_module(self: Any, spec: machinery.ModuleSpec) -> Any:  # noqa: ANN401
            with during(self.path, self.name):
                return loader.create_module(self, spec)

        def exec_module(self: Any, module: Any) -> None:  # noqa: ANN401
            with during(self.path, self.name):
                loader.exec_module(self, module)

        body: dict[str, object] = {"exec_module": exec_module}
        if loader is machinery.ExtensionFileLoader:
            body["create_module"] = create_module
        return type(f"Marking{loader.__name__}", (loader,), body)


def _is_fresh(mark: Mark) -> bool:
    """Whether nobody has looked into a death; a mark that a power cut has torn says of none."""
    return mark.text.endswith("\n")
