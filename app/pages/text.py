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


def shown(text: object) -> Shown:
    """A text by itself: cut, what cannot be seen replaced, its direction kept from its neighbours.

    Control characters, ANSI escapes among them, and marks of direction become U+FFFD.
    """
    whole = str(text)[:TITLE]
    if not whole.isprintable():
        whole = "".join(
            "\ufffd" if unicodedata.category(each) in UNSEEN else each for each in whole
        )
    if len(whole) <= SHOWN:
        return Shown(f"<bdi>{html.escape(whole)}</bdi>")
    return Shown(f'<bdi title="{html.escape(whole)}">{html.escape(whole[:SHOWN])}…</bdi>')
