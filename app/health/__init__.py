"""How health is computed once and read often."""

from app.health.checks import FRESH_SECONDS, DatedCheck, Group, HealthCheck
from app.health.process import Load
from app.health.service import HealthReading, HealthService

__all__ = [
    "FRESH_SECONDS",
    "DatedCheck",
    "Group",
    "HealthCheck",
    "HealthReading",
    "HealthService",
    "Load",
]
