"""The whole examination: code, requirements, lock, settings, surroundings, then blueprints.

It reads the code, the requirements, the lock, the settings and the environment, and starts nothing
of the service: blueprints are imported in a child.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.doctor.blueprints import check_addresses
from app.doctor.databases import check_databases
from app.doctor.findings import Code, Finding, error, note, ordered, warning
from app.doctor.imports import ImportChecker
from app.doctor.project import Graph, Project
from app.doctor.requirements import check_lock, load
from app.doctor.scan import without_collector
from app.doctor.surroundings import (
    check_index,
    check_surroundings,
    check_variables,
    settings_of,
    unmet_variables,
)
from app.kinds.dependency.layers import Layers, interpreter_key
from app.locking.locks import run_tool
from app.manifest import FILE
from app.settings.errors import Unavailable

Report = Callable[[str], None]

#: Seconds that all blueprints together may take.
DEADLINE = 60.0
BLUEPRINT_ADVICE = "python -c 'import NAME' shows the trace; mend the code or its requirement"
#: Runs in the child: it loads once what all blueprints share, then forks for each of them, one
#: after the other, so that no two take memory at a time. A line of JSON goes to the file for each;
#: a fork that dies without one, or is ended because it hangs, leaves its name unanswered. Each
#: argument is a module and the attributes of it that are to be blueprints.
CHILD = """
import json, os, signal, sys, traceback
answers, patience, root, *names = sys.argv[1:]
sys.path[:0] = [root]
sys.dont_write_bytecode = True
sys.argv[1:] = []
# Lazy imports of Python 3.15 fail here and not in a request.
getattr(sys, "set_lazy_imports", lambda mode: None)("none")
try:
    import flask, app
except BaseException:
    pass

def place(error):
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno or 0
    inside = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(root)]
    return (inside[-1].filename, inside[-1].lineno) if inside else ("", 0)

def examine(name, *attributes):
    try:
        __import__(name)
        found = {each: getattr(sys.modules[name], each, None) for each in attributes}
    except BaseException as error:
        file, line = place(error)
        verdict = {"error": type(error).__name__, "missing": str(getattr(error, "name", "") or ""),
                   "file": file, "line": line}
    else:
        verdict = {"error": "", "none": [a for a in found if not hasattr(found[a], "register")]}
    with open(answers, "a") as file:
        file.write(json.dumps({"name": name, **verdict}) + chr(10))

for name in names:
    child = os.fork()
    if not child:
        signal.alarm(int(patience))
        examine(*name.split(":"))
        os._exit(0)
    os.waitpid(child, 0)
os._exit(0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What to examine and how far to go. ``online`` asks the index too."""

    project: Project
    environ: Mapping[str, str]
    online: bool = True
    blueprints: bool = True

    def run(self, report: Report = lambda _: None) -> tuple[Finding, ...]:
        """Everything that was found, worst first; ``report`` gets each step as it begins.

        Changes nothing and raises nothing for what is found.
        """
        with without_collector():
            found = [*self._static(report)]
        if not (self.blueprints and self.project.blueprints):
            return ordered(found)
        report("importing each blueprint in a child")
        found += self._blueprints()
        # A fault is a finding once: by the line that causes it, not by each part that it fails.
        lines = {finding.requirement for finding in found if finding.file.endswith(".py")}
        places = {
            finding.place
            for finding in found
            if finding.line and finding.code != Code.BLUEPRINT_FAILS
        }
        return ordered(
            finding
            for finding in found
            if not (finding.code is Code.MAP_DISAGREES and finding.requirement in lines)
            and not (finding.code is Code.BLUEPRINT_FAILS and finding.place in places)
        )

    def _static(self, report: Report) -> Iterator[Finding]:
        project = self.project
        report("reading the requirements")
        requirements = load(project.requirements_path)
        yield from requirements.findings
        report("reading the manifest")
        yield from check_manifest(project)
        yield from check_addresses(project)
        report("reading the code's imports")
        graph = Graph(project)
        yield from ImportChecker(graph, requirements).findings()
        if not project.managed:
            return
        report("reading the code's variables")
        yield from check_variables(graph)
        report("comparing the lock")
        settings, faults = settings_of(self.environ)
        layers = Layers(settings.healing.home, interpreter_key(project.lock.digest))
        pins = (pin for layer in layers.committed() for pin in layer.installed)
        layered = frozenset(pin.partition("==")[0] for pin in pins)
        yield from check_lock(project, requirements, layered)
        report("reading the settings")
        yield from faults
        yield from check_databases(project, self.environ)
        yield from check_surroundings(settings, project, self.environ)
        for subject in sorted(layers.deadly()):
            message = f"a fix of {subject} ended a process that imported it, and is set aside"
            advice = "choose another version of it and run auto-fix lock"
            yield warning(Code.LAYER_SET_ASIDE, message, advice, subject=subject)
        if self.online:
            report("asking the index")
            yield from check_index(settings.healing, project, self.environ)

    def _blueprints(self) -> Iterator[Finding]:
        """What fails of the blueprints, each imported as a worker would, without healing."""
        root, unmet = self.project.root, set()
        for blueprint, fault in unmet_variables(self.project, self.environ):
            # Where an image is built there are no secrets; what needs them is not imported either.
            unmet.add(blueprint.name)
            message = f"{blueprint.name} was not imported: {fault.advice}"
            yield note(Code.VARIABLE_UNMET, message, "", FILE, blueprint.line, fault.subject)
        named = {name: [name] for name in self.project.blueprints}
        waiting = dict.fromkeys(one.module for one in self.project.manifest.blueprints)
        for blueprint in self.project.manifest.blueprints:
            if blueprint.name not in unmet:
                waiting.pop(blueprint.module, None)
                named.get(blueprint.module, []).append(blueprint.attribute)
        # A module is imported for any blueprint of it that lacks nothing.
        names = [name for name in named if name not in waiting]
        # What a blueprint prints, or logs because it cannot import, is not the doctor's to show.
        quiet = {**self.environ, "AUTO_FIX_MODE": "off"}
        patience = str(math.ceil(DEADLINE / max(1, len(names))))
        asked = (":".join(named[name]) for name in names)
        with tempfile.NamedTemporaryFile(prefix="auto-fix-") as answers:
            command = [sys.executable, "-P", "-c", CHILD, answers.name, patience, str(root), *asked]
            with suppress(Unavailable):
                run_tool(command, quiet, root, DEADLINE + 1)
            verdicts = {line["name"]: line for line in map(json.loads, answers)}
        for name in names:
            verdict = verdicts.get(name)
            if verdict is None:
                message = f"importing {name} ended or hung this Python"
                yield error(Code.BLUEPRINT_FAILS, message, BLUEPRINT_ADVICE, subject=name)
            elif verdict["error"]:
                missing = f" for {verdict['missing']}" if verdict["missing"] else ""
                message = f"importing {name} raises {verdict['error']}{missing}"
                place: tuple[str, int] = ("", 0)
                if verdict["file"] and Path(verdict["file"]).is_relative_to(root):
                    place = (str(Path(verdict["file"]).relative_to(root)), int(verdict["line"]))
                yield error(Code.BLUEPRINT_FAILS, message, BLUEPRINT_ADVICE, *place, subject=name)
        for blueprint in self.project.manifest.blueprints:
            if blueprint.attribute in verdicts.get(blueprint.module, {}).get("none", ()):
                message = f"{blueprint.module} has no blueprint {blueprint.attribute}"
                advice = f"mend import of blueprint.{blueprint.name}, or the code"
                where = (FILE, blueprint.line, blueprint.name)
                yield error(Code.MANIFEST_INVALID, message, advice, *where)


def check_manifest(project: Project) -> Iterator[Finding]:
    """What is wrong with the manifest, and its import paths that lead to no file of the project."""
    code = Code.MANIFEST_INVALID
    for fault in project.manifest.faults:
        yield error(code, fault.message, "mend the line", FILE, fault.line, fault.table)
    for blueprint in project.manifest.blueprints:
        place = (FILE, blueprint.line, blueprint.name)
        if left := project.left_out(blueprint.module):
            message, advice = left
            yield error(Code.LEFT_OUT, message, advice, *place)
        elif not project.leads(blueprint):
            message = f"{blueprint.module} is not in this project"
            advice = f"mend import of blueprint.{blueprint.name}, or restore the file"
            yield error(code, message, advice, *place)
