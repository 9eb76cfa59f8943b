"""The service's settings: one declaration for each environment variable, which says all of it.

:func:`load` is how a program begins: it reads the ``.env`` file too, after which everything else
sees one environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.settings.errors import SettingFault, SettingsError, raise_fatal
from app.settings.sources import (
    ENV_FILE,
    Environment,
    Misspelling,
)
from app.settings.variable import (
    Declared,
    SecretForm,
    Syntax,
    TokenPair,
    Variable,
    absolute_path,
    directory,
    flag,
    one_of,
    parse_token,
    parse_tokens,
    path,
    setting,
    url,
    whole_number,
)

#: The directory that holds ``app/``, the lock and, by default, the auto-fix home.
PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_LOCK = PROJECT_ROOT / "requirements-flask.lock"
DEFAULT_MANIFEST = PROJECT_ROOT / "orchestrator.toml"
#: The share of a worker's threads that edge calls may take; the rest answers probes and all else.
EDGE_SHARE = 0.5


class Mode(StrEnum):
    """What the engine may do about a fault."""

    HEAL = "heal"
    REPORT = "report"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingSettings(Declared):
    """Where the engine keeps its state and how far it may go. Durations are seconds."""

    mode: Mode = setting(
        "AUTO_FIX_MODE",
        Mode.HEAL,
        one_of(*Mode),
        "whether faults are healed, only reported with what would be done, or left alone",
        fatal=True,
    )
    home: Path = setting(
        "AUTO_FIX_HOME",
        PROJECT_ROOT / "instance" / "auto-fix",
        Syntax(absolute_path, "a path"),
        "where fixes, history and locks are kept",
        shown_default="instance/auto-fix",
        fatal=True,
    )
    lock: Path = setting(
        "AUTO_FIX_LOCK",
        DEFAULT_LOCK,
        Syntax(absolute_path, "a path"),
        "the hashed lock that a heal installs by",
        shown_default="requirements-flask.lock",
        fatal=True,
    )
    manifest: Path = setting(
        "AUTO_FIX_MANIFEST",
        DEFAULT_MANIFEST,
        Syntax(absolute_path, "a path"),
        "what is served and what may be healed; followed while the service runs",
        shown_default="orchestrator.toml",
    )
    wheelhouse: Path | None = setting(
        "AUTO_FIX_WHEELHOUSE",
        None,
        Syntax(directory, "a directory of wheels that exists"),
        "a directory of wheels; with it no index is asked",
        fatal=True,
    )
    allow_unlocked: bool = setting(
        "AUTO_FIX_ALLOW_UNLOCKED",
        default=False,
        syntax=Syntax(flag, "true or false"),
        meaning="true lets a heal install without a lock",
    )
    spares: bool = setting(
        "AUTO_FIX_SPARES",
        default=False,
        shown_default="off",
        syntax=Syntax(flag, "on or off"),
        meaning="on fetches wheels of what is approved and missing before anybody asks for them",
    )
    secrets: Path = setting(
        "SECRETS_DIR",
        Path("/run/secrets"),
        Syntax(absolute_path, "a path"),
        "the directory of mounted secrets: a file NAME there sets the declared variable NAME",
    )
    confirm_seconds: int = setting(
        "AUTO_FIX_CONFIRM_SECONDS",
        300,
        whole_number(1, 86400),
        "seconds in which a correction of a file has to be confirmed, or is taken back",
    )
    migrate: bool = setting(
        "AUTO_FIX_MIGRATE",
        default=False,
        syntax=Syntax(flag, "true or false"),
        meaning="true has the pending migrations of a declared database run with Alembic",
    )
    install_deadline: float = 300.0
    probe_deadline: float = 30.0
    #: The installers that may be used, the preferred one first.
    tools: tuple[str, ...] = ("uv", "pip")
    #: How many bytes the spares may be altogether.
    spare_bytes: int = 500 << 20
    #: The largest file that an installer may write: bounds a body that never ends.
    max_file_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Declared):
    """Everything that an operator can set, in the order in which the README shows it."""

    healing: HealingSettings = field(default_factory=HealingSettings)
    token: str | None = setting(
        "AUTO_FIX_TOKEN",
        None,
        Syntax(parse_token, "visible ASCII characters without spaces"),
        "the bearer token for changes over HTTP; with no token at all, every change is refused",
        secret=True,
        form=SecretForm.FOLLOWED,
        fatal=True,
    )
    tokens: tuple[TokenPair, ...] = setting(
        "AUTO_FIX_TOKENS",
        (),
        Syntax(parse_tokens, "name:token pairs with commas between them, each name once"),
        "several tokens, each with the name that the log gets",
        secret=True,
        form=SecretForm.FILE,
        fatal=True,
    )
    token_file: Path | None = setting(
        "AUTO_FIX_TOKEN_FILE",
        None,
        Syntax(absolute_path, "a readable file with one token, or one name:token, on a line"),
        "a file of tokens, read again when it changes",
        secret=True,
        fatal=True,
    )
    edge_functions_file: Path | None = setting(
        "EDGE_FUNCTIONS_FILE",
        None,
        Syntax(path, "a path"),
        "the TOML file that registers edge functions",
    )
    port: int = setting(
        "PORT", 10000, whole_number(1, 65535), "the TCP port to serve on", fatal=True
    )
    web_concurrency: int = setting("WEB_CONCURRENCY", 2, whole_number(1, 256), "worker processes")
    threads: int = setting("THREADS", 8, whole_number(1, 512), "threads of each worker")
    worker_class: str = setting(
        "WORKER_CLASS",
        "gthread",
        one_of("gthread", "sync", "eventlet"),
        "gunicorn's worker class; eventlet is deprecated",
    )
    log_level: str = setting(
        "LOG_LEVEL",
        "INFO",
        one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "the least severe level that is logged",
    )
    log_format: str = setting(
        "LOG_FORMAT",
        "console",
        one_of("console", "json"),
        "how a log line looks: readable text, or one JSON object (the image's choice)",
    )
    access_log: str = setting(
        "ACCESS_LOG",
        "all",
        one_of("all", "errors", "off"),
        "which requests are logged: all but successful probes, those that failed, or none",
    )
    startup_patience: int = setting(
        "STARTUP_PATIENCE",
        60,
        whole_number(0, 3600),
        "seconds for which a process that is still importing blueprints counts as starting, and is"
        " not ready",
    )
    request_timeout: int = setting(
        "REQUEST_TIMEOUT",
        10,
        whole_number(1, 3600),
        "seconds in which a request's header, and then its body, has to arrive",
    )
    graceful_timeout: int = setting(
        "GRACEFUL_TIMEOUT",
        8,
        whole_number(1, 600),
        "seconds that a stopping service has to say so and to answer what it has begun",
    )
    trusted_proxies: int = setting(
        "TRUSTED_PROXIES",
        0,
        whole_number(0, 10),
        "how many proxies in front set X-Forwarded-For, -Proto and -Host; with 0 nobody is"
        " believed",
    )
    otlp_endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        Syntax(url, "an http or https URL"),
        "where traces are sent (OTLP over HTTP); with none there are no traces",
    )
    #: prometheus_client looks for the variable when it is imported, so app.telemetry.directory puts
    #: it there.
    metrics_directory: Path | None = setting(
        "PROMETHEUS_MULTIPROC_DIR",
        None,
        Syntax(path, "a directory of this service alone"),
        "where workers count together, emptied at the start; with none one in memory is made",
    )

    @property
    def edge_share(self) -> int:
        """How many edge calls a worker may make at once: one at least."""
        threads = self.threads if self.worker_class == "gthread" else 1
        return max(1, int(threads * EDGE_SHARE))


#: Every variable, in the order in which the README shows them.
VARIABLES: tuple[Variable[Any], ...] = (
    *Settings.variables(),
    # No field: it says where the settings come from.
    Variable(
        ENV_FILE,
        None,
        Syntax(path, "a file that can be read"),
        "the file of settings behind the environment; it may be missing unless it is named here",
        shown_default=".env",
        fatal=True,
    ),
)

SettingsCheck = Callable[[Settings], None]


def adopt(environ: MutableMapping[str, str]) -> Environment:
    """Put what the ``.env`` file sets and ``environ`` does not into ``environ``.

    So what others read there (installers, OpenTelemetry, a gunicorn that this process becomes) is
    set for them too. The result still knows which value came from the file, and what is wrong with
    the file. ``ENV_FILE`` is turned off there: a worker that begins later has to begin as the
    others did, whatever the file holds by then.
    """
    found = Environment.with_file(
        environ, [variable.names for variable in VARIABLES], PROJECT_ROOT / ".env"
    )
    environ.update(found.added, **{ENV_FILE: os.devnull}, **found.marks)
    return found


def load(environ: MutableMapping[str, str], *checks: SettingsCheck) -> Settings:
    """Read the ``.env`` file into ``environ``, and the settings from both.

    Args:
        environ: the process's environment.
        checks: what raises SettingsError about settings that are well formed and cannot be used.

    Raises:
        SettingsError: with every fault, of the file, of the variables and of the checks, where one
            of them is fatal.
    """
    settings, faults = examine(adopt(environ), *checks)
    raise_fatal(faults)
    return settings


def examine(
    environ: Environment, *checks: SettingsCheck
) -> tuple[Settings, tuple[SettingFault, ...]]:
    """The settings, with defaults where they are wrong, and every fault; see :func:`load`."""
    settings, wrong = Settings.read(environ)
    faults = [*environ.faults, *wrong]
    variables = {variable.name: variable for variable in VARIABLES}
    for check in checks:
        try:
            check(settings)
        except SettingsError as error:
            # A check sees values alone, not where they came from.
            faults += (
                replace(fault, source=variables[fault.name].read(environ).source)
                for fault in error.faults
            )
    return settings, tuple(faults)


def misspellings(environ: Mapping[str, str]) -> tuple[Misspelling, ...]:
    """The variables that were probably meant to be a setting; none of them counts."""
    known = {name for variable in VARIABLES for name in variable.names}
    return Environment.of(environ).misspellings(known)
