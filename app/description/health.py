"""The probes."""

from __future__ import annotations

from app.description.faults import NOT_ALIVE, NOT_READY
from app.description.operations import HEALTH_JSON, JSON, PLAIN, Answer, Group, Operation
from app.description.schemas import (
    exactly,
    flag,
    listed,
    maybe,
    moment,
    one_of,
    ref,
    shape,
    table,
    text,
    whole,
)
from app.healing.report import Status

_SUMMARY = shape(
    "Health in a few words.",
    {
        "status": one_of(Status),
        "timestamp": moment("When the reading was taken."),
        "checks": whole("How many checks were made."),
        "failed": table(maybe(text()), "The checks that fail, each with its reason code."),
        "fixes": listed(text(), "What runs only because it was healed."),
        "stale": flag("Whether a result is older than it should be."),
    },
)
_HEALTH = {JSON: ref("HealthSummary"), HEALTH_JSON: ref("HealthDocument")}
_PROBE = ("Cache-Control",)

PROBES = Group(
    blueprint="health",
    title="Probes",
    description="For load balancers, orchestrators and people in a hurry. Never cached.",
    schemas={"HealthSummary": _SUMMARY},
    operations=(
        Operation(
            path="/livez",
            name="livez",
            summary="Is this process alive?",
            description="Answered by every process that can answer at all, without any I/O.",
            faults=(NOT_ALIVE,),
            answers=(
                Answer(
                    description="It is.",
                    content={PLAIN: exactly("alive\n")},
                    headers=_PROBE,
                ),
            ),
        ),
        Operation(
            path="/readyz",
            name="readyz",
            summary="Can it serve?",
            description="Reads the cached health: no check runs for it.",
            answers=(
                Answer(
                    description="No critical check fails.",
                    content={PLAIN: exactly("ready\n")},
                    headers=_PROBE,
                ),
            ),
            faults=(NOT_READY,),
        ),
        Operation(
            path="/healthz",
            name="healthz",
            summary="Health in a few words",
            answers=(
                Answer(
                    description="Healthy or degraded.",
                    content=_HEALTH,
                    headers=("Cache-Control", "Vary"),
                ),
                Answer(
                    status="503",
                    description="Unhealthy.",
                    content=_HEALTH,
                    headers=("Cache-Control", "Vary"),
                ),
            ),
        ),
    ),
)
