"""What belongs to one process and outlives each application that it builds."""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Settings
from app.edge import EdgeClient, load_registry
from app.healing.workers import WorkerBoard
from app.health import BlueprintBoard, HealthService, blueprint_checks
from app.utils.auto_fix import AutoFixer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The process's settings, engine, edge client, health and boards."""

    settings: Settings
    fixer: AutoFixer
    edge: EdgeClient
    health: HealthService
    board: BlueprintBoard
    workers: WorkerBoard

    @classmethod
    def create(cls, settings: Settings, fixer: AutoFixer) -> Services:
        """Wire them together; starts nothing."""
        edge = EdgeClient(load_registry(settings.edge_functions_file), importer=fixer.find)
        board = BlueprintBoard()
        health = HealthService(fixer.health_report)
        health.add(lambda: blueprint_checks(board.states))
        health.add(edge.checks)
        return cls(
            settings=settings,
            fixer=fixer,
            edge=edge,
            health=health,
            board=board,
            workers=WorkerBoard(fixer.settings.home),
        )
