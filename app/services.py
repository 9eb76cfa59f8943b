"""What belongs to one process and outlives each application that it builds."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from functools import partial

from app.access.guessing import Access, FailedAttempts
from app.access.limits import RateLimits
from app.access.sessions import Sessions
from app.access.tokens import Tokens
from app.edge.client import EdgeClient
from app.edge.health import EdgeMonitor
from app.edge.registry import RegistryFile
from app.health import HealthCheck, HealthService, Load
from app.health.standard import health_service
from app.isolation.import_marks import ImportMarks
from app.isolation.last_addresses import LastAddresses
from app.isolation.states import BlueprintBoard
from app.isolation.workers import WorkerBoard
from app.kinds.dependency.source import LOOK, source_checks
from app.kinds.standard import standard_kinds
from app.settings.declarations import Mode, Settings
from app.telemetry.metrics import Metrics
from app.telemetry.notes import RequestNotes
from app.telemetry.tracing import Tracing
from app.utils.auto_fix import AutoFixer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The process's settings, engine, edge functions, health and boards."""

    settings: Settings
    fixer: AutoFixer
    edge: EdgeClient
    monitor: EdgeMonitor
    health: HealthService
    load: Load
    board: BlueprintBoard
    workers: WorkerBoard
    imports: ImportMarks
    addresses: LastAddresses
    tracing: Tracing
    metrics: Metrics
    notes: RequestNotes
    access: Access
    limits: RateLimits
    #: Set when the process has been asked to end: it answers, and is not ready any more.
    draining: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def create(cls, settings: Settings, fixer: AutoFixer) -> Services:
        """Wire them together; starts nothing."""
        registry = RegistryFile(settings.edge_functions_file, home=fixer.settings.home)
        for kind in standard_kinds(
            fixer.settings,
            fixer.manifest,
            os.environ,
            lambda name: fixer.safe_import(name)[0],
            () if registry.served is None else (registry.served,),
        ):
            fixer.add_kind(kind)
        tokens = Tokens.from_settings(settings)
        tracing = Tracing(settings.otlp_endpoint, fixer)
        edge = EdgeClient(
            registry.current,
            fixer.load,
            installed=fixer.installed,
            home=fixer.settings.home,
            share=settings.edge_share,
            tracer=lambda: tracing.tracer,
        )
        metrics = Metrics(settings.metrics_directory)
        fixer.observe(metrics.heal)
        fixer.observe(tracing.attempted)
        board = BlueprintBoard(settings.startup_patience)
        # How many requests a worker can answer at once; nothing bounds an eventlet one.
        threads = {"gthread": settings.threads, "sync": 1}.get(settings.worker_class)
        # At most a quarter of them may wait at once for a health check.
        waiters = None if threads is None else max(1, threads // 4)
        load = Load(threads)
        checks = [HealthCheck(name="edge", kind="edge", run=edge.checks)]
        if fixer.settings.mode is Mode.HEAL:
            look = partial(source_checks, fixer.settings, fixer.dependency.tools)
            # It hardly ever changes, and asks another host.
            checks.append(
                HealthCheck(
                    name="package_source",
                    kind="index",
                    run=look,
                    timeout=LOOK,
                    interval=60.0,
                )
            )
        return cls(
            settings=settings,
            fixer=fixer,
            edge=edge,
            monitor=EdgeMonitor(edge, fixer.settings.home),
            health=health_service(fixer, board, load, checks, waiters),
            load=load,
            board=board,
            workers=WorkerBoard(fixer.settings.home),
            imports=ImportMarks(fixer.settings.home),
            addresses=LastAddresses(fixer.settings.home),
            tracing=tracing,
            metrics=metrics,
            notes=RequestNotes(metrics),
            access=Access(
                tokens,
                Sessions(fixer.settings.home, tokens),
                FailedAttempts(),
                metrics.authentication_failure,
            ),
            limits=RateLimits(fixer.load),
        )
