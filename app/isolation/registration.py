"""Registering blueprints so that one that fails costs itself alone.

Each module is imported through the engine, which heals what it may and keeps a report. What could
not be imported, or cannot be registered, becomes a quarantined ``BlueprintState``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from types import ModuleType
from typing import TYPE_CHECKING

from app.healing.kind import Outcome
from app.isolation import hooks
from app.isolation.import_marks import ImportMarks
from app.isolation.importing import first_unmet
from app.isolation.last_addresses import LastAddresses
from app.isolation.source_addresses import addresses_in_source, fixed_parts
from app.isolation.states import (
    ADDRESS_TAKEN,
    BLUEPRINT_MISSING,
    CRASHED_IMPORT,
    REGISTRATION_FAILED,
    BlueprintState,
    comparable_rule,
    is_core_rule,
)
from app.kinds.dependency.diagnosis import Cause
from app.manifest import Blueprint
from app.utils.auto_fix import AutoFixer

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

logger = logging.getLogger(__name__)


def register_blueprints(
    new_app: Callable[[], Flask],
    blueprints: Sequence[Blueprint],
    fixer: AutoFixer,
    marks: ImportMarks,
    addresses: LastAddresses,
) -> tuple[Flask, tuple[BlueprintState, ...]]:
    """An application with every imported blueprint that can be registered, and what became of each.

    Flask cannot take a half-registered blueprint off again, so one that fails is left out and the
    application is begun anew with ``new_app``.
    """
    outcomes = [_imported(blueprint, fixer, marks) for blueprint in blueprints]
    while True:
        app = new_app()
        collisions: dict[str, tuple[str, ...]] = {}
        served: dict[str, tuple[str, ...]] = {}
        owners: dict[str, Blueprint] = {}
        for position, (blueprint, outcome) in enumerate(zip(blueprints, outcomes, strict=True)):
            if isinstance(outcome, BlueprintState):
                continue
            known_hooks = hooks.registered(app)
            known_rules = tuple(app.url_map.iter_rules())
            try:
                app.register_blueprint(
                    getattr(outcome, blueprint.attribute), url_prefix=blueprint.prefix
                )
            except (Exception, SystemExit):
                # Whatever a blueprint does wrong must not stop the others; the log has the trace.
                fields = {"blueprint": blueprint.name}
                logger.exception("blueprint cannot be registered", extra={"fields": fields})
                reason, fault = (
                    REGISTRATION_FAILED,
                    f"but {blueprint.attribute} cannot be registered",
                )
                if blueprint.attribute not in getattr(outcome, "__dict__", ()):
                    reason, fault = BLUEPRINT_MISSING, f"but defines no {blueprint.attribute}"
                advice = f"{blueprint.module} was imported {fault}: mend the code"
                # The code is loaded already, so only a new process can make use of a mended one.
                outcomes[position] = BlueprintState.of(
                    blueprint, reason, advice, needs_restart=True
                )
                break
            if blueprint.core:
                continue
            hooks.contain(app, known_hooks, blueprint.name)
            known = set(map(id, known_rules))
            fresh = [rule for rule in app.url_map.iter_rules() if id(rule) not in known]
            if taken := [rule.rule for rule in fresh if is_core_rule(rule.rule)]:
                fields = {"blueprint": blueprint.name, "addresses": " ".join(taken)}
                logger.error("blueprint takes a core address", extra={"fields": fields})
                rules = ", ".join(taken)
                advice = f"{rules} belongs to the service itself: change the rule in the code"
                outcomes[position] = BlueprintState.of(
                    blueprint, ADDRESS_TAKEN, advice, needs_restart=True
                )
                break
            owners |= dict.fromkeys(map(attrgetter("endpoint"), fresh), blueprint)
            if collided := _collisions(known_rules, fresh):
                collisions[blueprint.name] = collided
            prefix = blueprint.prefix or getattr(outcome, blueprint.attribute).url_prefix
            served[blueprint.name] = fixed_parts([prefix] if prefix else [r.rule for r in fresh])
        else:
            hooks.add_gate(app, owners, fixer)
            for name, collided in collisions.items():
                fields = {"blueprint": name, "addresses": " ".join(collided)}
                logger.warning("blueprint's addresses are taken", extra={"fields": fields})
            addresses.remember(served, [blueprint.name for blueprint in blueprints])
            states = [
                _with_addresses(b, o, addresses)
                if isinstance(o, BlueprintState)
                else BlueprintState.of(b)
                for b, o in zip(blueprints, outcomes, strict=True)
            ]
            return app, tuple(replace(s, collisions=collisions.get(s.name, ())) for s in states)


def _with_addresses(
    blueprint: Blueprint, state: BlueprintState, addresses: LastAddresses
) -> BlueprintState:
    """A quarantined blueprint's state; what the manifest does not say its source and past do."""
    if state.paths:
        return state
    found = addresses_in_source(blueprint.module, blueprint.attribute)
    return replace(state, paths=tuple(dict.fromkeys((*found, *addresses.of(blueprint.name)))))


def _collisions(known: Sequence[Rule], fresh: Sequence[Rule]) -> tuple[str, ...]:
    """Those of the new rules that match what an earlier one does, with a method of that one."""
    answered: dict[tuple[str, str, str], set[str]] = {}

    def key(rule: Rule) -> tuple[str, str, str]:
        return rule.subdomain or "", rule.host or "", comparable_rule(rule.rule)

    for rule in known:
        answered.setdefault(key(rule), set()).update(rule.methods or ())
    # Flask answers OPTIONS at each rule by itself.
    return tuple(
        rule.rule
        for rule in fresh
        if answered.get(key(rule), set()) & (rule.methods or set()) - {"OPTIONS"}
    )


def _imported(
    blueprint: Blueprint, fixer: AutoFixer, marks: ImportMarks
) -> ModuleType | BlueprintState:
    """The blueprint's module, or why it is in quarantine: a need, or its last import."""
    unmet = first_unmet(blueprint, fixer)
    if unmet is not None:
        return BlueprintState.of(
            blueprint,
            str(unmet.cause),
            unmet.advice,
            needs_restart=unmet.refusal == Outcome.NEEDS_RESTART,
            unmet=unmet.subject,
        )
    report = fixer.import_report(blueprint.module)
    if report is not None and report.loaded is not None:
        return report.loaded
    if report is None and marks.crashed(blueprint.name, blueprint.module):
        advice = f"the import of {blueprint.module} ended its process twice: mend the code"
        if marks.patches(blueprint.name, blueprint.module):
            advice = (
                f"after the import of {blueprint.module} its process answered nothing: it patches"
                " the standard library (eventlet, gevent), which cannot be done under threads"
            )
        return BlueprintState.of(blueprint, CRASHED_IMPORT, advice)
    if report is None:
        # What it needs has come just now, and the reconciler imports it.
        advice = f"{blueprint.module} is about to be imported"
        waited = next((name for names in blueprint.needs.values() for name in names), None)
        return BlueprintState.of(blueprint, str(Cause.IMPORTING), advice, unmet=waited)
    if report.diagnosis is None:
        advice = f"{blueprint.module} defines nothing"
        return BlueprintState.of(blueprint, REGISTRATION_FAILED, advice)
    diagnosis = report.diagnosis
    return BlueprintState.of(
        blueprint, str(diagnosis.cause), diagnosis.advice, needs_restart=report.needs_restart
    )
