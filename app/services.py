"""What belongs to one process and outlives each application that it builds."""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Settings
from app.edge import EdgeClient, EdgeMonitor, RegistryFile
from app.healing.workers import WorkerBoard
from app.health import BlueprintBoard, HealthService, blueprint_checks
from app.utils.auto_fix import AutoFixer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The process's settings, engine, edge functions, health and boards."""

    settings: Settings
    fixer: AutoFixer
    edge: EdgeClient
    monitor: EdgeMonitor
    health: HealthService
    board: BlueprintBoard
    workers: WorkerBoard

    @classmethod
    def create(cls, settings: Settings, fixer: AutoFixer) -> Services:
        """Wire them together; starts nothing."""
        edge = EdgeClient(
            RegistryFile(settings.edge_functions_file),
            importer=fixer.find,
            home=fixer.settings.home,
            share=settings.edge_share,
        )
        board = BlueprintBoard()
        health = HealthService(fixer.health_report)
        health.add(lambda: blueprint_checks(board.states))
        health.add(edge.checks)
        return cls(
            settings=settings,
            fixer=fixer,
            edge=edge,
            monitor=EdgeMonitor(edge, fixer.settings.home),
            health=health,
            board=board,
            workers=WorkerBoard(fixer.settings.home),
        )
