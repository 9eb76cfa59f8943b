"""Two hundred odd modules, made anew for each test; each would leave a trace if it were run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count

EXAMPLE = '''"""Pages."""
import os
from flask import Blueprint
{canary}
PREFIX = "/odd"
bp = Blueprint("{name}", __name__, url_prefix=f"{{PREFIX}}/{name}")

@bp.route("/list/<int:page>", methods=["GET", "POST"])
def listed(page):
    """Ünïcode: a page of them."""
    import redis
    return {{**os.environ, "x": [page for _ in range(3)], "y": lambda: os.environ["SHOP"]}}
'''
#: What ends, hangs or hurts who imports it.
HOSTILE = (
    "import os; os._exit(7)",
    "import sys; sys.exit(7)",
    "raise KeyboardInterrupt",
    "while True: pass",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import shutil; shutil.rmtree('/nowhere/at/all')",
    "import threading; threading.Thread(target=input).start()",
    "import ctypes; ctypes.string_at(0)",
    "__import__('os').system('true')",
    "exec('def f(:')",
    "def __getattr__(name): raise SystemExit",
    "class M(type):\n    def __new__(*a): raise SystemExit\nclass A(metaclass=M): ...",
    "Blueprint = None",
    "del Blueprint",
    "globals().clear()",
    "from . import *\nfrom .. import *\nfrom os import *",
    "import no_such_thing.at.all as x",
    "from __future__ import braces",
    "return 1",
    "yield 1",
    "await x",
    "nonlocal x",
    "bp.register_blueprint(bp)",
    "bp: Blueprint",
    "bp = bp2 = bp",
    "(bp := Blueprint())",
    "Blueprint(*args, **kwargs)",
    "bp = Blueprint(name=None)",
    "bp = Blueprint('')",
    "bp = Blueprint('a.b', 1, url_prefix='/é')",
    "bp = Blueprint('b\\x00\\n[packages]\\n', 1, url_prefix='/\"\\n[x]')",
    "os.environ['']\nos.environ['A B']\nos.environ['Ä']\nos.environ['=']\nos.environ[1]",
    "match bp:\n    case Blueprint(name='x') | {**rest} | [*_]: pass",
    "type X = int",
    "def f[T](x: T) -> T: ...",
    "try: pass\nexcept* ValueError: pass",
    "f'{f\"{1}\"}'",
    "async def make():\n    return Blueprint('x', 'x')",
    "def make(a, /, b, *, c): return Blueprint('x', 'x')",
    "def make(): return make()",
    "def make():\n    def make(): return Blueprint('q', 'q')\n    return make",
)
PYTHON_2 = (
    "print 'x'",
    "print >>f, 'x'",
    "try: pass\nexcept ValueError, e: pass",
    "raise ValueError, 'x'",
    "exec 'x' in {}",
    "x = `1`",
    "1 <> 2",
    "x = 0777",
    "x = ur'x'",
    "x = 10L",
    "def f((a, b)): pass",
    "from urllib2 import urlopen",
    "class A:\n    __metaclass__ = B\n    print 1",
)


def modules(trace: str) -> Iterator[tuple[str, bytes]]:
    """The file name and content of each. One that runs makes a file in the directory ``trace``."""
    numbers = count()

    def example(line: str = "") -> str:
        number = next(numbers)
        canary = f"open({trace!r} + '/{number}', 'w').close()\n{line}"
        return EXAMPLE.format(canary=canary, name=f"odd_{number}")

    lines = (*HOSTILE, *PYTHON_2, *generated())
    contents = [example(line).encode() for line in lines]
    contents += [example().encode()[:position] for position in range(0, len(example()), 9)]
    contents += [*changed(example), *encoded(example)]
    contents += [b"", b"\n", b"\xef\xbb\xbf", b"#", b"\0", b"\xff\xfe", b"\\", b"\t", b'"""']
    for number, content in enumerate(contents):
        yield f"odd_{number}.py", content
    for name in ("1st.py", "class.py", "two words.py", "ümlaut.py", "a-b.py", "__main__.py"):
        yield name, example().encode()


def changed(example: Callable[[], str]) -> Iterator[bytes]:
    """Examples in which some bytes are others, more or fewer."""
    chance = random.Random(12)  # noqa: S311 - the same ones each time
    for _ in range(40):
        content = bytearray(example().encode())
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(content))
            content[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        yield bytes(content)


def encoded(example: Callable[[], str]) -> Iterator[bytes]:
    """Examples in other encodings, under wrong names of theirs, and with other ends of lines."""
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp500"):
        yield example().encode(encoding)
    for cookie in ("latin-1", "cp1252", "utf-8", "utf-7", "utf-16", "rot13", "no-such", "idna"):
        yield f"# -*- coding: {cookie} -*-\n{example()}".encode("latin-1")
        yield f"# -*- coding: {cookie} -*-\n{example()}".encode("utf-8-sig")
    for end in ("\r\n", "\r", "\n\r", "\f\n", "\v\n", "\u2028", "\0\n", "\\\n", "\x1a\n"):
        yield example().replace("\n", end).encode()


def generated() -> Iterator[str]:
    """Code that no human writes: long, deep, and many of a kind."""
    yield "\n".join(f"x{n} = {n}" for n in range(20_000))
    yield "x = " + " + ".join(["1"] * 5_000)
    yield "x = " + "-" * 5_000 + "1"
    yield "x = " + "(" * 150 + ")" * 150
    yield "x = " + "[" * 5_000
    yield "x = a" + ".b" * 5_000
    yield "x = a" + "()" * 5_000
    yield "x = a" + "[0]" * 5_000
    yield "x = " + "lambda: " * 2_000 + "1"
    yield "x = " + " if a else ".join(["1"] * 2_000)
    yield "if a: pass\n" + "\n".join(f"elif a == {n}: pass" for n in range(3_000))
    yield "\n".join(" " * n + "if a:" for n in range(99)) + "\n" + " " * 99 + "pass"
    yield "\n".join(" " * n + f"def f{n}():" for n in range(99)) + "\n" + " " * 99 + "pass"
    yield "x = {" + ", ".join(f"{n}: 'value {n}'" for n in range(20_000)) + "}"
    yield "x = '" + "y" * 1_000_000 + "'"
    yield "\n".join(f"@bp.get('/{n}')\ndef view_{n}(): return view_{n - 1}()" for n in range(500))
    yield "@bp.get('/')\n" * 500 + "def many(): ..."
    yield "x = " + "9" * 10_000
