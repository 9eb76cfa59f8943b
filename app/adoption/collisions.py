"""Names and addresses that two blueprints want: Flask refuses the one, and hides the other."""

from __future__ import annotations

from collections.abc import Iterator

from app.adoption.modules import FoundBlueprint
from app.doctor.findings import Code, Finding, error, warning
from app.isolation.states import comparable_rule, is_core_address, is_core_rule


class Taken:
    """What blueprints have taken so far; each of them counts for those after it."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        self._rules: dict[tuple[str, str], str] = {}

    def take(self, owner: str, blueprint: FoundBlueprint, prefix: str | None) -> None:
        """Count a blueprint that is served already."""
        for _ in self.add(owner, blueprint, prefix, ""):
            pass

    def add(
        self, owner: str, blueprint: FoundBlueprint, prefix: str | None, file: str
    ) -> Iterator[Finding]:
        """Count a blueprint; what of it an earlier one, or the service itself, has already."""
        name, line = blueprint.flask_name, blueprint.line
        if name and (other := self._names.setdefault(name, owner)) != owner:
            message = f"its name {name} is that of {other}: Flask registers only one of them"
            advice = "give Blueprint(…) another name"
            yield error(Code.NAME_TAKEN, message, advice, file, line, subject=owner)
        if prefix and is_core_address(prefix):
            message = f"its prefix {prefix} belongs to the service itself"
            advice = "choose another: it would be isolated"
            yield error(Code.ADDRESS_TAKEN, message, advice, file, line, subject=owner)
        elif prefix and (other := self._prefixes.setdefault(prefix, owner)) != owner:
            message = f"its prefix {prefix} is that of {other}, too: while one is isolated, answers"
            message = f"{message} below it tell of the other"
            advice = "give each a prefix of its own"
            yield warning(Code.PREFIX_SHARED, message, advice, file, line, subject=owner)
        for rule in blueprint.rules:
            address = f"{(prefix or '').rstrip('/')}/{rule.text.lstrip('/')}"
            if is_core_rule(address):
                message = f"{address} belongs to the service itself"
                advice = "choose another: the blueprint would be isolated"
                yield error(Code.ADDRESS_TAKEN, message, advice, file, rule.line, subject=owner)
                continue
            owners = (
                self._rules.setdefault((comparable_rule(address), method), owner)
                for method in rule.methods
            )
            if others := sorted({*owners} - {owner}):
                message = f"{address} is answered by {', '.join(others)} already"
                advice = "choose another: the first one of them answers"
                yield warning(Code.ADDRESS_TAKEN, message, advice, file, rule.line, subject=owner)
