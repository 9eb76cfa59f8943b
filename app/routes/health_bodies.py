"""Health as HTTP tells it: each body is made once of each reading, and then only sent.

``application/json`` has the documented fields (DESIGN section 4), ``application/health+json`` those
of draft-inadarei-api-health-check-06. Who asks for neither gets the former (RFC 9110, 12.5.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from flask import Response, current_app, request
from flask.blueprints import BlueprintSetupState

from app.access.permissions import details_allowed
from app.healing.report import Check, Status
from app.health import FRESH_SECONDS, DatedCheck, HealthReading

EXTENSION = "health_bodies"
JSON, HEALTH_JSON = "application/json", "application/health+json"
VARY = ("Vary", "Accept, Authorization")
NO_STORE = ("Cache-Control", "no-store")
#: Counted from when the reading was new, which the Age header says (RFC 9111, 4.2.3).
CACHED = ("Cache-Control", f"private, max-age={FRESH_SECONDS:.0f}")
_STATUS = {Status.HEALTHY: "pass", Status.DEGRADED: "warn", Status.UNHEALTHY: "fail"}
#: The draft knows these; everything else is a component.
_COMPONENT_TYPES = {
    "journal": "datastore",
    "clock": "system",
    "home": "system",
    "installer": "system",
    "workers": "system",
}


class Maker(Protocol):
    """Makes a body of a reading, with details or without."""

    def __call__(self, reading: HealthReading, *, details: bool) -> dict[str, object]:
        """The body."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A body ready to be sent; ``etag`` is None when nobody may keep it."""

    reading: HealthReading
    body: bytes
    status: int
    media_type: str
    etag: str | None

    def response(self) -> Response:
        """An answer that nobody keeps."""
        return Response(self.body, self.status, (self._content_type, NO_STORE, VARY))

    def cached(self) -> Response:
        """An answer that may be kept while it is fresh, or 304 for who has it; 503 is not kept."""
        if self.etag is None:
            return self.response()
        age = ("Age", str(int(self.reading.age_seconds)))
        headers = (self._content_type, ("ETag", self.etag), CACHED, VARY, age)
        # Looked at first: parsing costs more than all the rest.
        if "HTTP_IF_NONE_MATCH" in request.environ and self._is_known():
            return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self.body, self.status, headers)

    @property
    def _content_type(self) -> tuple[str, str]:
        return ("Content-Type", self.media_type)

    def _is_known(self) -> bool:
        return request.if_none_match.contains_weak((self.etag or "").strip('"'))


class HealthBodies:
    """The bodies of an application's newest readings, by how they are made."""

    def __init__(self) -> None:
        self._made: dict[tuple[Maker, bool], Rendered] = {}

    def of(self, reading: HealthReading, maker: Maker, *, details: bool) -> Rendered:
        """The reading's body, made unless it has been."""
        made = self._made.get((maker, details))
        if made is None or made.reading is not reading:
            made = self._made[maker, details] = _render(reading, maker, details=details)
        return made


def init_blueprint(state: BlueprintSetupState) -> None:
    """Give the application of a blueprint its bodies; for ``Blueprint.record``."""
    state.app.extensions.setdefault(EXTENSION, HealthBodies())


def rendered(reading: HealthReading, maker: Maker) -> Rendered:
    """What the request may see of a reading, in the format that it asks for."""
    bodies: HealthBodies = current_app.extensions[EXTENSION]
    chosen = health_json if _wants_health_json() else maker
    return bodies.of(reading, chosen, details=details_allowed())


def full(reading: HealthReading, *, details: bool) -> dict[str, object]:
    """Every documented field; without details reason codes stand in the place of advice."""
    body = reading.report.to_dict()
    body["checks"] = {one.check.name: _dated(one, details=details) for one in reading.checks}
    body |= {"stale": reading.stale, "pending": list(reading.pending)}
    if not details:
        del body["fixes"]
        body["errors_detected"] = [f"{check.name}: {check.reason}" for check in _failed(reading)]
    return body


def summary(reading: HealthReading, *, details: bool) -> dict[str, object]:  # noqa: ARG001
    """The report in a few fields."""
    report = reading.report
    return {
        "status": str(report.overall_status),
        "timestamp": report.timestamp.isoformat(),
        "checks": len(report.checks),
        "failed": {check.name: check.reason for check in _failed(reading)},
        "fixes": [fix.subject for fix in report.fixes],
        "stale": reading.stale,
    }


def health_json(reading: HealthReading, *, details: bool) -> dict[str, object]:
    """The draft's document; it names no version."""
    failed = list(_failed(reading))
    notes = [f"{len(failed)} of {len(reading.checks)} checks fail"]
    notes += ["some results are older than they should be"] if reading.stale else []
    return {
        "status": _STATUS[reading.report.overall_status],
        "description": "health of the Royal Equips Orchestrator",
        "notes": notes,
        **({"output": " ".join(check.name for check in failed)} if failed else {}),
        "checks": {one.check.name: [_component(one, details=details)] for one in reading.checks},
    }


def _render(reading: HealthReading, maker: Maker, *, details: bool) -> Rendered:
    told = current_app.json.dumps(maker(reading, details=details), separators=(",", ":"))
    body = f"{told}\n".encode()
    healthy = reading.report.overall_status is not Status.UNHEALTHY
    return Rendered(
        reading,
        body,
        HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE,
        HEALTH_JSON if maker is health_json else JSON,
        f'"{hashlib.sha256(body).hexdigest()[:32]}"' if healthy else None,
    )


def _wants_health_json() -> bool:
    if HEALTH_JSON not in request.environ.get("HTTP_ACCEPT", ""):
        return False
    return request.accept_mimetypes.best_match([JSON, HEALTH_JSON]) == HEALTH_JSON


def _failed(reading: HealthReading) -> Iterator[Check]:
    return (check for check in reading.report.checks if not check.ok)


def _dated(dated: DatedCheck, *, details: bool) -> dict[str, object]:
    shown = dated.check.to_dict()
    if not details:
        shown |= {"advice": None, "observed": None, "unit": None}
    return {**shown, "checked_at": _iso(dated), "stale": dated.stale}


def _component(dated: DatedCheck, *, details: bool) -> dict[str, object]:
    check = dated.check
    told: dict[str, object] = {
        "componentType": _COMPONENT_TYPES.get(check.kind, "component"),
        "status": "pass" if check.ok else ("fail" if check.critical else "warn"),
    }
    if dated.checked_at is not None:
        told["time"] = _iso(dated)
    if not check.ok:
        told["output"] = (check.advice if details else None) or check.reason
    if details and check.observed is not None:
        told |= {"observedValue": check.observed, "observedUnit": check.unit}
    return told


def _iso(dated: DatedCheck) -> str | None:
    return None if dated.checked_at is None else dated.checked_at.isoformat(timespec="milliseconds")
