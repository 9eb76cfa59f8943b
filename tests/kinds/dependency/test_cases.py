"""Public reports of failed imports, rebuilt: each is diagnosed as what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from app.kinds.dependency.diagnosis import Cause
from benchmarks import cases
from tests.support.processes import ROOT

ALL = cases.all_cases()
APPLYING = [case for case in ALL if case.applies]
#: What a report is called: owner/repository#number.
REPORT = re.compile(r"[\w.-]+/[\w.-]+#\d+")
#: Found by other ways than a failed import in a process of its own.
NO_CASE = {Cause.IMPORTING}
PAGE = ROOT / "docs" / "DIAGNOSES.md"


@pytest.fixture(scope="module")
def said() -> Mapping[str, Mapping[str, str | None]]:
    """What is said of each case."""
    return cases.diagnose_all()


@pytest.mark.parametrize("case", APPLYING, ids=lambda case: case.name)
def test_case(case: cases.Case, said: Mapping[str, Mapping[str, str | None]]) -> None:
    """Cause, culprit, advice and what would be healed are right."""
    assert said[case.name] == case.expected


def test_reports() -> None:
    """There are at least 60, each has a public report, and no advice shows where a file is."""
    assert len(APPLYING) >= 60
    for case in ALL:
        assert REPORT.fullmatch(case.report)
        assert "/" not in str(case.expected["advice"])


def test_page() -> None:
    """Each line of the page is a case, and each cause has one."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    known = {
        (case.expected["cause"], case.seen, case.report, case.expected["advice"]) for case in ALL
    }
    assert {
        row for row in rows if (row[0], row[1].strip("`"), row[2], row[3]) not in known
    } == set()
    assert {row[0] for row in rows} == {str(cause) for cause in Cause if cause not in NO_CASE}
