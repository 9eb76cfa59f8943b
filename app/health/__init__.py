"""How health is computed once and read often."""

from app.health.checks import FRESH_SECONDS, Group, HealthCheck
from app.health.errors import (
    DuplicateCheck,
    HealthConfigurationError,
    InvalidDuration,
    UnknownCheck,
)
from app.health.load import Load
from app.health.reading import DatedCheck, HealthReading
from app.health.service import HealthService
from app.isolation.states import BlueprintBoard, BlueprintState, blueprint_checks

__all__ = [
    "FRESH_SECONDS",
    "BlueprintBoard",
    "BlueprintState",
    "DatedCheck",
    "DuplicateCheck",
    "Group",
    "HealthCheck",
    "HealthConfigurationError",
    "HealthReading",
    "HealthService",
    "InvalidDuration",
    "Load",
    "UnknownCheck",
    "blueprint_checks",
]
