"""The responses of an operation: what it answers, and every problem, merged by status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.description import headers
from app.description.faults import ANY, OTHERWISE, PROBLEM_JSON, Fault
from app.description.operations import Answer
from app.description.schemas import Schema, exactly, ref

#: The status of an answer whose status is somebody else's choice.
ANY_STATUS = "default"
_FOREIGN: Schema = {"type": "object", "description": "A problem of the function's own."}


def responses(answers: Iterable[Answer], faults: Sequence[Fault]) -> dict[str, Schema]:
    """By status: what the operation answers, its own problems, and those of any request."""
    told = {answer.status: answer for answer in answers}
    statuses = sorted({*told, *_statuses(faults), *_statuses(ANY)})
    return {
        status: _response(status, told.get(status, told.get(ANY_STATUS)), _of(faults, status))
        for status in statuses
    }


def shared_responses() -> dict[str, Schema]:
    """The problems of any request, as responses that operations refer to.

    With those of paths and methods that there are not, which no operation can speak of.
    """
    faults = (*OTHERWISE, *ANY)
    return {
        _name(status): _merged(status, None, _of(OTHERWISE, status)) for status in _statuses(faults)
    }


def shared_problems() -> dict[str, Schema]:
    """The same as schemas, for responses that say more than that."""
    faults = (*OTHERWISE, *ANY)
    return {
        _name(status): _one(_problems(int(status), _of(faults, status)))
        for status in _statuses(faults)
    }


def _response(status: str, answer: Answer | None, own: Sequence[Fault]) -> Schema:
    if answer is None and not own:
        return {"$ref": f"#/components/responses/{_name(status)}"}
    return _merged(status, answer, own)


def _merged(status: str, answer: Answer | None, own: Sequence[Fault]) -> Schema:
    shared = _of(ANY, status)
    sent = [_sent_with(answer)] if answer else []
    sent += [_sent_with_problem(fault) for fault in (*own, *shared)]
    return {
        "description": _described(status, answer, own or shared),
        "headers": headers.references(sent),
        "content": _content(status, answer, own, shared=bool(shared)),
    }


def _content(
    status: str, answer: Answer | None, own: Sequence[Fault], *, shared: bool
) -> dict[str, Schema]:
    content = {
        kind: {"schema": schema} for kind, schema in (answer.content if answer else {}).items()
    }
    problems = _problems(int(status), own) if own else []
    problems += [ref(_name(status))] if shared else []
    if problems and answer and answer.status == ANY_STATUS:
        problems.append(_FOREIGN)
    return {**content, **({PROBLEM_JSON: {"schema": _one(problems)}} if problems else {})}


def _problems(status: int, faults: Iterable[Fault]) -> list[Schema]:
    """One schema for each set of members that problems of this status have."""
    kinds: dict[frozenset[str], list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(frozenset(fault.members), []).append(fault)
    return [_problem(status, alike) for alike in kinds.values()]


def _problem(status: int, faults: Sequence[Fault]) -> Schema:
    codes = [exactly(fault.code, fault.meaning) for fault in faults]
    own = {
        "type": "object",
        "properties": {
            "status": exactly(status),
            "code": {"type": "string", "oneOf": codes},
            **faults[0].members,
        },
    }
    return {"allOf": [ref("Problem"), own], "unevaluatedProperties": False}


def _one(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _described(status: str, answer: Answer | None, faults: Sequence[Fault]) -> str:
    if answer is not None and answer.status == status:
        return answer.description
    problem = faults[0].meaning if len(faults) == 1 else "One of several problems."
    return problem if answer is None else f"{problem} Or what the function answered."


def _sent_with(answer: Answer) -> tuple[str, ...]:
    return (*answer.headers, "X-Request-ID", *headers.EVERYWHERE)


def _sent_with_problem(fault: Fault) -> tuple[str, ...]:
    known = "X-Request-ID" if fault.answered else "X-Request-ID?"
    return (*fault.headers, "Cache-Control", known, *headers.EVERYWHERE)


def _statuses(faults: Iterable[Fault]) -> list[str]:
    return sorted({str(fault.status) for fault in faults})


def _of(faults: Iterable[Fault], status: str) -> list[Fault]:
    return [fault for fault in faults if str(fault.status) == status]


def _name(status: str) -> str:
    return f"Problem{status}"
