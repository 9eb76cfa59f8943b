"""The doctor looks at declared databases: URLs that parse, drivers that are locked, one head."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.doctor.databases import check_databases
from app.doctor.findings import Code, Finding
from app.doctor.project import Project
from app.manifest import FILE
from tests.support.processes import ROOT

SECRET = "c4n4ry-word"  # noqa: S105 - a made-up one
PACKAGES = '[packages]\nsqlalchemy = "SQLAlchemy>=2"\npsycopg = "psycopg[binary]>=3"\n'


def examine(root: Path, tables: str, packages: str = PACKAGES, **environ: str) -> list[Finding]:
    """What is found of a manifest with these tables, beside the project's own lock."""
    (root / FILE).write_text(f"{packages}\n{tables}\n")
    found = list(check_databases(Project(root, ROOT / "requirements-flask.lock"), environ))
    assert SECRET not in "".join(f"{one.message}{one.advice}" for one in found)
    return found


def migration(root: Path, revision: str, after: str | None) -> None:
    """Write a migration of Alembic's."""
    versions = root / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    text = f"revision = {revision!r}\ndown_revision = {after!r}\n"
    (versions / f"{revision}.py").write_text(text)


@pytest.mark.parametrize(
    "url", ["postgresql://a:${WORD}@h1:1,h2:2/shop", "${URL}", "sqlite:///data/shop.sqlite3"]
)
def test_all_is_well(tmp_path: Path, url: str) -> None:
    """Whatever the password has in it; what is not set here is not looked at."""
    table = f'[database.main]\nurl = "{url}"'
    assert examine(tmp_path, table) == []
    environ = {"WORD": f"{SECRET}%/@:", "URL": f"postgresql://a:{SECRET}@db/shop"}
    assert examine(tmp_path, table, **environ) == []


@pytest.mark.parametrize(
    "url",
    [
        f"{SECRET}",
        f"oracle://a:{SECRET}@db/shop",
        f"postgresql://a:{SECRET}%zz@db/shop",
        f"postgresql://a:{SECRET}@/shop",
        f"postgresql://a:{SECRET}@/shop?host=h1,h2,h3&port=1,2",
    ],
)
def test_urls_that_cannot_be_used(tmp_path: Path, url: str) -> None:
    """Each is an error that says why, and holds nothing of the URL."""
    (found,) = examine(tmp_path, '[database.main]\nurl = "${URL}"', URL=url)
    assert (found.code, str(found.severity)) == (Code.DATABASE_URL_INVALID, "error")
    assert found.subject == "main"


def test_a_driver_that_could_not_be_healed(tmp_path: Path) -> None:
    """It is approved by nobody, or the lock does not have it."""
    table = '[database.main]\nurl = "postgresql://db/shop"'
    nobody = examine(tmp_path, table, "")
    assert {one.subject for one in nobody} == {"sqlalchemy", "psycopg"}
    assert {one.code for one in nobody} == {Code.DRIVER_NOT_LOCKED}
    unlocked = PACKAGES.replace("psycopg[binary]", "psycopg-fork")
    (found,) = examine(tmp_path, table, unlocked)
    assert (found.subject, found.advice) == ("psycopg", "run auto-fix lock")


def test_migrations(tmp_path: Path) -> None:
    """One head is well; two, a file that is no Python, and no directory are errors."""
    table = '[database.main]\nurl = "${URL}"\nmigrations = "migrations"'
    (absent,) = examine(tmp_path, table)
    assert absent.code is Code.MIGRATIONS_UNREADABLE
    migration(tmp_path, "a1", None)
    migration(tmp_path, "b2", "a1")
    assert examine(tmp_path, table) == []
    migration(tmp_path, "c3", "a1")
    (split,) = examine(tmp_path, table)
    assert split.code is Code.MIGRATIONS_SPLIT
    assert "2 heads: b2, c3" in split.message
    (tmp_path / "migrations" / "versions" / "d4.py").write_text("revision = (")
    (broken,) = examine(tmp_path, table)
    assert broken.code is Code.MIGRATIONS_UNREADABLE
