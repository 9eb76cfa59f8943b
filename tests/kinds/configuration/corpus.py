"""Ways to break a file, generated: each with the cause and the line that have to be told.

Every value of a good file is a canary, which no message may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from app.kinds.configuration.causes import Cause
from app.kinds.configuration.formats import Format

CANARY = "canary"
#: The same content in each format; INI has no lists, and only texts.
GOOD = {
    Format.TOML: f"""\
# prices of the shop
currency = "{CANARY} eur"
limits = [ 3, 7 ]

[functions.orders]
url = "{CANARY}://orders"
timeout = 5
live = true

[functions.stock]
url = "{CANARY}://stock"
timeout = 1.5
tags = [ "{CANARY} a", "{CANARY} b" ]
""",
    Format.JSON: f"""\
{{
  "currency": "{CANARY} eur",
  "limits": [3, 7],
  "functions": {{
    "orders": {{
      "url": "{CANARY}://orders",
      "timeout": 5,
      "live": true
    }},
    "stock": {{
      "url": "{CANARY}://stock",
      "timeout": 1.5,
      "tags": ["{CANARY} a", "{CANARY} b"]
    }}
  }}
}}
""",
    Format.YAML: f"""\
# prices of the shop
currency: {CANARY} eur
limits: [3, 7]
functions:
  orders:
    url: "{CANARY}://orders"
    timeout: 5
    live: true
  stock:
    url: '{CANARY}://stock'
    timeout: 1.5
    tags:
      - {CANARY} a
      - {CANARY} b
""",
    Format.INI: f"""\
; prices of the shop
[shop]
currency = {CANARY} eur

[orders]
url = {CANARY}://orders
timeout = 5

[stock]
url = {CANARY}://stock
timeout = 1.5
""",
    Format.ENV: f"""\
# prices of the shop
CURRENCY="{CANARY} eur"
ORDERS_URL={CANARY}://orders
ORDERS_TIMEOUT=5
""",
}
SCHEMA = {
    "type": "object",
    "properties": {
        "currency": {"type": "string"},
        "limits": {"type": "array", "items": {"type": "integer"}},
        "functions": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "url": {"type": "string"},
                    "timeout": {"type": "number"},
                    "live": {"type": "boolean"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["url", "timeout"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["currency", "functions"],
    "additionalProperties": False,
}
#: The line with which an entry of the functions begins.
TABLE = r"\W*(functions\.)?(orders|stock)\W*"
DEEP = 5000
#: What means something in one of the formats, or ends a line for somebody.
ODD = "abc=:[]{}\"'#,.\n\t -\\&*!|>%@`?<0123eE+_;\r\x85\u2028é~^"


@dataclass(frozen=True)
class Case:
    """One broken content, its cause, and the line that is to blame."""

    name: str
    written_in: Format
    cause: Cause
    line: int
    content: bytes = field(repr=False)


def texts() -> Iterator[Case]:
    """Texts that cannot be parsed."""
    for written_in in GOOD:
        yield from _encodings(written_in)
    for written_in, changes in CHANGES.items():
        for name, cause, old, new, behind in changes:
            good = GOOD[written_in]
            assert good.count(old) == 1, (written_in, name)
            line = good[: good.index(old)].count("\n") + 1 + behind
            content = good.replace(old, new).encode("utf-8", "surrogatepass")
            yield Case(f"{written_in}-{name}", written_in, cause, line, content)
    yield from _alias_bombs()


def _encodings(written_in: Format) -> Iterator[Case]:
    """What is no UTF-8."""
    good, cause = GOOD[written_in], Cause.ENCODING
    line = good[: good.index(f"{CANARY}://")].count("\n") + 1
    strange = good.replace(f"{CANARY}://", "f\u00fcr://", 1)
    contents = {
        "utf-16": (1, good.encode("utf-16-le", "strict")),
        "utf-16-le-mark": (1, b"\xff\xfe" + good.encode("utf-16-le")),
        "utf-16-be-mark": (1, b"\xfe\xff" + good.encode("utf-16-be")),
        "utf-32-le-mark": (1, b"\xff\xfe\0\0" + good.encode("utf-32-le")),
        "utf-32-be-mark": (1, b"\0\0\xfe\xff" + good.encode("utf-32-be")),
        "latin-1": (line, strange.encode("latin-1")),
        "nul": (line, good.replace(f"{CANARY}://", "\0://", 1).encode()),
        "half-a-character": (line, strange[: strange.index("r://")].encode()[:-1]),
        "surrogate": (
            line,
            good.replace(f"{CANARY}://", "\ud800", 1).encode(errors="surrogatepass"),
        ),
        "compressed": (1, b"\x1f\x8b\x08\0" + good.encode()),
    }
    for name, (at, content) in contents.items():
        yield Case(f"{written_in}-{name}", written_in, cause, at, content)


SYNTAX, TWICE, RANGE = Cause.SYNTAX, Cause.DUPLICATE_KEY, Cause.OUT_OF_RANGE
#: For each format: a name, the cause, what is replaced by what, and how many lines behind the
#: first of them is to blame.
CHANGES: dict[Format, list[tuple[str, Cause, str, str, int]]] = {
    Format.TOML: [
        ("no-equals", SYNTAX, "timeout = 5", "timeout 5", 0),
        ("no-value", SYNTAX, "timeout = 5", "timeout =", 0),
        ("no-key", SYNTAX, "timeout = 5", "= 5", 0),
        ("bare-text", SYNTAX, f'"{CANARY}://orders"', f"{CANARY}", 0),
        ("colon", SYNTAX, "timeout = 5", "timeout: 5", 0),
        ("true-in-capitals", SYNTAX, "true", "True", 0),
        ("unclosed-text", SYNTAX, f'"{CANARY}://orders"', f'"{CANARY}', 0),
        ("unclosed-literal", SYNTAX, f'"{CANARY}://orders"', f"'{CANARY}", 0),
        ("unclosed-list", SYNTAX, "[ 3, 7 ]", "[ 3, 7", 2),
        ("unclosed-table", SYNTAX, "timeout = 5", "timeout = { a = 1", 0),
        ("unclosed-header", SYNTAX, "[functions.orders]", "[functions.orders", 0),
        ("header-of-nothing", SYNTAX, "[functions.orders]", "[]", 0),
        ("two-on-a-line", SYNTAX, "timeout = 5", "timeout = 5 retries = 1", 0),
        ("comma-at-the-end", SYNTAX, "timeout = 5", "timeout = 5,", 0),
        ("two-commas", SYNTAX, "[ 3, 7 ]", "[ 3,, 7 ]", 0),
        ("escape", SYNTAX, f"{CANARY} eur", rf"{CANARY}\q", 0),
        ("half-an-escape", SYNTAX, f"{CANARY} eur", rf"{CANARY}\u12", 0),
        ("control-character", SYNTAX, f"{CANARY} eur", f"{CANARY}\x01", 0),
        ("carriage-return", SYNTAX, f"{CANARY} eur", f"{CANARY}\r", 0),
        ("date-out-of-range", SYNTAX, "timeout = 5", "timeout = 2026-02-30", 0),
        ("half-a-date", SYNTAX, "timeout = 5", "timeout = 2026-02", 0),
        ("leading-zero", SYNTAX, "timeout = 5", "timeout = 05", 0),
        ("huge-number", RANGE, "timeout = 5", f"timeout = {'9' * DEEP}", 0),
        ("key-twice", TWICE, "timeout = 5", "timeout = 5\ntimeout = 6", 1),
        ("key-twice-quoted", TWICE, "timeout = 5", 'timeout = 5\n"timeout" = [\n6\n]', 1),
        ("table-twice", TWICE, "[functions.stock]", "[functions.orders]", 0),
        ("key-and-table", TWICE, "[functions.stock]", "[currency]", 0),
        ("key-and-list-of-tables", TWICE, "[functions.stock]", "[[functions]]", 0),
        ("inline-key-twice", TWICE, "timeout = 5", "timeout = { a = 1, a = 2 }", 0),
        ("dotted-key-twice", TWICE, "timeout = 5", "a.b = 1\na.b = 2", 1),
        ("table-in-inline-table", TWICE, "timeout = 5", "a = { b = 1 }\na.c = 2", 1),
        ("deep-lists", SYNTAX, "timeout = 5", f"timeout = {'[' * DEEP}{']' * DEEP}", 0),
        ("deep-keys", SYNTAX, "timeout = 5", f"{'a.' * 300}a = 5", 0),
        ("deep-tables", SYNTAX, "timeout = 5", f"timeout = {'{a=' * 90}1{'}' * 90}", 0),
        ("json", SYNTAX, "# prices", '{"prices": 1}', 0),
    ],
    Format.JSON: [
        ("empty", SYNTAX, GOOD[Format.JSON], "", 0),
        ("comma-behind-the-last-key", SYNTAX, '"live": true', '"live": true,', 0),
        ("comma-behind-the-last-element", SYNTAX, "[3, 7]", "[3, 7,]", 0),
        ("no-comma", SYNTAX, '"timeout": 5,', '"timeout": 5', 1),
        ("no-colon", SYNTAX, '"timeout": 5', '"timeout" 5', 0),
        ("equals", SYNTAX, '"timeout": 5', '"timeout" = 5', 0),
        ("no-value", SYNTAX, '"timeout": 5', '"timeout":', 0),
        ("bare-key", SYNTAX, '"timeout": 5', "timeout: 5", 0),
        ("bare-text", SYNTAX, f'"{CANARY}://orders"', CANARY, 0),
        ("single-quotes", SYNTAX, f'"{CANARY}://orders"', f"'{CANARY}'", 0),
        ("comment", SYNTAX, '"timeout": 5', f'// {CANARY}\n"timeout": 5', 0),
        ("unclosed-text", SYNTAX, f'"{CANARY}://orders"', f'"{CANARY}', 0),
        ("unclosed-list", SYNTAX, "[3, 7]", "[3, 7", 1),
        ("line-break-in-text", SYNTAX, f"{CANARY} eur", f"{CANARY}\n eur", 0),
        ("tab-in-text", SYNTAX, f"{CANARY} eur", f"{CANARY}\t eur", 0),
        ("escape", SYNTAX, f"{CANARY} eur", rf"{CANARY}\q", 0),
        ("half-an-escape", SYNTAX, f"{CANARY} eur", rf"{CANARY}\u12", 0),
        ("not-a-number", SYNTAX, "1.5", "NaN", 0),
        ("infinity", SYNTAX, "1.5", "-Infinity", 0),
        ("true-in-capitals", SYNTAX, "true", "True", 0),
        ("leading-zero", SYNTAX, "1.5", "01.5", 0),
        ("hexadecimal", SYNTAX, "1.5", "0x10", 0),
        ("date", SYNTAX, "1.5", "2026-11-28", 0),
        ("huge-number", RANGE, "1.5", "9" * DEEP, 0),
        ("key-twice", TWICE, '"live": true', '"timeout": 6', 0),
        ("key-twice-escaped", TWICE, '"live": true', r'"\u0074imeout": 6', 0),
        ("key-twice-in-the-file", TWICE, '"limits": [3, 7]', '"currency": {"a": 1}', 0),
        ("two-documents", SYNTAX, '{\n  "currency"', '{}\n{\n  "currency"', 1),
        ("deep-lists", SYNTAX, "1.5", "[" * DEEP + "]" * DEEP, 0),
        ("deep-tables", SYNTAX, "1.5", '{"a":' * 90 + "1" + "}" * 90, 0),
        ("no-table", Cause.WRONG_TYPE, GOOD[Format.JSON], f'"{CANARY}"', 0),
    ],
    Format.YAML: [
        ("tab", SYNTAX, "    timeout: 5", "\ttimeout: 5", 0),
        ("indent", SYNTAX, "    timeout: 5", "     timeout: 5", 0),
        ("dedent", SYNTAX, "    timeout: 5", "   timeout: 5", 0),
        ("no-colon", SYNTAX, "    timeout: 5\n", "    timeout 5\n", 1),
        ("two-colons", SYNTAX, "timeout: 5", f"timeout: {CANARY}: 5", 0),
        ("unclosed-double-quote", SYNTAX, f'"{CANARY}://orders"', f'"{CANARY}', 0),
        ("unclosed-single-quote", SYNTAX, f"'{CANARY}://stock'", f"'{CANARY}", 0),
        ("unclosed-list", SYNTAX, "[3, 7]", "[3, 7", 1),
        ("unclosed-list-at-the-end", SYNTAX, f"      - {CANARY} b", f"      - [{CANARY}", 0),
        ("unclosed-table", SYNTAX, f"      - {CANARY} b", f"      - {{{CANARY}: 1", 0),
        ("escape", SYNTAX, f'"{CANARY}://orders"', rf'"{CANARY}\q"', 0),
        ("undefined-alias", SYNTAX, "timeout: 5", f"timeout: *{CANARY}", 0),
        ("at-sign", SYNTAX, "timeout: 5", f"timeout: @{CANARY}", 0),
        ("backtick", SYNTAX, "timeout: 5", f"timeout: `{CANARY}`", 0),
        ("tag", SYNTAX, "timeout: 5", f"timeout: !{CANARY} 5", 0),
        ("python-tag", SYNTAX, "timeout: 5", "timeout: !!python/object/apply:os.getcwd []", 0),
        ("binary", SYNTAX, "timeout: 5", "timeout: !!binary aGVsbG8=", 0),
        ("set", SYNTAX, "timeout: 5", "timeout: !!set {a, b}", 0),
        ("two-documents", SYNTAX, "  stock:", "---\nstock:", 0),
        ("control-character", SYNTAX, "timeout: 5", "timeout: \x01", 0),
        ("list-and-table", SYNTAX, "limits: [3, 7]", "- 3", 0),
        ("table-in-list", SYNTAX, f"      - {CANARY} b", "      b: 1", 0),
        (
            "block-text",
            SYNTAX,
            f"      - {CANARY} b",
            f"      - |\n        {CANARY}\n       b: 1",
            2,
        ),
        ("directive", SYNTAX, "# prices", "%YAML 9.0\n---\n# prices", 0),
        ("key-twice", TWICE, "live: true", "timeout: 6", 0),
        ("key-twice-quoted", TWICE, "live: true", '"timeout": 6', 0),
        ("key-twice-in-the-file", TWICE, "limits: [3, 7]", "currency: {a: 1}", 0),
        ("merge-of-text", Cause.WRONG_TYPE, "timeout: 5", f"<<: {CANARY}", 0),
        ("list-as-key", Cause.WRONG_TYPE, "timeout: 5", f"? [{CANARY}]\n    : 5", 0),
        ("no-table", Cause.WRONG_TYPE, GOOD[Format.YAML], CANARY, 0),
        ("huge-number", RANGE, "timeout: 5", f"timeout: {'9' * DEEP}", 0),
        ("no-number", RANGE, "timeout: 5", f"timeout: !!int {CANARY}", 0),
        ("no-fraction", RANGE, "timeout: 5", f"timeout: !!float {CANARY}", 0),
        ("deep-lists", SYNTAX, "timeout: 5", f"timeout: {'[' * 500}{']' * 500}", 0),
        ("deep-tables", SYNTAX, "timeout: 5", f"timeout: {'{a: ' * 90}1{'}' * 90}", 0),
    ],
    Format.INI: [
        ("no-section", SYNTAX, "[shop]\n", "", 0),
        ("no-equals", SYNTAX, "timeout = 5", f"{CANARY}", 0),
        ("no-key", SYNTAX, "timeout = 5", f"= {CANARY}", 0),
        ("unclosed-section", SYNTAX, "[stock]", "[stock", 0),
        ("key-twice", TWICE, "timeout = 5", f"timeout = 5\nurl = {CANARY}", 1),
        ("section-twice", TWICE, "[stock]", "[orders]", 0),
    ],
    Format.ENV: [
        ("no-equals", SYNTAX, "ORDERS_TIMEOUT=5", CANARY, 0),
        ("no-name", SYNTAX, "ORDERS_TIMEOUT=5", f"={CANARY}", 0),
        ("odd-name", SYNTAX, "ORDERS_TIMEOUT=5", f"ORDERS TIMEOUT={CANARY}", 0),
        ("unclosed-quote", SYNTAX, f'"{CANARY} eur"', f'"{CANARY}', 0),
        ("text-behind-the-quote", SYNTAX, f'"{CANARY} eur"', f'"{CANARY}" eur', 0),
        ("key-twice", TWICE, "ORDERS_TIMEOUT=5", f"CURRENCY={CANARY}", 0),
        ("carriage-return", SYNTAX, "ORDERS_TIMEOUT=5", f"ORDERS_TIMEOUT={CANARY}\r5", 0),
    ],
}


def _alias_bombs() -> Iterator[Case]:
    """YAML that is small, and vast or endless once its aliases are followed."""
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    tables = [
        f"a{n}: &a{n} {{{', '.join(f'k{n}_{i}: *a{n - 1}' for i in range(10))}}}"
        for n in range(1, 9)
    ]
    first = {"lists": f"a0: &a0 [{CANARY}]", "tables": f"a0: &a0 {{k: {CANARY}}}"}
    bombs = {
        # Ten times as many a line; more than a quarter of a million are too many.
        "lists": (7, [first["lists"], *lists]),
        "tables": (6, [first["tables"], *tables]),
        "itself": (2, ["x: 1", f"a: &a [*a, {CANARY}]"]),
        "merges-itself": (2, ["x: 1", "a: &a {<<: *a}"]),
        "each-other": (1, [f"a: &a {{b: &b [*a, {CANARY}]}}"]),
    }
    for name, (line, lines) in bombs.items():
        content = "\n".join(lines).encode()
        yield Case(f"yaml-bomb-{name}", Format.YAML, Cause.ALIAS_BOMB, line, content)


def truncated() -> Iterator[tuple[Format, bytes]]:
    """Every beginning of every good file."""
    for written_in, good in GOOD.items():
        content = good.encode()
        for end in range(len(content)):
            yield written_in, content[:end]


def mutated(seed: int, count: int) -> Iterator[tuple[Format, bytes]]:
    """Texts with a few accidents in them, or made of nothing else."""
    random = Random(seed)  # noqa: S311 - no secret
    for written_in in random.choices(list(GOOD), k=count):
        text = [*GOOD[written_in]] if random.random() < 0.6 else []
        for _ in range(random.randint(1, 12)):
            place, other = random.randint(0, len(text)), random.randint(0, len(text))
            inserted = random.choice(ODD) * random.randint(1, 3)
            text[place : place + random.choice([0, 0, 1, 5])] = random.choice(
                [inserted, inserted, "", text[other : other + 30]]
            )
        yield written_in, "".join(text).encode()


#: A line with a key and a value, or an element of a list: what is before the value, and behind it.
LINES = {
    Format.TOML: re.compile(r"(?P<before>(?P<key>\w+) = )(?P<value>.+?)(?P<behind>)"),
    Format.JSON: re.compile(r"(?P<before> *\"(?P<key>\w+)\": )(?P<value>[^{]+?)(?P<behind>,?)"),
    Format.YAML: re.compile(r"(?P<before> *(?:(?P<key>\w+):|-) )(?P<value>.+?)(?P<behind>)"),
}
REQUIRED = {"url", "timeout"}


def wrong_contents() -> Iterator[Case]:
    """Texts that the schema refuses: at every line a wrong type, a misspelt key, no key at all."""
    for written_in, pattern in LINES.items():
        lines = GOOD[written_in].splitlines()
        for number, line in enumerate(lines, 1):
            if (found := pattern.fullmatch(line)) is None:
                continue
            key, is_text = found["key"] or "element", CANARY in found["value"]
            # In a list, no text is the text of a list.
            wrong = "3" if is_text and "[" not in found["value"] else f'"{CANARY}"'
            changes = [
                ("type", Cause.WRONG_TYPE, number, f"{found['before']}{wrong}{found['behind']}")
            ]
            if found["key"]:
                slip = line.replace(key, f"{key}{key[-1]}", 1)
                changes.append(("slip", Cause.UNKNOWN_KEY, number, slip))
            if key in REQUIRED:
                table = next(
                    n for n in range(number - 1, 0, -1) if re.fullmatch(TABLE, lines[n - 1])
                )
                changes.append(("missing", Cause.MISSING_KEY, table, ""))
            for name, cause, at, changed in changes:
                content = "\n".join([*lines[: number - 1], changed, *lines[number:]])
                # JSON has no comma behind the last key.
                content = re.sub(r",(\s*})", r"\1", content)
                called = f"{written_in}-{name}-{key}-{number}"
                yield Case(called, written_in, cause, at, content.encode())
