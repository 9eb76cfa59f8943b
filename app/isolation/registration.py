"""Registering blueprints so that one that fails costs itself alone.

Each module is imported through the engine, which heals what it may and keeps a report. What could
not be imported, or cannot be registered, becomes a quarantined ``BlueprintState``.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

from app.isolation import hooks
from app.isolation.import_marks import ImportMarks
from app.isolation.source_addresses import addresses_in_source
from app.isolation.states import (
    ADDRESS_TAKEN,
    BLUEPRINT_MISSING,
    CRASHED_IMPORT,
    REGISTRATION_FAILED,
    BlueprintSpec,
    BlueprintState,
    is_core_rule,
)
from app.utils.auto_fix import AutoFixer

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

logger = logging.getLogger(__name__)

#: Seconds for which the imports of all blueprints, heals included, may hold up the boot. One that
#: takes longer goes on in the background, and its blueprint is served when it is done.
BOOT_PATIENCE = 5.0
#: Seconds that each of them gets in any case.
LEAST_PATIENCE = 0.2
#: The part of a variable in a URL rule that matters for what it matches: its converter, if any.
_VARIABLE = re.compile(r"<(?:([^<>]*):)?[^<>:]*>")


def import_blueprints(
    manifest: Sequence[BlueprintSpec], fixer: AutoFixer, marks: ImportMarks
) -> None:
    """Import the module of each blueprint; the engine's reports say how that went.

    One whose import has ended processes is left out, and has no report.
    """
    until = time.monotonic() + BOOT_PATIENCE
    for spec in manifest:
        if marks.crashed(spec.name, spec.path):
            fields = {"blueprint": spec.name, "import": spec.path}
            logger.error("blueprint's import ended its process", extra={"fields": fields})
            continue
        patience = max(LEAST_PATIENCE, until - time.monotonic())
        fixer.resilient_blueprint_import(
            spec.path,
            critical=spec.critical,
            patience=patience,
            during=marks.during(spec.name, spec.path),
        )


def register_blueprints(
    new_app: Callable[[], Flask], manifest: Sequence[BlueprintSpec], fixer: AutoFixer
) -> tuple[Flask, tuple[BlueprintState, ...]]:
    """An application with every imported blueprint that can be registered, and what became of each.

    Flask cannot take a half-registered blueprint off again, so one that fails is left out and the
    application is begun anew with ``new_app``.
    """
    outcomes = [_imported(spec, fixer) for spec in manifest]
    while True:
        app = new_app()
        collisions: dict[str, tuple[str, ...]] = {}
        for position, (spec, outcome) in enumerate(zip(manifest, outcomes, strict=True)):
            if isinstance(outcome, BlueprintState):
                continue
            known_hooks = hooks.registered(app)
            known_rules = tuple(app.url_map.iter_rules())
            try:
                app.register_blueprint(getattr(outcome, spec.attribute), url_prefix=spec.url_prefix)
            except (Exception, SystemExit):
                # Whatever a blueprint does wrong must not stop the others; the log has the trace.
                fields = {"blueprint": spec.name}
                logger.exception("blueprint cannot be registered", extra={"fields": fields})
                reason, fault = REGISTRATION_FAILED, f"but {spec.attribute} cannot be registered"
                if spec.attribute not in getattr(outcome, "__dict__", ()):
                    reason, fault = BLUEPRINT_MISSING, f"but defines no {spec.attribute}"
                advice = f"{spec.path} was imported {fault}: mend the code"
                # The code is loaded already, so only a new process can make use of a mended one.
                outcomes[position] = spec.state(reason, advice, needs_restart=True)
                break
            if spec.core:
                continue
            hooks.contain(app, known_hooks, spec.name)
            known = set(map(id, known_rules))
            fresh = [rule for rule in app.url_map.iter_rules() if id(rule) not in known]
            if taken := [rule.rule for rule in fresh if is_core_rule(rule.rule)]:
                fields = {"blueprint": spec.name, "addresses": " ".join(taken)}
                logger.error("blueprint takes a core address", extra={"fields": fields})
                addresses = ", ".join(taken)
                advice = f"{addresses} belongs to the service itself: change the rule in the code"
                outcomes[position] = spec.state(ADDRESS_TAKEN, advice, needs_restart=True)
                break
            if collided := _collisions(known_rules, fresh):
                collisions[spec.name] = collided
        else:
            for name, rules in collisions.items():
                fields = {"blueprint": name, "addresses": " ".join(rules)}
                logger.warning("blueprint's addresses are taken", extra={"fields": fields})
            return app, tuple(
                _with_addresses(spec, outcome)
                if isinstance(outcome, BlueprintState)
                else replace(spec.state(), collisions=collisions.get(spec.name, ()))
                for spec, outcome in zip(manifest, outcomes, strict=True)
            )


def _with_addresses(spec: BlueprintSpec, state: BlueprintState) -> BlueprintState:
    """A quarantined blueprint's state; addresses that the manifest does not give are read."""
    if state.paths:
        return state
    return replace(state, paths=addresses_in_source(spec.path, spec.attribute))


def _collisions(known: Sequence[Rule], fresh: Sequence[Rule]) -> tuple[str, ...]:
    """Those of the new rules that match what an earlier one does, with a method of that one."""
    answered: dict[tuple[str, str, str], set[str]] = {}

    def key(rule: Rule) -> tuple[str, str, str]:
        return rule.subdomain or "", rule.host or "", _VARIABLE.sub(r"<\1>", rule.rule)

    for rule in known:
        answered.setdefault(key(rule), set()).update(rule.methods or ())
    # Flask answers OPTIONS at each rule by itself.
    return tuple(
        rule.rule
        for rule in fresh
        if answered.get(key(rule), set()) & (rule.methods or set()) - {"OPTIONS"}
    )


def _imported(spec: BlueprintSpec, fixer: AutoFixer) -> ModuleType | BlueprintState:
    """The blueprint's module, or why it is in quarantine, by its last import."""
    report = fixer.import_report(spec.path)
    if report is not None and report.loaded is not None:
        return report.loaded
    if report is None:
        advice = f"the import of {spec.path} ended its process twice: mend the code"
        return spec.state(CRASHED_IMPORT, advice)
    if report.diagnosis is None:
        return spec.state(REGISTRATION_FAILED, f"{spec.path} defines nothing")
    diagnosis = report.diagnosis
    return spec.state(str(diagnosis.cause), diagnosis.advice, needs_restart=report.needs_restart)
