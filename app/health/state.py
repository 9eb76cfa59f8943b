"""What heals need of this host: a journal, a home with room in it, an installer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.healing.home import can_be_written, free_bytes
from app.healing.journal import Journal
from app.healing.report import Check
from app.kinds.dependency.installer import find_tool
from app.settings.engine import HealingSettings

MEBIBYTE = 1 << 20
#: Less room than this is not enough for a heal: aiohttp's closure takes about 10 MiB, twice.
LEAST_ROOM = 50 * MEBIBYTE


def journal_checks(journal: Journal) -> Iterable[Check]:
    """Whether the journal can be used; without it history is lost, and no service."""
    advice = "attempts are kept in memory until it can be: look at the log, the disk and the rights"
    usable = journal.readable()
    yield _check("journal", "journal", *((None, None) if usable else ("journal_unusable", advice)))


def home_checks(settings: HealingSettings) -> Iterable[Check]:
    """Whether a fix can be kept: the home can be written and has room."""
    free = free_bytes(settings.home)
    observed = round(free / MEBIBYTE, 1)
    if not can_be_written(settings.home):
        reason, advice = "home_unwritable", "give the service's user a home that it owns"
    elif free < LEAST_ROOM:
        reason, advice = "disk_full", f"make room: heals need {LEAST_ROOM // MEBIBYTE} MiB"
    else:
        reason, advice = None, None
    yield _check("auto_fix_home", "home", reason, advice, observed=observed, unit="MiB")


def installer_checks(settings: HealingSettings, environ: Mapping[str, str]) -> Iterable[Check]:
    """Whether there is anything to install with."""
    found = find_tool(settings.tools, environ) is not None
    advice = "neither uv nor pip is available to this interpreter: install uv into the environment"
    yield _check(
        "installer", "installer", *((None, None) if found else ("installer_missing", advice))
    )


def _check(
    name: str,
    kind: str,
    reason: str | None,
    advice: str | None,
    *,
    observed: float | None = None,
    unit: str | None = None,
) -> Check:
    return Check(
        name=name,
        kind=kind,
        subject=kind,
        ok=reason is None,
        reason=reason,
        advice=advice,
        observed=observed,
        unit=unit,
    )
