"""Which variables code reads, seen in its source and in the exceptions that it raises."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.kinds.environment.reads import reads_in, variable_that_failed

NAME = "SHOP_OF_READS"


@pytest.fixture
def raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], BaseException]]:
    """Imports a module of the given code, and returns what that raised."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(NAME, raising=False)

    def run(code: str) -> BaseException:
        (tmp_path / "reading_module.py").write_text(code)
        importlib.invalidate_caches()
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever the code raises
            importlib.import_module("reading_module")
        return caught.value

    yield run
    sys.modules.pop("reading_module", None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.environ['A']", ("A", True)),
        ("environ['A']", ("A", True)),
        ("os.environ.get('A')", ("A", True)),
        ("os.environ.get('A', 'b')", ("A", False)),
        ("os.environ.get('A', default='b')", ("A", False)),
        ("os.getenv('A')", ("A", True)),
        ("getenv('A', 'b')", ("A", False)),
        ("'A' in os.environ", ("A", False)),
        ("KEY = 'A'\nos.environ[KEY]", ("A", True)),
    ],
)
def test_reads(code: str, expected: tuple[str, bool]) -> None:
    """Each way to read one is found, with whether code can do without it."""
    (read,) = reads_in([*ast.walk(ast.parse(code))])
    assert (read.name, read.required) == expected
    assert read.raises == ("]" in code)


@pytest.mark.parametrize(
    "code",
    ["os.environ['A'] = 'b'", "del os.environ['A']", "os.environ[name]", "config['A']", "get('A')"],
)
def test_is_no_read(code: str) -> None:
    """What sets a variable, or reads something else, is none."""
    assert list(reads_in([*ast.walk(ast.parse(code))])) == []


@pytest.mark.parametrize(
    "code",
    [
        f"import os\nos.environ['{NAME}']",
        f"from os import environ as e\ne['{NAME}']",
        f"import os\nvalue = int(os.environ.get('{NAME}'))",
        f"import os\nvalue = os.getenv('{NAME}').split(',')",
        f"import os\nKEY = '{NAME}'\nvalue = (\n    os.getenv(\n        KEY\n    ) + '/x'\n)",
        f"import os\ndef read():\n    return os.getenv('{NAME}').strip()\nread()",
        f"import os\ntry:\n  os.environ['{NAME}']\nexcept KeyError as e:\n    raise OSError from e",
        f"import os\ntry:\n    os.environ['{NAME}']\nexcept KeyError:\n    raise OSError('no')",
    ],
)
def test_failed_for_a_variable(raised: Callable[[str], BaseException], code: str) -> None:
    """The variable is known for whose want code raised, however it was read."""
    assert variable_that_failed(raised(code)) == NAME


@pytest.mark.parametrize(
    "code",
    [
        f"{{}}['{NAME}']",
        "raise KeyError('PATH')",
        "import os\nint('x' + os.environ['PATH'])",
        f"import os\nvalue = os.getenv('{NAME}', 'x')\nint(value)",
        f"import os\nint(os.getenv('{NAME}') + os.getenv('{NAME}_2'))",
        "raise SystemExit",
        "import os\nos.environ[3]",
    ],
)
def test_failed_for_another_reason(raised: Callable[[str], BaseException], code: str) -> None:
    """Nothing is said of a variable that is set, or where two may be meant."""
    assert variable_that_failed(raised(code)) is None


def test_an_exception_that_was_never_raised() -> None:
    """It has no trace, and says nothing."""
    assert variable_that_failed(KeyError(NAME)) is None


def test_a_source_that_is_gone(tmp_path: Path) -> None:
    """Without its source nothing is known of an exception."""
    module = ModuleType("gone")
    code = compile(f"int(os.getenv('{NAME}'))", str(tmp_path / "gone.py"), "exec")
    module.__dict__["os"] = os
    with pytest.raises(TypeError) as caught:
        exec(code, module.__dict__)  # noqa: S102 - code of this test
    assert variable_that_failed(caught.value) is None
