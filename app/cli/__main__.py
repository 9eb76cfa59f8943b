"""``python -m app.cli``: the commands where Flask, or even click, may be missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from app.utils.auto_fix import safe_import

EX_UNAVAILABLE = 69


def main() -> None:
    """Run the commands, healing what they cannot do without where the settings allow it."""
    for name in ("click", "packaging"):
        # The engine makes its home when it is asked to import, so it is asked only when it must.
        if find_spec(name) is None and not safe_import(name)[0]:
            sys.stderr.write(
                f"auto-fix: {name} is missing and could not be healed: install"
                " requirements-flask.txt into this environment\n"
            )
            sys.exit(EX_UNAVAILABLE)
    from app.cli.group import auto_fix

    auto_fix(prog_name="python -m app.cli")


if __name__ == "__main__":
    main()
