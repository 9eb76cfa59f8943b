"""Why a command of the operator could not be carried out.

::

    CommandError        one sentence; ``code`` is a stable word, ``exit_code`` the process's status
    ├── Unavailable     something outside is missing or did not answer
    ├── CannotWrite     a file or directory cannot be written; nothing was changed
    └── BadFile         a file holds what cannot be used; the sentence has its line
"""

from __future__ import annotations

from app.settings.errors import HealingError


class CommandError(HealingError):
    """The command could not be carried out; whatever it was about is as it was."""

    code = "failed"
    exit_code = 1


class Unavailable(CommandError):
    """A tool, an index or a service is missing or does not answer."""

    code = "unavailable"
    exit_code = 69


class CannotWrite(CommandError):
    """What should be written cannot be: a read-only checkout, a full disk."""

    code = "cannot_write"
    exit_code = 73


class BadFile(CommandError):
    """A file cannot be used as what it should be."""

    code = "bad_file"
    exit_code = 65
