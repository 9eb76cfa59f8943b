"""The service's settings: each variable is read here once, its default beside its name.

The ``AUTO_FIX_*`` variables except ``AUTO_FIX_TOKEN`` belong to the engine and are read by
:class:`app.healing.settings.HealingSettings`; their faults are told together with these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from app.healing.errors import SettingFault, SettingsError
from app.healing.settings import HealingSettings

T = TypeVar("T")

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("console", "json")
WORKER_CLASSES = ("gthread", "sync", "eventlet")
#: The share of a worker's threads that edge calls may take; the rest answers probes and all else.
EDGE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """One environment variable: what it is called, what it falls back to, what it may hold."""

    name: str
    default: T
    parse: Callable[[str], T]
    expected: str
    meaning: str
    secret: bool = False

    def read(self, environ: Mapping[str, str], faults: list[SettingFault]) -> T:
        """The value, or the default when unset, empty or wrong; a wrong one is added to faults."""
        text = environ.get(self.name, "").strip()
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError:
            shown = "not shown" if self.secret else text
            faults.append(SettingFault(self.name, shown, self.expected))
            return self.default


def _whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() also takes "1_0", "+1" and other scripts' digits, which nobody means here.
        if not (text.isascii() and text.isdecimal()) or not lowest <= int(text[:10]) <= highest:
            raise ValueError
        return int(text)

    return parse


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for choice in choices:
            if choice.lower() == text.lower():
                return choice
        raise ValueError

    return parse


def _path(text: str) -> Path | None:
    if "\0" in text:
        raise ValueError
    return Path(text)


def _url(text: str) -> str | None:
    if not text.lower().startswith(("http://", "https://")) or not text.isprintable():
        raise ValueError
    return text


def _token(text: str) -> str | None:
    if not all("!" <= character <= "~" for character in text):
        raise ValueError
    return text


EDGE_FUNCTIONS_FILE: Variable[Path | None] = Variable(
    "EDGE_FUNCTIONS_FILE", None, _path, "a path", "the TOML file that registers edge functions"
)
AUTO_FIX_TOKEN: Variable[str | None] = Variable(
    "AUTO_FIX_TOKEN",
    None,
    _token,
    "visible ASCII characters without spaces",
    "the bearer token for changes over HTTP; with none set, every change is refused",
    secret=True,
)
PORT = Variable("PORT", 10000, _whole_number(1, 65535), "1 to 65535", "the TCP port to serve on")
WEB_CONCURRENCY = Variable(
    "WEB_CONCURRENCY", 2, _whole_number(1, 256), "1 to 256", "worker processes"
)
THREADS = Variable("THREADS", 8, _whole_number(1, 512), "1 to 512", "threads of each worker")
WORKER_CLASS = Variable(
    "WORKER_CLASS",
    "gthread",
    _one_of(WORKER_CLASSES),
    "gthread, sync or eventlet",
    "gunicorn's worker class; eventlet is deprecated",
)
LOG_LEVEL = Variable(
    "LOG_LEVEL",
    "INFO",
    _one_of(LOG_LEVELS),
    "DEBUG, INFO, WARNING, ERROR or CRITICAL",
    "the least severe level that is logged",
)
ACCESS_LOG = Variable(
    "ACCESS_LOG",
    "all",
    _one_of(("all", "errors", "off")),
    "all, errors or off",
    "which requests are logged: all but successful probes, those that failed, or none",
)
REQUEST_TIMEOUT = Variable(
    "REQUEST_TIMEOUT",
    10,
    _whole_number(1, 3600),
    "1 to 3600",
    "seconds in which a request's header, and then its body, has to arrive",
)
TRUSTED_PROXIES = Variable(
    "TRUSTED_PROXIES",
    0,
    _whole_number(0, 10),
    "0 to 10",
    "how many proxies in front set X-Forwarded-For, -Proto and -Host; with 0 nobody is believed",
)
OTEL_EXPORTER_OTLP_ENDPOINT: Variable[str | None] = Variable(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    None,
    _url,
    "an http or https URL",
    "where traces are sent (OTLP over HTTP); with none there are no traces",
)
LOG_FORMAT = Variable(
    "LOG_FORMAT",
    "console",
    _one_of(LOG_FORMATS),
    "console or json",
    "how a log line looks: readable text, or one JSON object (the image's choice)",
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of the README's settings table; an empty default means that the setting is unset."""

    name: str
    default: str
    meaning: str


def _row(variable: Variable[T]) -> TableRow:
    default = "" if variable.default is None else str(variable.default)
    return TableRow(variable.name, default, variable.meaning)


#: Every variable that the service knows, in the order in which the README shows them.
SETTINGS_TABLE: tuple[TableRow, ...] = (
    TableRow("AUTO_FIX_MODE", "heal", "heal, report (say what would be done) or off"),
    TableRow("AUTO_FIX_HOME", "instance/auto-fix", "where fixes, history and locks are kept"),
    TableRow("AUTO_FIX_LOCK", "requirements-flask.lock", "the hashed lock that a heal installs by"),
    TableRow("AUTO_FIX_WHEELHOUSE", "", "a directory of wheels; with it no index is asked"),
    TableRow("AUTO_FIX_ALLOW_UNLOCKED", "", "true lets a heal install without a lock"),
    _row(AUTO_FIX_TOKEN),
    _row(EDGE_FUNCTIONS_FILE),
    _row(PORT),
    _row(WEB_CONCURRENCY),
    _row(THREADS),
    _row(WORKER_CLASS),
    _row(LOG_LEVEL),
    _row(LOG_FORMAT),
    _row(ACCESS_LOG),
    _row(REQUEST_TIMEOUT),
    _row(TRUSTED_PROXIES),
    _row(OTEL_EXPORTER_OTLP_ENDPOINT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator can set. Each field holds the documented default."""

    healing: HealingSettings = field(default_factory=HealingSettings)
    edge_functions_file: Path | None = EDGE_FUNCTIONS_FILE.default
    token: str | None = field(default=AUTO_FIX_TOKEN.default, repr=False)
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
                with the value (never a secret) and what was expected.
        """
        faults: list[SettingFault] = []
        settings = cls(
            healing=_healing(environ, faults),
            edge_functions_file=EDGE_FUNCTIONS_FILE.read(environ, faults),
            token=AUTO_FIX_TOKEN.read(environ, faults),
            port=PORT.read(environ, faults),
            web_concurrency=WEB_CONCURRENCY.read(environ, faults),
            threads=THREADS.read(environ, faults),
            worker_class=WORKER_CLASS.read(environ, faults),
            log_level=LOG_LEVEL.read(environ, faults),
            log_format=LOG_FORMAT.read(environ, faults),
            access_log=ACCESS_LOG.read(environ, faults),
            request_timeout=REQUEST_TIMEOUT.read(environ, faults),
            trusted_proxies=TRUSTED_PROXIES.read(environ, faults),
            otlp_endpoint=OTEL_EXPORTER_OTLP_ENDPOINT.read(environ, faults),
        )
        if faults:
            raise SettingsError(tuple(faults))
        return settings


def _healing(environ: Mapping[str, str], faults: list[SettingFault]) -> HealingSettings:
    try:
        return HealingSettings.from_environ(environ)
    except SettingsError as error:
        faults.extend(error.faults)
        return HealingSettings()
