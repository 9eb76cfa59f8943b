"""Corrections of files that can be shown before they are made: small edits, each the nearest.

An edit changes characters at one place and leaves all others as they are. What comes of it is
parsed and compared with what it should hold, so an edit that does more than it says is none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from json import dumps, loads

from app.kinds.configuration import spans
from app.kinds.configuration.causes import Broken, Cause, Pointer, Problem, Value, shown_key
from app.kinds.configuration.examine import entries_of, entry_pointer, examine, with_entries
from app.kinds.configuration.formats import Format, parse
from app.kinds.configuration.parsing.positions import offset_of
from app.kinds.configuration.schemas import Schema

#: A larger file is not corrected: each edit has it parsed and checked anew.
MAX_BYTES = 1 << 18
#: Edits that one correction may have.
MAX_EDITS = 20
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
#: A line of TOML whose value has no quotes. A # that nothing separates may be part of the value.
BARE = re.compile(
    r"(?P<before>[ \t]*[^\s=#][^=#]*=[ \t]*)(?P<value>[\w./~@+-][^\"'\\#\[\]{}\r]*?)"
    r"[ \t]*(?:[ \t]#[^\r]*)?\r?"
)
#: A comma of JSON with nothing behind it.
COMMA = re.compile(r",\s*[\]}]")
#: Bare words that may be meant as what they are called: only a schema can tell.
WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "none", "null", "nil", "nan", "inf"])
#: How scalars are written that look the same in quotes.
PLAIN = re.compile(r"[+-]?\d[\w.:+-]*(?: \d[\d:.+Z-]*)?|[Tt]rue|[Ff]alse|TRUE|FALSE", re.ASCII)
#: Texts that are a value of another type.
INTEGER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
FLAG = re.compile(r"true|false", re.IGNORECASE)
LITERALS = {"integer": INTEGER, "number": NUMBER, "boolean": FLAG}


@dataclass(frozen=True, slots=True)
class Correction:
    """What a file would hold, and the lines of a difference that is safe to show."""

    before: bytes
    content: bytes
    steps: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Changes with the file as it is and with what it would hold."""
        parts = (hashlib.sha256(part).digest() for part in (self.before, self.content))
        return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a text: other characters in the place of each span.

    ``expected`` is what the text then holds; None where it could not be parsed before.
    """

    places: tuple[tuple[spans.Span, str], ...]
    steps: tuple[str, ...]
    expected: Value = None

    def apply(self, text: str) -> str:
        """The text with the change."""
        for (start, end), fresh in sorted(self.places, reverse=True):
            text = text[:start] + fresh + text[end:]
        return text


def correction(
    content: bytes,
    written_in: Format,
    schema: Schema | None = None,
    entries: str | None = None,
    entry: str = "",
    last_good: bytes | None = None,
) -> Correction | None:
    """The one correction that mends a file, or an entry of it; None where there is no such one.

    Args:
        content: the bytes of the file.
        written_in: its format.
        schema: what it has to hold; None where anything will do.
        entries: the JSON pointer of the collection whose members stand alone; None for none.
        entry: the name of the entry to mend; empty for what is wrong with the file as a whole.
        last_good: a content in which this entry was good, which may be put back.
    """
    if len(content) > MAX_BYTES:
        return None
    subject = _Subject(written_in, schema, entries, entry)
    try:
        mended = subject.mended(content) or (last_good and subject.put_back(content, last_good))
    except Broken:
        # A library is missing that was there when the file was read.
        return None
    return mended or None


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is to be mended: a file as a whole, or one of its entries."""

    written_in: Format
    schema: Schema | None
    entries: str | None
    entry: str

    def mended(self, content: bytes) -> Correction | None:
        """The content after edit upon edit until nothing is wrong."""
        before, steps = content, list[str]()
        problems = self._problems(content)
        for _ in range(MAX_EDITS):
            if not problems:
                return self._checked(before, content, steps)
            edits = ((one, self._edit(content, one, problems)) for one in problems[:MAX_EDITS])
            problem, edit = next((found for found in edits if found[1]), (problems[0], None))
            if edit is None:
                return None
            content = self._applied(content, edit)
            problems = self._problems(content)
            if any(_is_same(problem, other) for other in problems):
                return None
            steps += edit.steps
        return None

    def put_back(self, content: bytes, last_good: bytes) -> Correction | None:
        """The content with the entry as it was in another one."""
        if self.entries is None or not self.entry:
            return None
        good, value = parse(last_good, self.written_in), parse(content, self.written_in)
        text, good_text = _text(content), _text(last_good)
        pointer = entry_pointer(value, self.entries, self.entry)
        good_pointer = entry_pointer(good, self.entries, self.entry)
        if pointer is None or good_pointer is None:
            return None
        span = spans.entry(text, self.written_in, pointer)
        good_span = spans.entry(good_text, self.written_in, good_pointer)
        if span is None or good_span is None:
            return None
        fresh = good_text[slice(*good_span)].replace("\r\n", "\n")
        if "\r\n" in text:
            fresh = fresh.replace("\n", "\r\n")
        member = entries_of(good, self.entries)[self.entry]
        first, last = (text.count("\n", 0, at) + 1 for at in span)
        step = f"@@ lines {first} to {last} @@ {shown_key(self.entry)} as it was when last good"
        edit = Edit(
            ((span, fresh),), (step,), with_entries(value, self.entries, {self.entry: member})
        )
        return self._checked(content, self._applied(content, edit), edit.steps)

    def _problems(self, content: bytes) -> list[Problem]:
        """What is wrong with the entry, or with the file as a whole."""
        if not self.entry:
            return list(examine(content, self.written_in, self.schema, self.entries).problems)
        everything = examine(content, self.written_in, self.schema)
        pointer = entry_pointer(everything.value, self.entries or "", self.entry)
        if pointer is None:
            return list(everything.problems)
        return [one for one in everything.problems if one.pointer[: len(pointer)] == pointer]

    def _applied(self, content: bytes, edit: Edit) -> bytes:
        """The content with an edit; as it was where something else would come of it."""
        mark = BOM if content.startswith(BOM.encode()) else ""
        after = (mark + edit.apply(_text(content))).encode()
        if edit.expected is not None:
            try:
                value = parse(after, self.written_in)
            except Broken:
                return content
            # Python takes 1, 1.0 and True for the same.
            return after if repr(value) == repr(edit.expected) else content
        return after

    def _checked(self, before: bytes, after: bytes, steps: Iterable[str]) -> Correction | None:
        """The correction, if nothing is wrong after it that was not before."""
        if after == before or self._problems(after):
            return None
        if self.entry:
            known = examine(before, self.written_in, self.schema).problems
            now = examine(after, self.written_in, self.schema).problems
            if not all(any(_is_same(one, other) for other in known) for one in now):
                return None
        return Correction(before, after, tuple(steps))

    def _edit(self, content: bytes, problem: Problem, problems: list[Problem]) -> Edit | None:
        """The edit that is nearest to what a problem is about."""
        if problem.cause is Cause.SYNTAX and self.written_in is Format.JSON:
            return _comma_dropped(_text(content), problem)
        if problem.cause is Cause.SYNTAX and self.written_in is Format.TOML:
            return _bare_word_quoted(_text(content), problem, strict=self.schema is None)
        if problem.cause is Cause.UNKNOWN_KEY and len(problem.nearest) == 1:
            rivals = (
                other
                for other in problems
                if other.pointer != problem.pointer
                and other.pointer[:-1] == problem.pointer[:-1]
                and other.nearest == problem.nearest
            )
            return None if any(rivals) else _renamed(content, self.written_in, problem)
        if problem.cause is Cause.WRONG_TYPE and problem.pointer:
            return _retyped(content, self.written_in, problem)
        return None


def _comma_dropped(text: str, problem: Problem) -> Edit | None:
    at = offset_of(text, problem.line, problem.column)
    if not COMMA.match(text, at) or text[:at].rstrip()[-1:] in set(",:[{"):
        return None
    steps = (f"@@ line {problem.line} @@ a comma has nothing behind it", "-,")
    return Edit((((at, at + 1), ""),), steps)


def _bare_word_quoted(text: str, problem: Problem, *, strict: bool) -> Edit | None:
    at = offset_of(text, problem.line, problem.column)
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    found = BARE.fullmatch(text, start, len(text) if end < 0 else end)
    if found is None or not found.start("value") <= at <= found.end("value"):
        return None
    word = found["value"]
    if strict and (word.casefold() in WORDS or not word[0].isalpha()):
        return None
    key = shown_key(found["before"].strip(" \t=\"'"))
    quoted = dumps(word, ensure_ascii=False)
    return Edit(((found.span("value"), quoted),), _quoted_steps(problem.line, key, "="))


def _renamed(content: bytes, written_in: Format, problem: Problem) -> Edit | None:
    table, old, new = problem.pointer[:-1], str(problem.pointer[-1]), problem.nearest[0]
    text, value = _text(content), parse(content, written_in)
    around = _at(value, table)
    places = spans.keys(text, written_in, problem.pointer)
    if new in around or not places:
        return None
    fresh = {new if key == old else key: member for key, member in around.items()}
    sign = "=" if written_in in {Format.TOML, Format.INI, Format.ENV} else ":"
    return Edit(
        tuple((span, _key(new, text[slice(*span)], written_in)) for span in places),
        (
            f"@@ line {problem.line} @@ {shown_key(old)} is no known key",
            f"-{shown_key(old)} {sign} ...",
            f"+{shown_key(new)} {sign} ...",
        ),
        _with(value, table, fresh),
    )


def _retyped(content: bytes, written_in: Format, problem: Problem) -> Edit | None:
    """Quotes around a value that has to be text, or none around text that has to be none."""
    text, value = _text(content), parse(content, written_in)
    is_now, span = _at(value, problem.pointer), spans.value(text, written_in, problem.pointer)
    if span is None:
        return None
    source, sign = text[slice(*span)], "=" if written_in is Format.TOML else ":"
    key = shown_key(problem.pointer[-1])
    if isinstance(is_now, str):
        if not any(LITERALS[one].fullmatch(is_now) for one in problem.types if one in LITERALS):
            return None
        steps = (
            f"@@ line {problem.line} @@ {key} takes no text",
            f'-{key} {sign} "..."',
            f"+{key} {sign} ...",
        )
        literal = is_now.lower()
        return Edit(((span, literal),), steps, _with(value, problem.pointer, loads(literal)))
    if "string" not in problem.types or not PLAIN.fullmatch(source) or "_" in source:
        return None
    expected = _with(value, problem.pointer, source)
    return Edit(((span, f'"{source}"'),), _quoted_steps(problem.line, key, sign), expected)


def _quoted_steps(line: int, key: str, sign: str) -> tuple[str, ...]:
    return f"@@ line {line} @@ {key} takes text", f"-{key} {sign} ...", f'+{key} {sign} "..."'


def _key(name: str, before: str, written_in: Format) -> str:
    """A key as it is written in the place of another one."""
    if before[:1] in {'"', "'"}:
        return before[0] + name + before[0]
    if written_in in {Format.TOML, Format.YAML} and not re.fullmatch(r"[A-Za-z][\w-]*", name):
        return dumps(name)
    return name


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


def _is_same(problem: Problem, other: Problem) -> bool:
    """Whether two contents have the same thing wrong; a fault of syntax is gone further on."""
    if problem.cause is Cause.SYNTAX and other.cause is Cause.SYNTAX:
        return (other.line, other.column) <= (problem.line, problem.column)
    return (problem.cause, problem.pointer, problem.key) == (other.cause, other.pointer, other.key)


def _at(value: Value, pointer: Pointer) -> Value:
    for step in pointer:
        value = value[step]
    return value


def _with(value: Value, pointer: Pointer, fresh: Value) -> Value:
    """A copy with another value at a pointer."""
    if not pointer:
        return fresh
    copy = value.copy()
    copy[pointer[0]] = _with(value[pointer[0]], pointer[1:], fresh)
    return copy
