"""Settings: defaults, coercion, and every fault told at once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from app.config import SETTINGS_TABLE, Settings
from app.healing.errors import SettingsError
from app.healing.settings import Mode
from tests.support.processes import ROOT


def _faults_of(environ: dict[str, str]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    return caught.value


def test_nothing_set_gives_the_defaults() -> None:
    """With no variable set, the settings are the documented defaults."""
    assert Settings.from_environ({}) == Settings()


def test_empty_is_unset() -> None:
    """An empty or blank variable means its default."""
    environ = dict.fromkeys((row.name for row in SETTINGS_TABLE), "  ")
    assert Settings.from_environ(environ) == Settings()


def test_everything_set(tmp_path: Path) -> None:
    """Every variable reaches its field."""
    settings = Settings.from_environ(
        {
            "AUTO_FIX_MODE": "report",
            "AUTO_FIX_HOME": str(tmp_path),
            "AUTO_FIX_TOKEN": "s3cret",
            "EDGE_FUNCTIONS_FILE": "functions.toml",
            "PORT": "8080",
            "WEB_CONCURRENCY": "3",
            "THREADS": "16",
            "WORKER_CLASS": "SYNC",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
        }
    )
    assert settings.healing.mode is Mode.REPORT
    assert settings.healing.home == tmp_path
    assert settings == Settings(
        healing=settings.healing,
        edge_functions_file=Path("functions.toml"),
        token="s3cret",  # noqa: S106 - a made-up one
        port=8080,
        web_concurrency=3,
        threads=16,
        worker_class="sync",
        log_level="DEBUG",
        log_format="json",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "1e3"),
        ("PORT", "1_000"),
        ("PORT", "\u0661\u0662"),
        ("PORT", "9" * 10_000),
        ("WEB_CONCURRENCY", "many"),
        ("THREADS", "0"),
        ("WORKER_CLASS", "gthread; rm -rf /"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml\nforged"),
        ("AUTO_FIX_MODE", "maybe"),
        ("EDGE_FUNCTIONS_FILE", "a\0b"),
    ],
)
def test_nonsense_is_one_clear_sentence(name: str, value: str) -> None:
    """A value that makes no sense is named with what was expected, on one short line."""
    text = str(_faults_of({name: value}))
    assert text.startswith(name)
    assert "expected" in text
    assert text.isprintable()
    assert len(text) < 300


def test_all_faults_at_once() -> None:
    """Three wrong settings are told together, the engine's among them."""
    error = _faults_of({"PORT": "x", "THREADS": "y", "AUTO_FIX_MODE": "z", "LOG_LEVEL": "INFO"})
    assert sorted(fault.name for fault in error.faults) == ["AUTO_FIX_MODE", "PORT", "THREADS"]


def test_a_wrong_token_is_not_shown() -> None:
    """A token that cannot be used is named, and its value is told to nobody."""
    text = str(_faults_of({"AUTO_FIX_TOKEN": "very secret"}))
    assert "AUTO_FIX_TOKEN" in text
    assert "secret" not in text


def test_token_is_not_in_the_representation() -> None:
    """Printing the settings does not print the token."""
    assert "s3cret" not in repr(Settings.from_environ({"AUTO_FIX_TOKEN": "s3cret"}))


def test_settings_are_frozen() -> None:
    """Nobody changes a setting of a running service."""
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_table_names_are_unique() -> None:
    """The settings table has one row for each variable."""
    names = [row.name for row in SETTINGS_TABLE]
    assert len(set(names)) == len(names)


def test_the_readme_shows_every_setting() -> None:
    """The README's table is that of the code, row by row."""
    shown = [
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")
    ]
    wanted = [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |"
        for row in SETTINGS_TABLE
    ]
    assert shown == wanted
