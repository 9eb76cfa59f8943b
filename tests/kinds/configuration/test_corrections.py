"""A correction changes what is wrong and nothing else, and only where one is nearest."""

from __future__ import annotations

import pytest

from app.kinds.configuration.corrections import MAX_BYTES, Correction, correction
from app.kinds.configuration.examine import examine
from app.kinds.configuration.formats import Format
from app.kinds.configuration.schemas import JsonSchema

TYPES = {
    "url": {"type": "string", "pattern": "^https://"},
    "timeout": {"type": "integer"},
    "ratio": {"type": "number"},
    "enabled": {"type": "boolean"},
    "version": {"type": "string"},
    "tags": {"type": "array", "items": {"type": "string"}},
}
FUNCTION = {
    "type": "object",
    "properties": TYPES,
    "required": ["url"],
    "additionalProperties": False,
}
SCHEMA = JsonSchema(
    {
        "type": "object",
        "properties": {
            **TYPES,
            "functions": {"type": "object", "additionalProperties": FUNCTION},
            "list": {"type": "array", "items": FUNCTION},
        },
        "additionalProperties": False,
    }
)
GOOD = {
    Format.TOML: """\
# What the shop calls.
version = "1.10"   # as text
timeout = 5
ratio = 0.5
enabled = true

[functions.orders]   # ours
url = 'https://orders.example.com/timeout?enabled=true#timeout'
tags = ["a", "timeout = 5", ]

# What is in stock; timeout is in seconds, version = 1.10.
[functions."stock"]
url = "https://stock.example.com"
timeout = 5
""",
    Format.JSON: """\
{
  "version": "1.10",
  "timeout": 5, "ratio": 0.5,
  "enabled" : true,
  "functions": {
    "orders": {"url": "https://orders.example.com/,}?\\"timeout\\": 5", "tags": ["a", ",]"]},
    "stock":
      { "url": "https://stock.example.com",
        "timeout": 5 }
  }
}
""",
    Format.YAML: """\
# What the shop calls.
version: "1.10"   # as text
timeout: 5
ratio: 0.5
enabled: true

functions:
  orders:   # ours
    url: 'https://orders.example.com/timeout?enabled: true'
    tags: [a, "timeout: 5"]

  # What is in stock; timeout is in seconds, version: 1.10.
  stock:
    url: https://stock.example.com
    timeout: 5
""",
}
FORMATS = tuple(GOOD)
#: By which a corrected text may be longer or shorter than what was meant.
MOST_CHARACTERS = 4


def mend(text: str, written_in: Format, entry: str = "", good: str | None = None) -> str | None:
    """What a text becomes; its line ends and whether there is a mark at its start stay."""
    found = correct(text, written_in, entry, good)
    return None if found is None else found.content.decode()


def correct(
    text: str, written_in: Format, entry: str = "", good: str | None = None
) -> Correction | None:
    """The correction of a text."""
    entries = "/functions" if entry else None
    last_good = None if good is None else good.encode()
    return correction(text.encode(), written_in, SCHEMA, entries, entry, last_good)


def breakages(written_in: Format) -> list[tuple[str, str]]:
    """What stands once in the good text, or first, and what has one nearest correction to it."""
    sign = " = " if written_in is Format.TOML else ": "
    quote = '"' if written_in is Format.JSON else ""
    slips = [
        ("timeout", "timeuot"),
        ("timeout", "Timeout"),
        ("timeout", "time_out"),
        ("enabled", "enabeld"),
        ("version", "versoin"),
        ("ratio", "rato"),
    ]
    pairs = [
        *((f"{quote}{key}{quote}", f"{quote}{slip}{quote}") for key, slip in slips),
        (f"timeout{quote}{sign}5", f'timeout{quote}{sign}"5"'),
        (f"ratio{quote}{sign}0.5", f'ratio{quote}{sign}"0.5"'),
        (f'version{quote}{sign}"1.10"', f"version{quote}{sign}1.10"),
    ]
    if written_in is Format.JSON:
        pairs += [('",]"]', '",]",]'), ('"timeout": 5 }', '"timeout": 5, }'), ("}\n}", "},\n}")]
    elif written_in is Format.TOML:
        pairs += [
            ('"https://stock.example.com"', "https://stock.example.com"),
            ("[functions.", "[funktions."),
            ("enabled = true", "enabled = True"),
        ]
    else:
        pairs += [("functions:", "funktions:"), ("enabled: true", "enabled: 'True'")]
    return pairs


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("written_in", "good", "broken"),
    [(each, *pair) for each in FORMATS for pair in breakages(each)],
)
def test_round_trip(written_in: Format, good: str, broken: str, line_end: str, mark: str) -> None:
    """What was broken becomes what it was, with every comment, blank and line end in its place."""
    text = GOOD[written_in].replace(good, broken, -1 if good.startswith("[") else 1)
    text, whole = (mark + each.replace("\n", line_end) for each in (text, GOOD[written_in]))
    assert mend(text, written_in) == whole


@pytest.mark.parametrize(
    ("written_in", "text", "mended"),
    [
        (Format.TOML, "version = 1.10.2 # x", 'version = "1.10.2" # x'),
        (Format.TOML, "version = 2026-11-28", 'version = "2026-11-28"'),
        (Format.TOML, "version = the first one", 'version = "the first one"'),
        (Format.TOML, "'verzion' = '1'", "'version' = '1'"),
        (Format.TOML, 'timeuot = "5"', "timeout = 5"),
        (Format.TOML, "tags = [1, 2.50]", 'tags = ["1", "2.50"]'),
        (
            Format.TOML,
            "functions = {a = {uurl = 'https://a'}}",
            "functions = {a = {url = 'https://a'}}",
        ),
        (Format.TOML, "[functions]\na.uurl = 'https://a'", "[functions]\na.url = 'https://a'"),
        (Format.TOML, "[[list]]\nuurl = 'https://a'", "[[list]]\nurl = 'https://a'"),
        (Format.JSON, '{"version": true}', '{"version": "true"}'),
        (Format.JSON, '{"enabled": "TRUE"}', '{"enabled": true}'),
        (Format.JSON, '{"tags": ["a",\n],\n}', '{"tags": ["a"\n]\n}'),
        (Format.YAML, "version: 1_000.5\nratio: '1'", None),
        (Format.YAML, "{ratio: '1'}", "{ratio: 1}"),
        (Format.YAML, "list:\n- uurl: https://a # a", "list:\n- url: https://a # a"),
    ],
)
def test_one_is_nearest(written_in: Format, text: str, mended: str | None) -> None:
    """Each way in which a file may be written is changed where it is wrong."""
    assert mend(text, written_in) == mended


@pytest.mark.parametrize(
    ("written_in", "text"),
    [
        # Two keys that may be one, and one that may be two.
        (Format.TOML, "timeuot = 5\ntimoeut = 6"),
        (Format.TOML, "timeout = 5\ntimeuot = 5"),
        # What stands behind may be a comment or not; it may be a flag or a text.
        (Format.TOML, "version = https://a.example.com/#a"),
        (Format.TOML, "enabled = yes"),
        (Format.TOML, 'version = "1.10'),
        (Format.TOML, "timeout = 5s"),
        (Format.TOML, "timeout = 1_000\nversion = 1_000"),
        (Format.TOML, "timeout = '5.5'"),
        (Format.TOML, "timeout = '05'"),
        (Format.TOML, "version = {}"),
        (Format.TOML, "nothing = 1"),
        (Format.JSON, '{"tags": [,]}'),
        (Format.JSON, '{"tags": ["a",,]}'),
        (Format.JSON, '{"tags": ["a"'),
        (Format.JSON, '{"version": null}'),
        (Format.JSON, '{"timeout": 5, "timeout": 6}'),
        # What is shared cannot be changed in one place alone.
        (Format.YAML, "version: &a 5\ntimeout: *a"),
        (Format.YAML, "functions:\n  a: &a {url: https://a, timeuot: 5}\n  b: *a"),
        (Format.YAML, "version: {}"),
        (Format.TOML, "version = 5 #" + "x" * MAX_BYTES),
        (Format.TOML, ""),
    ],
)
def test_none_is_nearest(written_in: Format, text: str) -> None:
    """Where it is not certain what was meant nothing is proposed."""
    assert correct(text, written_in) is None


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("name = hello", 'name = "hello"'),
        ("a = 1\nname = https://example.com", 'a = 1\nname = "https://example.com"'),
        *((f"name = {word}", None) for word in ("True", "no", "nil", "5s", "1.10.2", "2026-13-01")),
    ],
)
def test_without_schema(text: str, mended: str | None) -> None:
    """Where nothing says what a value has to be, a bare word is text if it can be nothing else."""
    found = correction(text.encode(), Format.TOML)
    assert (None if found is None else found.content.decode()) == mended


@pytest.mark.parametrize("written_in", Format)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"a\xff", b"a = \xff", b"\0", b"\xef\xbb\xbf", b"[" * 1000, b"}"]
)
def test_no_text(written_in: Format, content: bytes) -> None:
    """Of what is no text, or nests without end, nothing is proposed, and nothing is raised."""
    assert correction(content, written_in, SCHEMA) is None
    assert correction(content, written_in, SCHEMA, "/functions", "a", content) is None


def test_ini_and_env() -> None:
    """A key of an INI or .env file is renamed, wherever else its name stands."""
    flat = JsonSchema({"properties": {"PORT": {}}, "additionalProperties": False})
    text = b"# PROT=1\nexport PROT = 5 # PROT\n"
    found = correction(text, Format.ENV, flat)
    assert found is not None
    assert found.content == b"# PROT=1\nexport PORT = 5 # PROT\n"
    shop = {"additionalProperties": False, "properties": {"port": {}}}
    sections = JsonSchema({"properties": {"shop": shop}})
    found = correction(b"[shop]\n; prot\nprot: 5\n", Format.INI, sections)
    assert found is not None
    assert found.content == b"[shop]\n; prot\nport: 5\n"


#: What is broken in the entry a, what was good once, and what comes of it.
OTHERS = {
    Format.TOML: (
        """\
# Ours.
[functions.a] # first
url = 'ftp://a'
timeout = 5

# Of b.
[functions.b]
url = 'https://new'
""",
        """\
[functions.b]
url = 'https://old'

[functions.a]
url = 'https://a' # good
tags = []
""",
        """\
# Ours.
[functions.a]
url = 'https://a' # good
tags = []

# Of b.
[functions.b]
url = 'https://new'
""",
    ),
    Format.JSON: (
        '{"functions": {"a": {"url":\n5}, "b": {"url": "https://new"}}}',
        '{"functions": {\n "a": {"tags": [], "url": "https://a"}}}',
        '{"functions": {"a": {"tags": [], "url": "https://a"}, "b": {"url": "https://new"}}}',
    ),
    Format.YAML: (
        """\
functions:
  a: 5 # bad

  # Of b.
  b:
    url: https://new
""",
        """\
functions:
  a:
    url: https://a # good
    tags: []
  # Of b once.
  b: {}
""",
        """\
functions:
  a:
    url: https://a # good
    tags: [] # bad

  # Of b.
  b:
    url: https://new
""",
    ),
}


@pytest.mark.parametrize("written_in", OTHERS)
def test_the_last_good_entry_is_put_back(written_in: Format) -> None:
    """An entry that cannot be mended is as it was when it was good; all others stay."""
    broken, good, mended = OTHERS[written_in]
    assert mend(broken, written_in, "a") is None
    assert mend(broken, written_in, "a", good) == mended
    windows = mend(broken.replace("\n", "\r\n"), written_in, "a", good)
    assert windows == mended.replace("\n", "\r\n")


def test_an_entry_alone() -> None:
    """One broken entry is mended while another one stays broken, and by what is nearest to it."""
    text = "[functions.a]\nuurl = 'https://a'\n[functions.b]\nurl = 5\n"
    good = "[functions.a]\nurl = 'https://old'\n[functions.b]\nurl = 'https://b'\n"
    assert mend(text, Format.TOML, "a", good) == text.replace("uurl", "url")
    assert mend(text, Format.TOML, "b", good) == text.replace("5", "'https://b'")
    assert mend(text, Format.TOML, "c", good) is None


def test_an_entry_of_a_list() -> None:
    """A member of a list is put back in its place, by its name."""
    members = {"items": {"properties": {"n": {"type": "integer"}}}}
    broken, good = '[{"name": "a", "n": "x"}, {"name": "b"}]', '[{"name": "b"}, {"name": "a"}]'
    found = correction(broken.encode(), Format.JSON, JsonSchema(members), "", "a", good.encode())
    assert found is not None
    assert found.content == b'[{"name": "a"}, {"name": "b"}]'
    schema = JsonSchema({"properties": {"list": members}})
    tables = "[[list]]\nname = 'a'\nn = []\n[[list]]\nname = 'b'\n"
    old = b"[[list]]\nname = 'b'\nn = 5\n[[list]]\nname = 'a'\nn = 6\n"
    found = correction(tables.encode(), Format.TOML, schema, "/list", "a", old)
    assert found is not None
    assert found.content.decode() == tables.replace("[]", "6")


def test_steps_show_no_value() -> None:
    """What would be done is shown as a difference of lines, without what stands in them."""
    found = correct('timeuot = "5"\nversion = s3cret\n', Format.TOML)
    assert found is not None
    assert found.steps == (
        "@@ line 2 @@ version takes text",
        "-version = ...",
        '+version = "..."',
        "@@ line 1 @@ timeuot is no known key",
        "-timeuot = ...",
        "+timeout = ...",
        "@@ line 1 @@ timeout takes no text",
        '-timeout = "..."',
        "+timeout = ...",
    )
    other = correct('timeuot = "5"\nversion = s3cre7\n', Format.TOML)
    assert other is not None
    assert other.digest != found.digest


@pytest.mark.parametrize("written_in", FORMATS)
def test_any_break(written_in: Format) -> None:
    """Whichever character is lost or doubled, what is proposed is valid, and near to it."""
    text = GOOD[written_in]
    proposed = 0
    for at in range(0, len(text), 3):
        for broken in (text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]):
            found = correct(broken, written_in)
            if found is not None:
                proposed += 1
                assert not examine(found.content, written_in, SCHEMA).problems
                assert abs(len(found.content) - len(text.encode())) <= MOST_CHARACTERS
                assert "example.com" not in " ".join(found.steps)
    assert proposed
