"""Transcripts in the documentation: recorded by the commands they show, and repeated by a test.

A block is one where a comment before it names the place in which its commands run::

    <!-- transcript: faulty -->
    ```console
    $ .venv/bin/flask auto-fix doctor --offline
    ```

``make transcripts`` writes what the commands print below each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

BLOCK = re.compile(
    r"(?P<head><!-- transcript: (?P<place>\w+) -->\n```console\n)(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PROMPT = "$ "
#: Set by ``make transcripts``: then they are written anew.
RECORD = "RECORD_TRANSCRIPTS"
#: The place of what needs a Docker engine.
CONTAINER = "container"
#: That of a service that is killed and started again.
RESTARTED = "restarted"
#: That of a database that fails over.
FAILOVER = "failover"
#: The places that tests of their own repeat.
ELSEWHERE = frozenset({CONTAINER, RESTARTED, FAILOVER})
#: What is another one each time, and what stands for it in a comparison.
VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:\d\d)"), "MOMENT"),
    (re.compile(r"(?<=\bweb-1 )\d+|^\d+(?= /)", re.MULTILINE), "PID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "CONTAINER"),
    (re.compile(r"(?<![=\d.])\b\d+\.\d+\b(?!\.)"), "SECONDS"),
)


def places(text: str) -> set[str]:
    """Where the transcripts of a document were recorded."""
    return {block["place"] for block in BLOCK.finditer(text)}


def recorded(text: str, place: str, run: Callable[[str], str]) -> str:
    """The document with the transcripts of a place recorded anew; ``run`` runs a command line."""

    def record(block: re.Match[str]) -> str:
        if block["place"] != place:
            return block[0]
        commands = [line for line in block["body"].splitlines() if line.startswith(PROMPT)]
        outputs = [run(command.removeprefix(PROMPT)) for command in commands]
        body = "".join(f"{c}\n{out}" for c, out in zip(commands, outputs, strict=True))
        return f"{block['head']}{body}```"

    return BLOCK.sub(record, text)


def comparable(text: str) -> str:
    """The document without what is another one each time; columns are as wide as that is."""
    text = re.sub(r"(?<=\S) {2,}", " ", text)
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return text
