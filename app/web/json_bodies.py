"""How bodies of answers are written: frozen dataclasses that answers and their description share.

What a member means and the limits that it has stand beside its type, in ``Annotated``: sentences,
and ``Keywords`` of JSON Schema. A member with a default is left out while it has it; every
other is always there. Needs the standard library alone, and so do the bodies: what a blueprint
answers with is described even when it cannot be imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar


class Keywords:
    """Keywords of JSON Schema, to stand in ``Annotated``."""

    def __init__(self, **schema: object) -> None:
        self.schema = schema


Count = Annotated[int, Keywords(minimum=0)]
Seconds = Annotated[float, Keywords(minimum=0)]
Share = Annotated[float, Keywords(minimum=0, maximum=1)]
Pid = Annotated[int, Keywords(minimum=1)]
#: A date and time with its zone (RFC 3339).
Moment = Annotated[str, Keywords(format="date-time")]

Body = TypeVar("Body")


def filled(body: type[Body], source: object, **given: object) -> Body:
    """A body whose members are what ``source`` has under their names, but for those given.

    What another process wrote may lack a member, which is None then.
    """
    values: dict[str, Any] = {
        member.name: source.get(member.name)
        if isinstance(source, Mapping)
        else getattr(source, member.name)
        for member in fields(body)  # type: ignore[arg-type]
        if member.name not in given
    }
    return body(**values, **given)


def encode(body: object) -> str:
    """The JSON text of a body."""
    return json.dumps(body, default=members, separators=(",", ":")) + "\n"


def members(body: Any) -> dict[str, object]:  # noqa: ANN401 - the hook's signature
    """The members of a body; ``json.dumps`` asks for them as for those of any unknown type."""
    found = ((member, getattr(body, member.name)) for member in fields(body))
    return {member.name: value for member, value in found if value is not member.default}
