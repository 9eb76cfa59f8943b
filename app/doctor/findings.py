"""What the doctor finds: a closed set of codes, each with a place and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial


class Severity(StrEnum):
    """How bad it is, worst first. Warnings fail a strict run, notes never do."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Code(StrEnum):
    """What can be found. The string is the documented code; docs/CLI.md explains each."""

    MISSING_REQUIREMENT = "missing_requirement"
    HEALED_ONLY = "healed_only"
    TRANSITIVE_IMPORT = "transitive_import"
    MISSPELT_IMPORT = "misspelt_import"
    OPTIONAL_IMPORT = "optional_import"
    MARKER_EXCLUDES = "marker_excludes"
    FIRST_PARTY_MISSING = "first_party_missing"
    MISSING_NAME = "missing_name"
    MISSING_SUBMODULE = "missing_submodule"
    STDLIB_MISSING = "stdlib_missing"
    STDLIB_LEAVING = "stdlib_leaving"
    SYNTAX_ERROR = "syntax_error"
    SHADOWS = "shadows"
    MANIFEST_INVALID = "manifest_invalid"
    LEFT_OUT = "left_out"
    REQUIREMENTS_INVALID = "requirements_invalid"
    REQUIREMENTS_CONFLICT = "requirements_conflict"
    NOT_LOCKABLE = "not_lockable"
    MAP_DISAGREES = "map_disagrees"
    LOCK_MISSING = "lock_missing"
    LOCK_INVALID = "lock_invalid"
    LOCK_STALE = "lock_stale"
    LOCK_INCOMPLETE = "lock_incomplete"
    LOCK_SPLIT = "lock_split"
    PYTHON_UNSUPPORTED = "python_unsupported"
    WHEEL_MISSING = "wheel_missing"
    NOT_INSTALLED = "not_installed"
    VERSION_DIFFERS = "version_differs"
    BLUEPRINT_FAILS = "blueprint_fails"
    SETTING_INVALID = "setting_invalid"
    VARIABLE_UNDECLARED = "variable_undeclared"
    VARIABLE_UNUSED = "variable_unused"
    VARIABLE_UNEXPLAINED = "variable_unexplained"
    VARIABLE_UNMET = "variable_unmet"
    DATABASE_URL_INVALID = "database_url_invalid"
    DRIVER_NOT_LOCKED = "driver_not_locked"
    MIGRATIONS_SPLIT = "migrations_split"
    MIGRATIONS_UNREADABLE = "migrations_unreadable"
    EDGE_FILE_INVALID = "edge_file_invalid"
    EDGE_TIMEOUT_LONG = "edge_timeout_long"
    HOME_UNWRITABLE = "home_unwritable"
    HOME_UNTRUSTED = "home_untrusted"
    LAYER_SET_ASIDE = "layer_set_aside"
    HOME_WITHOUT_LOCKS = "home_without_locks"
    INSTALLER_MISSING = "installer_missing"
    INSTALLER_BROKEN = "installer_broken"
    NO_WHEEL = "no_wheel"
    NOT_ON_INDEX = "not_on_index"
    INDEX_DIFFERS = "index_differs"
    INDEX_UNREACHABLE = "index_unreachable"
    # Of modules that are to be adopted.
    FILE_UNREADABLE = "file_unreadable"
    FILE_EXISTS = "file_exists"
    NO_MODULE_NAME = "no_module_name"
    NO_BLUEPRINT = "no_blueprint"
    NESTED_BLUEPRINT = "nested_blueprint"
    FACTORY_ARGUMENTS = "factory_arguments"
    UNKNOWN_DISTRIBUTION = "unknown_distribution"
    OWN_IMPORT = "own_import"
    NAME_TAKEN = "name_taken"
    ADDRESS_TAKEN = "address_taken"
    PREFIX_SHARED = "prefix_shared"
    IMPORT_EXITS = "import_exits"
    IMPORT_PATCHES = "import_patches"
    IMPORT_STARTS_THREAD = "import_starts_thread"
    IMPORT_STARTS_PROCESS = "import_starts_process"
    IMPORT_CALLS_OUT = "import_calls_out"
    IMPORT_CONNECTS = "import_connects"
    IMPORT_WAITS = "import_waits"
    IMPORT_CHANGES_PROCESS = "import_changes_process"
    OWN_APPLICATION = "own_application"
    APPLICATION_HOOK = "application_hook"
    STAR_IMPORT = "star_import"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, where it is and what to do about it.

    ``file`` is relative to the project, ``line`` counts from 1 (0: none is to blame). ``chain``
    leads as ``file:line`` from a blueprint to the fault. ``requirement`` is the line that mends it
    when requirements-flask.txt gets it; ``relock`` says that a fresh lock mends it, ``declares``
    names the variable that the manifest has to declare.
    """

    severity: Severity
    code: Code
    message: str
    advice: str = ""
    file: str = ""
    line: int = 0
    subject: str = ""
    chain: tuple[str, ...] = ()
    requirement: str | None = None
    relock: bool = False
    declares: str | None = None

    @property
    def place(self) -> str:
        """``file:line``, or what of it is known."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def fixable(self) -> bool:
        """Whether ``doctor --fix`` mends it."""
        return self.requirement is not None or self.relock or self.declares is not None

    def to_dict(self) -> dict[str, object]:
        """The finding as JSON shows it."""
        how = {"relock", "declares"}
        fields = {name: value for name, value in asdict(self).items() if name not in how}
        return {**fields, "chain": list(self.chain), "fixable": self.fixable}


#: An error fails in production, a warning may, or fails elsewhere; a note is provided for.
error = partial(Finding, Severity.ERROR)
warning = partial(Finding, Severity.WARNING)
note = partial(Finding, Severity.NOTE)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings without repetitions, worst first, then by place."""
    rank = list(Severity)
    unique = dict.fromkeys(findings)
    return tuple(
        sorted(unique, key=lambda found: (rank.index(found.severity), found.file, found.line))
    )


def fails(findings: Iterable[Finding], *, strict: bool) -> bool:
    """Whether these findings fail a run."""
    bad = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    return any(found.severity in bad for found in findings)
