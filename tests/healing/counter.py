"""A kind of fault of the tests' own: counter files that have to hold a number that never falls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from app.healing.kind import Fault, Fix, Outcome, Plan, Repair, Scope, Work
from app.healing.report import timestamp


class CounterKind:
    """Watches the counters ``NAME.count`` of a directory; ``NAME.sealed`` forbids to mend one.

    The highest number that was committed lies beside each, as ``NAME.committed``.
    """

    name = "counter"
    scope = Scope.HOST
    need = "counters"
    gates = False
    causes: Mapping[str, str] = {"garbled": "A counter that this part needs is no number."}
    outcomes: Mapping[str, str] = {"jammed": "turn the counter by hand"}
    refusals: frozenset[str] = frozenset()

    def __init__(self, directory: Path, *names: str) -> None:
        self.directory = directory
        self.names = names
        self.jammed = False
        self.repairs = 0
        self.adopted = 0
        self.needs: Mapping[str, tuple[str, ...]] = {}

    def subjects(self) -> Mapping[str, bool]:
        """The counters; none is critical."""
        return dict.fromkeys(self.names, False)

    def basis(self) -> str:
        """Failures count for as long as the directory is the same."""
        return str(self.directory)

    def faults(self) -> Iterable[Fault]:
        """The counters that are no numbers."""
        for name in self.names:
            if not self._path(name, "count").read_text().isdecimal():
                sealed = self._path(name, "sealed").exists()
                yield Fault(
                    kind=self.name,
                    subject=name,
                    cause="garbled",
                    advice=f"the counter {name} is no number",
                    plan=Plan(steps=(f"turn {name} back to its last number",), digest=name),
                    refusal=Outcome.NOT_APPROVED if sealed else None,
                )

    def unmet(self, subject: str) -> Fault | None:
        """Why a counter cannot be read."""
        return next((each for each in self.faults() if each.subject == subject), None)

    def explain(self, error: BaseException) -> Fault | None:
        """The counter that an exception speaks of."""
        return self.unmet(error.args[0]) if isinstance(error, LookupError) else None

    def recheck(self, fault: Fault) -> Fault | None:
        """The fault as it is now."""
        return self.unmet(fault.subject)

    def prepare(self) -> None:
        """Nothing has to be made."""

    def recover(self, subject: str) -> None:
        """Remove a number that was written and never put in place."""
        self._path(subject, "new").unlink(missing_ok=True)

    def repair(self, fault: Fault, work: Work) -> Repair:
        """Write the number aside, and put it in place by one rename."""
        self.repairs += 1
        if self.jammed:
            return Repair(outcome="jammed", detail=work.attempt)
        fresh = self._path(fault.subject, "new")
        fresh.write_text("7")
        fresh.replace(self._path(fault.subject, "count"))
        self._path(fault.subject, "committed").write_text(work.attempt)
        return Repair(outcome=Outcome.HEALED, requirement="count = 7", installed=("7",))

    def adopt(self) -> bool:
        """Count the numbers that others have committed since the last look."""
        before, self.adopted = self.adopted, len(list(self.directory.glob("*.committed")))
        return self.adopted > before

    def fixes(self) -> Iterable[Fix]:
        """The counters that were turned back."""
        for path in sorted(self.directory.glob("*.committed")):
            yield Fix(
                kind=self.name,
                subject=path.stem,
                requirement="count = 7",
                installed=("7",),
                at=timestamp(path.stat().st_mtime),
                attempt=path.read_text(),
            )

    def _path(self, name: str, ending: str) -> Path:
        return self.directory / f"{name}.{ending}"
