"""The service's settings: each variable is read here once, its default beside its name.

The engine's own are those of :mod:`app.settings.engine`; their faults are told together with
these. :func:`load` is how a program begins: it reads the ``.env`` file too, after which everything
else sees one environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from app.settings.engine import PROJECT_ROOT, HealingSettings
from app.settings.engine import VARIABLES as HEALING_VARIABLES
from app.settings.environment import ENV_FILE as ENV_FILE_NAME
from app.settings.environment import Environment, Slip
from app.settings.errors import SettingFault, SettingsError
from app.settings.token_pairs import TokenPair, parse_token, parse_tokens
from app.settings.variable import (
    Reader,
    SecretForm,
    Variable,
    absolute_path,
    one_of,
    path,
    plain,
    url,
    whole_number,
)

T = TypeVar("T")

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("console", "json")
WORKER_CLASSES = ("gthread", "sync", "eventlet")
#: The share of a worker's threads that edge calls may take; the rest answers probes and all else.
EDGE_SHARE = 0.5
#: More than any client could send: servers bound a header at 8 KiB or less.
MAX_TOKEN = 4096


def _token(text: str) -> str:
    if len(text) > MAX_TOKEN:
        raise ValueError
    return parse_token(text)


ENV_FILE: Variable[Path | None] = Variable(
    ENV_FILE_NAME,
    None,
    path,
    "a file that can be read",
    "the file of settings behind the environment; it may be missing unless it is named here",
    shown_default=".env",
)
EDGE_FUNCTIONS_FILE: Variable[Path | None] = Variable(
    "EDGE_FUNCTIONS_FILE", None, path, "a path", "the TOML file that registers edge functions"
)
AUTO_FIX_TOKEN: Variable[str | None] = Variable(
    "AUTO_FIX_TOKEN",
    None,
    _token,
    "visible ASCII characters without spaces",
    "the bearer token for changes over HTTP; with no token at all, every change is refused",
    secret=True,
    form=SecretForm.FOLLOWED,
)
AUTO_FIX_TOKENS: Variable[tuple[TokenPair, ...]] = Variable(
    "AUTO_FIX_TOKENS",
    (),
    parse_tokens,
    "name:token pairs with commas between them, each name once",
    "several tokens, each with the name that the log gets",
    secret=True,
    form=SecretForm.FILE,
)
AUTO_FIX_TOKEN_FILE: Variable[Path | None] = Variable(
    "AUTO_FIX_TOKEN_FILE",
    None,
    absolute_path,
    "a readable file with one token, or one name:token, on a line",
    "a file of tokens, read again when it changes",
    secret=True,
)
PORT = Variable("PORT", 10000, whole_number(1, 65535), "1 to 65535", "the TCP port to serve on")
WEB_CONCURRENCY = Variable(
    "WEB_CONCURRENCY", 2, whole_number(1, 256), "1 to 256", "worker processes"
)
THREADS = Variable("THREADS", 8, whole_number(1, 512), "1 to 512", "threads of each worker")
WORKER_CLASS = Variable(
    "WORKER_CLASS",
    "gthread",
    one_of(*WORKER_CLASSES),
    "gthread, sync or eventlet",
    "gunicorn's worker class; eventlet is deprecated",
)
LOG_LEVEL = Variable(
    "LOG_LEVEL",
    "INFO",
    one_of(*LOG_LEVELS),
    "DEBUG, INFO, WARNING, ERROR or CRITICAL",
    "the least severe level that is logged",
)
ACCESS_LOG = Variable(
    "ACCESS_LOG",
    "all",
    one_of("all", "errors", "off"),
    "all, errors or off",
    "which requests are logged: all but successful probes, those that failed, or none",
)
REQUEST_TIMEOUT = Variable(
    "REQUEST_TIMEOUT",
    10,
    whole_number(1, 3600),
    "1 to 3600",
    "seconds in which a request's header, and then its body, has to arrive",
)
TRUSTED_PROXIES = Variable(
    "TRUSTED_PROXIES",
    0,
    whole_number(0, 10),
    "0 to 10",
    "how many proxies in front set X-Forwarded-For, -Proto and -Host; with 0 nobody is believed",
)
OTEL_EXPORTER_OTLP_ENDPOINT: Variable[str | None] = Variable(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    None,
    url,
    "an http or https URL",
    "where traces are sent (OTLP over HTTP); with none there are no traces",
)
#: prometheus_client looks for it when it is imported, so app.telemetry.directory puts it there.
PROMETHEUS_MULTIPROC_DIR: Variable[Path | None] = Variable(
    "PROMETHEUS_MULTIPROC_DIR",
    None,
    path,
    "a directory of this service alone",
    "where workers count together, emptied at the start; with none one in memory is made",
)
LOG_FORMAT = Variable(
    "LOG_FORMAT",
    "console",
    one_of(*LOG_FORMATS),
    "console or json",
    "how a log line looks: readable text, or one JSON object (the image's choice)",
)


#: Every setting, in the order in which the README shows them.
VARIABLES: tuple[Variable[Any], ...] = (
    *HEALING_VARIABLES,
    AUTO_FIX_TOKEN,
    AUTO_FIX_TOKENS,
    AUTO_FIX_TOKEN_FILE,
    EDGE_FUNCTIONS_FILE,
    PORT,
    WEB_CONCURRENCY,
    THREADS,
    WORKER_CLASS,
    LOG_LEVEL,
    LOG_FORMAT,
    ACCESS_LOG,
    REQUEST_TIMEOUT,
    TRUSTED_PROXIES,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    PROMETHEUS_MULTIPROC_DIR,
    ENV_FILE,
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of the settings table; an empty default means that the setting is unset.

    ``names`` are the variables that set it: more than one where a file can hold it.
    """

    names: tuple[str, ...]
    expected: str
    default: str
    meaning: str
    secret: bool

    @property
    def name(self) -> str:
        """The setting's own variable."""
        return self.names[0]


def _row(variable: Variable[T]) -> TableRow:
    default = "" if variable.default in (None, ()) else plain(variable.default)
    return TableRow(
        # A file that is followed is a variable with a row of its own.
        variable.names if variable.form is SecretForm.FILE else (variable.name,),
        variable.expected,
        default if variable.shown_default is None else variable.shown_default,
        variable.meaning,
        variable.secret,
    )


SETTINGS_TABLE = tuple(_row(variable) for variable in VARIABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator can set. Each field holds the documented default."""

    healing: HealingSettings = field(default_factory=HealingSettings)
    edge_functions_file: Path | None = EDGE_FUNCTIONS_FILE.default
    token: str | None = field(default=AUTO_FIX_TOKEN.default, repr=False)
    tokens: tuple[TokenPair, ...] = field(default=AUTO_FIX_TOKENS.default, repr=False)
    token_file: Path | None = field(default=AUTO_FIX_TOKEN_FILE.default, repr=False)
    port: int = PORT.default
    web_concurrency: int = WEB_CONCURRENCY.default
    threads: int = THREADS.default
    worker_class: str = WORKER_CLASS.default
    log_level: str = LOG_LEVEL.default
    log_format: str = LOG_FORMAT.default
    access_log: str = ACCESS_LOG.default
    request_timeout: int = REQUEST_TIMEOUT.default
    trusted_proxies: int = TRUSTED_PROXIES.default
    otlp_endpoint: str | None = OTEL_EXPORTER_OTLP_ENDPOINT.default
    metrics_directory: Path | None = PROMETHEUS_MULTIPROC_DIR.default

    @property
    def edge_share(self) -> int:
        """How many edge calls a worker may make at once: one at least."""
        threads = self.threads if self.worker_class == "gthread" else 1
        return max(1, int(threads * EDGE_SHARE))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings; unset and empty both mean the default.

        Raises:
            SettingsError: naming every variable whose value cannot be used, the engine's included,
                with the value (never a secret), what was expected and where it came from.
        """
        read = Reader(Environment.of(environ))
        settings = cls.read(read)
        read.check()
        return settings

    @classmethod
    def read(cls, read: Reader) -> Settings:
        """The settings, with defaults where they are wrong: the reader knows the faults."""
        return cls(
            healing=HealingSettings.read(read),
            edge_functions_file=read(EDGE_FUNCTIONS_FILE),
            token=read(AUTO_FIX_TOKEN),
            tokens=read(AUTO_FIX_TOKENS),
            token_file=read(AUTO_FIX_TOKEN_FILE),
            port=read(PORT),
            web_concurrency=read(WEB_CONCURRENCY),
            threads=read(THREADS),
            worker_class=read(WORKER_CLASS),
            log_level=read(LOG_LEVEL),
            log_format=read(LOG_FORMAT),
            access_log=read(ACCESS_LOG),
            request_timeout=read(REQUEST_TIMEOUT),
            trusted_proxies=read(TRUSTED_PROXIES),
            otlp_endpoint=read(OTEL_EXPORTER_OTLP_ENDPOINT),
            metrics_directory=read(PROMETHEUS_MULTIPROC_DIR),
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
    environ.update(found.added, **{ENV_FILE.name: os.devnull})
    return found


def load(environ: MutableMapping[str, str], *checks: SettingsCheck) -> Settings:
    """Read the ``.env`` file into ``environ``, and the settings from both.

    Args:
        environ: the process's environment.
        checks: what raises SettingsError about settings that are well formed and cannot be used.

    Raises:
        SettingsError: with every fault: of the file, of the variables and of the checks.
    """
    settings, faults = examine(adopt(environ), *checks)
    if faults:
        raise SettingsError(faults)
    return settings


def examine(
    environ: Environment, *checks: SettingsCheck
) -> tuple[Settings, tuple[SettingFault, ...]]:
    """The settings, with defaults where they are wrong, and every fault; see :func:`load`."""
    read = Reader(environ)
    settings = Settings.read(read)
    found = [fault for check in checks for fault in _faults(check, settings)]
    return settings, (*environ.faults, *read.faults, *(_traced(fault, environ) for fault in found))


def _faults(check: SettingsCheck, settings: Settings) -> tuple[SettingFault, ...]:
    try:
        check(settings)
    except SettingsError as error:
        return error.faults
    return ()


def _traced(fault: SettingFault, environ: Environment) -> SettingFault:
    """A check sees values alone, not where they came from."""
    variable = next(one for one in VARIABLES if one.name == fault.name)
    return replace(fault, source=variable.read(environ).source)


def slips(environ: Environment) -> tuple[Slip, ...]:
    """The variables that were probably meant to be a setting; none of them counts."""
    return environ.slips({name for variable in VARIABLES for name in variable.names})
