"""Ways to break a variable, made rather than listed: each with its cause and what mends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.kinds.environment.kind import Cause

#: Is in every value that can hold it, and may be in nothing that is said of one.
CANARY = "c4n4ry-of-the-shop"
#: As the process would be started: as bytes that are no text they stand in no argument.
NO_TEXT = "\udcff\udcfe"
#: By type: the rest of its declaration, a good value, and bad ones.
TYPES = {
    "integer": ("minimum = 1", "7", [CANARY, "0", "1.5", "1_0", "\uff11", "9" * 100_000]),
    "number": ("maximum = 9", "2.5", [f"1{CANARY}", "nan", "10"]),
    "flag": ("", "on", [f"yes {CANARY}"]),
    "url": (
        "",
        "https://example.com",
        [f"{CANARY}.example.com", f"https://example.com/\n{CANARY}"],
    ),
    "one_of": ('choices = ["eu", "us"]', "eu", ["EU", f"eu,{CANARY}"]),
    "pattern": ('pattern = "[a-z]{4}"', "good", [f"good\n{CANARY}", f"GOOD{CANARY}"]),
    "json": ("", "[1]", [f'{{"{CANARY}": ', "[" * 100_000]),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the values of a process come from: its environment and its files."""

    root: Path
    environ: dict[str, str]

    @property
    def secrets(self) -> Path:
        """The directory of mounted secrets."""
        return self.root / "secrets"

    @property
    def env_file(self) -> Path:
        """The ``.env`` file."""
        return self.root / "shop.env"

    @property
    def example(self) -> Path:
        """The example beside it."""
        return self.root / "shop.env.example"


#: Puts what is bad in the place of a variable's value.
Break = Callable[[Surroundings, str], object]


@dataclass(frozen=True, slots=True)
class Breakage:
    """One way to break the variable ``name``.

    ``cause`` is None where nothing is wrong with it after all. ``given`` says that the process's
    own environment has to be mended, which only a new process can have.
    """

    name: str
    cause: Cause | None
    apply: Break
    declaration: str = 'type = "text"'
    good: str = f"good {CANARY}"
    given: bool = False

    @property
    def table(self) -> str:
        """The declaration, as the manifest has it."""
        return f'[variable.{self.name}]\n{self.declaration}\nhelp = "A part of the shop."\n'

    def mend(self, around: Surroundings) -> None:
        """Set it right in the place that was bad."""
        named = around.environ.get(f"{self.name}_FILE")
        if self.given:
            around.environ[self.name] = self.good
            around.environ.pop(f"{self.name}_FILE", None)
            return
        target = Path(named) if named else around.secrets / self.name
        if target.is_dir() and not target.is_symlink():
            target.rmdir()
        fresh = around.root / f".{self.name}"
        fresh.write_text(f"{self.good}\n")
        fresh.replace(target)


def secret(content: str | bytes) -> Break:
    """A mounted file with this content."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda around, name: (around.secrets / name).write_bytes(data)


def named(content: str) -> Break:
    """The same file, which ``NAME_FILE`` names."""

    def apply(around: Surroundings, name: str) -> None:
        (around.root / name).write_text(content)
        around.environ[f"{name}_FILE"] = str(around.root / name)

    return apply


def given(text: str, instead: str = "") -> Break:
    """A value in the process's own environment, under another name if one is given."""
    return lambda around, name: around.environ.update({instead or name: text})


def in_place(make: Callable[[Path], object], *, by_name: bool = False) -> Break:
    """What ``make`` makes in the place of a mounted file, or of the one that is named."""

    def apply(around: Surroundings, name: str) -> None:
        make((around.root if by_name else around.secrets) / name)
        if by_name:
            around.environ[f"{name}_FILE"] = str(around.root / name)

    return apply


def dotenv(text: str) -> Break:
    """A line of the ``.env`` file."""

    def apply(around: Surroundings, name: str) -> None:
        with around.env_file.open("a") as file:
            file.write(f"{name}='{text}'\n")

    return apply


def breakages() -> Iterator[Breakage]:
    """All of them; their names are too different for one to be a slip of another."""
    yield from _absent()
    yield from _of_types()
    yield from _placeholders()
    yield from _contents()
    yield from _no_files()


def _absent() -> Iterator[Breakage]:
    yield Breakage("NOWHERE", Cause.MISSING, lambda *_: None)
    yield Breakage("BLANK_GIVEN", Cause.MISSING, given(""))
    yield Breakage("ONLY_SPACES", Cause.MISSING, given("  \t "))
    yield Breakage("EMPTY_MOUNTED", Cause.MISSING, secret(""))
    yield Breakage("LINE_BREAK_ALONE", Cause.MISSING, secret("\r\n"))
    slips = {
        "SWAPPED_LETTERS": "SWAPPED_LETTRES",
        "DROPPED_ONE": "DROPED_ONE",
        "DOUBLED_ONE": "DOUBLLED_ONE",
        "JOINED_WORDS": "JOINEDWORDS",
    }
    for name, other in slips.items():
        yield Breakage(name, Cause.MISSPELT, given(CANARY, other))


def _of_types() -> Iterator[Breakage]:
    """Every bad value of every type, from one source after the other."""
    places: list[tuple[str, Callable[[str], Break]]]
    places = [("MOUNTED", secret), ("NAMED", named), ("GIVEN", given)]
    count = 0
    for written_as, (more, good, bad) in TYPES.items():
        for value in bad:
            place, put = places[count % len(places)]
            name = f"{written_as}_{place}_{count}".upper()
            declaration = f'type = "{written_as}"\n{more}'
            yield Breakage(name, Cause.INVALID, put(value), declaration, good, put is given)
            count += 1
    line = dotenv(CANARY)
    yield Breakage("LINE_OF_DOTENV", Cause.INVALID, line, 'type = "integer"', "7")
    yield Breakage("BYTES_GIVEN", Cause.INVALID, given(f"{CANARY}{NO_TEXT}"), given=True)


def _placeholders() -> Iterator[Breakage]:
    for count, text in enumerate(("changeme", "your-api-key-here", "<token>", "xxxx", "TODO")):
        yield Breakage(f"STANDIN_{count}", Cause.PLACEHOLDER, secret(text))

    def as_example(around: Surroundings, name: str) -> None:
        around.example.write_text(f"{name}={CANARY}\n")
        secret(CANARY)(around, name)

    yield Breakage("OF_THE_EXAMPLE", Cause.PLACEHOLDER, as_example)


def _contents() -> Iterator[Breakage]:
    """Files whose bytes are no value, or one in an unusual form."""
    of_bytes = {
        "NUL_INSIDE": f"{CANARY}\0".encode(),
        "NO_UTF8": CANARY.encode() + b"\xff",
        "UTF16": CANARY.encode("utf-16"),
        "HUGE": CANARY.encode() * 20_000,
    }
    for name, content in of_bytes.items():
        yield Breakage(name, Cause.UNREADABLE_FILE, secret(content))
    declaration = f'type = "pattern"\npattern = "good {CANARY}"'
    for name, content in {
        "BYTE_ORDER_MARK": f"\ufeffgood {CANARY}".encode(),
        "WINDOWS_LINES": f"good {CANARY}\r\n".encode(),
    }.items():
        yield Breakage(name, None, secret(content), declaration)


def _no_files() -> Iterator[Breakage]:
    """What stands in the place of a file and is none."""
    made: dict[str, Callable[[Path], object]] = {
        "FOLDER": Path.mkdir,
        "PIPE": os.mkfifo,
        "DANGLING": lambda path: path.symlink_to(f"{CANARY}-is-gone"),
        "CIRCLE": lambda path: path.symlink_to(path.name),
        "DEVICE": lambda path: path.symlink_to("/dev/zero"),
    }
    for kind, make in made.items():
        yield Breakage(f"{kind}_MOUNTED", Cause.UNREADABLE_FILE, in_place(make))
        yield Breakage(f"{kind}_BY_NAME", Cause.UNREADABLE_FILE, in_place(make, by_name=True))

    def without_rights(around: Surroundings, name: str) -> None:
        secret(f"good {CANARY}")(around, name)
        (around.secrets / name).chmod(0)

    # Nothing is closed to root.
    cause = Cause.UNREADABLE_FILE if os.geteuid() else None
    yield Breakage("NO_RIGHTS", cause, without_rights)
    for name, path in {"PATH_TOO_LONG": f"/{CANARY}" * 400, "VALUE_FOR_A_PATH": CANARY}.items():
        put = given(path, f"{name}_FILE")
        yield Breakage(name, Cause.UNREADABLE_FILE, put, given=True)

    def twice(around: Surroundings, name: str) -> None:
        named(CANARY)(around, name)
        around.environ[name] = CANARY

    yield Breakage("TWO_SOURCES", Cause.CONTRADICTION, twice, given=True)
