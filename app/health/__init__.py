"""How health is computed once and read often."""

from app.health.blueprints import BlueprintBoard, BlueprintState, blueprint_checks
from app.health.service import HealthReading, HealthService

__all__ = ["BlueprintBoard", "BlueprintState", "HealthReading", "HealthService", "blueprint_checks"]
