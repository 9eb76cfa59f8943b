"""How health is computed once and read often."""

from app.health.blueprints import BlueprintState, blueprint_checks
from app.health.service import HealthReading, HealthService

__all__ = ["BlueprintState", "HealthReading", "HealthService", "blueprint_checks"]
