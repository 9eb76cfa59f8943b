"""What the manifest declares of a database.

::

    [database.main]
    url = "${DATABASE_URL}"          # or "postgresql://app:${DB_PASSWORD}@db1:5432,db2:5432/shop"
    role = "read-write"              # or read-only
    critical = false                 # whether nothing can be served without it
    connect_timeout = 5              # seconds
    statement_timeout = 30           # seconds; 0 is none
    pool = { size = 5, overflow = 5, wait = 5, recycle = 1800 }
    migrations = "migrations"        # an Alembic directory
    backups = "instance/backups"     # SQLite alone

A variable that is a part of the URL is put in percent-encoded, so a password may hold any
character; one that is all of it is taken as it is. It is read whenever a connection is made, so
that a secret that was rotated counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.manifest import Table, Unusable
from app.settings.errors import OrchestratorError

#: The manifest's table of them, and the key under which a blueprint names those that it needs.
TABLE, NEED = "database", "databases"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
#: The most seconds, and the most connections, that may be declared.
MOST = 86400
READ_WRITE, READ_ONLY = "read-write", "read-only"
#: By scheme: the dialect of SQLAlchemy, its driver, and the packages that a connection needs.
DIALECTS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "postgres": ("postgresql", "psycopg", ("sqlalchemy", "psycopg")),
    "postgresql": ("postgresql", "psycopg", ("sqlalchemy", "psycopg")),
    "mysql": ("mysql", "pymysql", ("sqlalchemy", "pymysql")),
    "mariadb": ("mariadb", "pymysql", ("sqlalchemy", "pymysql")),
    "sqlite": ("sqlite", "pysqlite", ("sqlalchemy",)),
}


class InvalidURL(OrchestratorError):
    """A URL cannot be used; the message says why and holds nothing of the URL."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The connections of one process: so many are kept, and so many more made when needed.

    A checkout waits ``wait`` seconds for one; after ``recycle`` seconds one is made anew.
    """

    size: int = 5
    overflow: int = 5
    wait: float = 5.0
    recycle: float = 1800.0


@dataclass(frozen=True, slots=True)
class Address:
    """A URL with its variables put in. It may hold a password."""

    dialect: str
    driver: str
    packages: tuple[str, ...]
    url: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """How SQLAlchemy calls dialect and driver together."""
        return f"{self.dialect}+{self.driver}"


@dataclass(frozen=True, slots=True)
class Database:
    """One database of the manifest; times are seconds, a ``statement_timeout`` of 0 is none."""

    name: str
    url: str = field(repr=False)
    role: str = READ_WRITE
    critical: bool = False
    pool: Pool = Pool()
    connect_timeout: float = 5.0
    statement_timeout: float = 30.0
    migrations: Path | None = None
    backups: Path | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that its URL has."""
        return tuple(VARIABLE.findall(self.url))

    def address(self, environ: Mapping[str, str]) -> Address:
        """The URL with the values that its variables have now.

        Raises:
            InvalidURL: a variable has no value, or no dialect that is known is named.
        """
        whole = VARIABLE.fullmatch(self.url) is not None

        def value(found: re.Match[str]) -> str:
            text = environ.get(found[1], "").strip()
            if not text:
                raise InvalidURL(f"{found[1]} is not set")
            return text if whole else quote(text, safe="")

        url = VARIABLE.sub(value, self.url)
        scheme, separator, rest = url.partition("://")
        dialect, driver, packages = _dialect(scheme)
        if not separator or not rest.isprintable():
            raise InvalidURL("expected SCHEME://…, in characters that can be seen")
        return Address(dialect, driver, packages, f"{dialect}{separator}{rest}")


def _dialect(scheme: str) -> tuple[str, str, tuple[str, ...]]:
    name, _, driver = scheme.lower().partition("+")
    found = DIALECTS.get(name)
    if found is None:
        raise InvalidURL(f"no scheme that is known: there are {', '.join(DIALECTS)}")
    if driver not in {"", found[1]}:
        raise InvalidURL(f"the driver of {name} is {found[1]}")
    return found


def read_database(name: str, entry: Any) -> Database:  # noqa: ANN401 - whatever a file holds
    """The database that an entry declares.

    Raises:
        Unusable: with what was expected, and the key that has to be mended.
    """
    if not (NAME.fullmatch(name) and isinstance(entry, dict)):
        raise Unusable("has to be a table with a plain name")
    readers: Mapping[str, Callable[[object, str], Any]] = {
        "url": _url,
        "role": _role,
        "critical": _flag,
        "pool": _pool,
        "connect_timeout": partial(_number, least=1),
        "statement_timeout": _number,
        "migrations": _directory,
        "backups": _directory,
    }
    for key in entry:
        if key not in readers:
            raise Unusable(f"is no key of a database; there are {', '.join(readers)}", key)
    given = {"url": None, **entry}
    return Database(name, **{key: readers[key](value, key) for key, value in given.items()})


#: What the manifest's reader has to know of it.
READER = Table(NEED, read_database)


def _url(value: object, key: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not VARIABLE.fullmatch(text):
        scheme, separator, _ = text.partition("://")
        if not separator:
            raise Unusable('has to be a URL such as "postgresql://db/shop" or "${NAME}"', key)
        try:
            _dialect(scheme)
        except InvalidURL as invalid:
            raise Unusable(f"cannot be used: {invalid}", key) from None
    return text


def _role(value: object, key: str) -> str:
    if value not in {READ_WRITE, READ_ONLY}:
        raise Unusable(f"has to be {READ_WRITE} or {READ_ONLY}", key)
    return str(value)


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise Unusable("has to be true or false", key)
    return value


def _directory(value: object, key: str) -> Path:
    if not isinstance(value, str) or not value:
        raise Unusable("has to be the path of a directory", key)
    return Path(value)


def _pool(value: object, key: str) -> Pool:
    known = {"size": 1, "overflow": 0, "wait": 0, "recycle": 0}
    if not isinstance(value, dict) or not set(value) <= set(known):
        raise Unusable(f"has to be a table with some of {', '.join(known)}", key)
    whole = {"size", "overflow"}
    return Pool(
        **{
            each: _number(number, key, least=known[each], whole=each in whole)
            for each, number in value.items()
        }
    )


def _number(value: object, key: str, *, least: float = 0, whole: bool = False) -> Any:  # noqa: ANN401
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= MOST:
        what = "a whole number" if whole else "a number"
        raise Unusable(f"has to be {what} between {least} and {MOST}", key)
    return value
