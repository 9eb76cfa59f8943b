"""Text of strangers on a page: subjects, names and paths, whatever is in them."""

from __future__ import annotations

import html
import unicodedata

#: What is shown of a text; all of it is in its title.
SHOWN = 120
#: Longer texts are cut in the title, too.
TITLE = 2000

#: Categories of characters that nobody sees: control, format, surrogates, separators of lines.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Shown:
    """HTML that is safe to put into a page as it is: templates ask it for nothing else."""

    def __init__(self, markup: str) -> None:
        self._markup = markup

    def __html__(self) -> str:
        return self._markup


def visible(text: object) -> str:
    """A text, cut, with U+FFFD for what cannot be seen.

    That is control characters, ANSI escapes among them, and marks of direction.
    """
    whole = str(text)[:TITLE]
    if whole.isprintable():
        return whole
    return "".join("\ufffd" if unicodedata.category(each) in UNSEEN else each for each in whole)


def shown(text: object) -> Shown:
    """A visible text by itself: cut, its direction kept from its neighbours."""
    whole = visible(text)
    if len(whole) <= SHOWN:
        return Shown(f"<bdi>{html.escape(whole)}</bdi>")
    return Shown(f'<bdi title="{html.escape(whole)}">{html.escape(whole[:SHOWN])}…</bdi>')
