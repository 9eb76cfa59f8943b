"""What the manifest declares of a variable, and how its values are written.

::

    [variable.SHOPIFY_API_KEY]
    type = "text"            # or integer, number, flag, url, one_of, pattern, json
    secret = true            # no value of it is ever shown
    help = "Admin API token of the shop."
    default = "none"         # what code finds where no source has a value
    minimum = 1              # of integer and number; maximum too
    choices = ["eu", "us"]   # of one_of
    pattern = "shp_[a-f0-9]+"  # of pattern: a regular expression for the whole value
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from app.manifest import Table, Unusable
from app.settings.declarations import VARIABLES
from app.settings.variable import SecretForm, Syntax, Variable, flag, url

#: The manifest's table of them, and the key under which a blueprint names those that it needs.
TABLE, NEED = "variable", "environment"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
#: Keys of every variable, and those that one type alone has.
COMMON = frozenset({"type", "secret", "help", "default"})
OWN: Mapping[str, tuple[str, ...]] = {
    "text": (),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "flag": (),
    "url": (),
    "one_of": ("choices",),
    "pattern": ("pattern",),
    "json": (),
}
#: More digits than any number has that code reads from a variable.
MAX_DIGITS = 64
#: Names of variables whose values are not to be shown. A wrong guess hides a value, no more.
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|DSN|AUTH|_UR[IL]$", re.IGNORECASE)
#: Settings of the service itself, which declares them.
OF_THE_SERVICE = frozenset(name for variable in VARIABLES for name in variable.names)


def read_variable(name: str, entry: Any) -> Variable[str | None]:  # noqa: ANN401 - of a file
    """The variable that an entry declares; its default is None where it has none.

    Raises:
        Unusable: with what was expected, and the key that has to be mended.
    """
    if not NAME.fullmatch(name):
        raise Unusable("is no name of a variable: letters, digits and _")
    if name in OF_THE_SERVICE:
        raise Unusable("is a setting of the service itself, which declares it")
    if not isinstance(entry, dict):
        raise Unusable("has to be a table")
    written_as = entry.get("type", "text")
    if not isinstance(written_as, str) or written_as not in OWN:
        raise Unusable(f"has to be one of {', '.join(OWN)}", "type")
    allowed = sorted({*COMMON, *OWN[written_as]})
    for key in entry:
        if key not in allowed:
            raise Unusable(f"is no key of such a variable; there are {', '.join(allowed)}", key)
    secret, meaning = entry.get("secret", False), entry.get("help", "")
    if not isinstance(secret, bool):
        raise Unusable("has to be true or false", "secret")
    if not isinstance(meaning, str):
        raise Unusable("has to be one line of text", "help")
    syntax = _syntax(written_as, entry)
    default = _default(entry["default"], syntax) if "default" in entry else None
    return Variable(name, default, syntax, " ".join(meaning.split()), secret, SecretForm.FILE)


def proposed(name: str, file: str) -> dict[str, object]:
    """The table that declares a variable of which is known that a file reads it."""
    secret = {"secret": True} if SECRET.search(name) else {}
    return {"type": "text", **secret, "help": f"Read by {file}."}


#: What the manifest's reader has to know of it.
READER = Table(NEED, read_variable)


def _default(given: object, syntax: Syntax[Any]) -> str:
    """The default as an operator would write it."""
    text = given if isinstance(given, str) else json.dumps(given, default=str)
    try:
        syntax.parse(text)
    except ValueError:
        raise Unusable(f"has to be {syntax.expected}", "default") from None
    return text


def _syntax(written_as: str, entry: Mapping[str, Any]) -> Syntax[Any]:
    if written_as in {"integer", "number"}:
        return _number(written_as, entry)
    if written_as == "one_of":
        choices = entry.get("choices")
        if not (isinstance(choices, list) and choices and all(isinstance(c, str) for c in choices)):
            raise Unusable("has to be a list of words", "choices")
        return Syntax(choices.index, f"one of {', '.join(choices)}")
    if written_as == "pattern":
        return _pattern(entry.get("pattern"))
    others: dict[str, Syntax[Any]] = {
        "text": Syntax(str, "text"),
        "flag": Syntax(flag, "true or false"),
        "url": Syntax(url, "an http or https URL"),
        "json": Syntax(_json, "JSON"),
    }
    return others[written_as]


def _number(written_as: str, entry: Mapping[str, Any]) -> Syntax[float]:
    bounds = {"minimum": -math.inf, "maximum": math.inf}
    for key in bounds.keys() & entry.keys():
        if isinstance(entry[key], bool) or not isinstance(entry[key], int | float):
            raise Unusable("has to be a number", key)
    bounds |= {key: entry[key] for key in bounds.keys() & entry.keys()}

    def parse(text: str) -> float:
        # Python also takes 1_000, nan and other scripts' digits, which nobody means here.
        if "_" in text or not text.isascii() or len(text) > MAX_DIGITS:
            raise ValueError
        value = int(text) if written_as == "integer" else float(text)
        if not (math.isfinite(value) and bounds["minimum"] <= value <= bounds["maximum"]):
            raise ValueError
        return value

    words = {"minimum": "at least", "maximum": "at most"}
    limits = [f"{words[key]} {entry[key]}" for key in words if key in entry]
    what = "a whole number" if written_as == "integer" else "a number"
    return Syntax(parse, f"{what} of {' and '.join(limits)}" if limits else what)


def _pattern(pattern: object) -> Syntax[str]:
    try:
        wanted = re.compile(pattern if isinstance(pattern, str) else "(")
    except (re.error, RecursionError):
        raise Unusable("has to be a regular expression", "pattern") from None

    def parse(text: str) -> str:
        if wanted.fullmatch(text) is None:
            raise ValueError
        return text

    return Syntax(parse, f"text that matches {wanted.pattern}")


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError from None
