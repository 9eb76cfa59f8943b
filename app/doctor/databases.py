"""Databases of the manifest: URLs, drivers and migrations, without a connection to any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.doctor.findings import Code, Finding, error, warning
from app.doctor.project import Project
from app.kinds.database import declaration, postgres
from app.kinds.database.declaration import Address, Database, InvalidURL
from app.kinds.database.migrations import heads
from app.kinds.dependency.requirements import requirement_name
from app.manifest import FILE


def check_databases(project: Project, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What would keep declared databases from being reached, as far as that is known here.

    A URL whose variables are not set here, where there may be no secrets, is not looked at.
    """
    declared: Mapping[str, Database] = project.manifest.tables.get(declaration.TABLE, {})
    for name, database in declared.items():
        if database.migrations is not None:
            yield from _check_migrations(name, project.root / database.migrations)
        if any(not environ.get(variable, "").strip() for variable in database.variables):
            continue
        try:
            address = database.address(environ)
            _parse(address)
        except InvalidURL as invalid:
            message = f"the URL of database {name} cannot be used: {invalid}"
            advice = "correct it, or the variable that it is made of"
            yield error(Code.DATABASE_URL_INVALID, message, advice, FILE, subject=name)
        else:
            yield from _check_packages(name, address, project)


def _parse(address: Address) -> None:
    """Read a URL as its driver does, where that is installed.

    Raises:
        InvalidURL: it cannot be used.
    """
    if address.dialect == "postgresql":
        try:
            postgres.hosts_of(postgres.parameters_of(address.url))
        except ImportError:
            return


def _check_packages(name: str, address: Address, project: Project) -> Iterator[Finding]:
    """Whether what a database is reached with is approved and locked, so that it can heal."""
    for package in address.packages:
        requirement = project.dependency_map.get(package)
        if requirement is None:
            message = f"database {name} is reached with {package}, which nothing approves"
            advice = f"add {package} to [packages] of {FILE}, then run auto-fix lock"
            yield warning(Code.DRIVER_NOT_LOCKED, message, advice, FILE, subject=package)
        elif requirement_name(requirement) not in project.lock.entries:
            message = f"database {name} is reached with {package}, which the lock does not have"
            yield warning(Code.DRIVER_NOT_LOCKED, message, "run auto-fix lock", subject=package)


def _check_migrations(name: str, directory: Path) -> Iterator[Finding]:
    """Whether a directory of Alembic's can be read, and has one head."""
    try:
        found = sorted(heads(directory))
    except (OSError, ValueError) as fault:
        reason = os.strerror(fault.errno) if isinstance(fault, OSError) and fault.errno else fault
        message = f"the migrations of database {name} cannot be read: {reason}"
        advice = "migrations is the directory that holds versions/"
        yield error(Code.MIGRATIONS_UNREADABLE, message, advice, FILE, subject=name)
        return
    if len(found) > 1:
        message = f"the migrations of database {name} have {len(found)} heads: {', '.join(found)}"
        yield error(Code.MIGRATIONS_SPLIT, message, "run alembic merge heads", FILE, subject=name)
