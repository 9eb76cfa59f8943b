"""What is found in modules without running them, and what that has the project get."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from app.adoption.proposal import Proposal, propose
from app.doctor.project import Project
from app.locking.edit import write_all
from app.settings.errors import BadFile

Propose = Callable[..., Proposal]

HEAD = "import os\nfrom flask import Blueprint\n"
SHOP = f"""{HEAD}
catalogue = Blueprint("catalogue", __name__, url_prefix="/catalogue")
orders = Blueprint("orders", __name__, url_prefix="/orders")

@catalogue.get("/")
def products():
    return os.environ["SHOP_NAME"]

@orders.get("/")
def listed():
    return _client().get("orders")

def _client():
    import redis
    return redis.Redis()
"""


def found(proposal: Proposal) -> dict[str, tuple[str, str | None]]:
    """Each blueprint that is proposed, to its import path and prefix."""
    return {one.name: (one.import_path, one.prefix) for one in proposal.blueprints}


def codes(proposal: Proposal) -> set[str]:
    """The codes of what is wrong."""
    return {str(finding.code) for finding in proposal.findings}


class TestBlueprints:
    """How a module may give its blueprints."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        {
            "plain": ('bp = Blueprint("red", __name__)', ("bp", None)),
            "prefix": ('bp = Blueprint("red", __name__, url_prefix="/red/")', ("bp", "/red")),
            "constant": (
                'P = "/p"\nbp = Blueprint("red", "r", url_prefix=P + "/q")',
                ("bp", "/p/q"),
            ),
            "computed": ('bp = Blueprint("red", "r", url_prefix=prefix())', ("bp", None)),
            "no address": ('bp = Blueprint("red", "r", url_prefix="red")', ("bp", None)),
            "annotated": ('bp: Blueprint = Blueprint(name="red", import_name="r")', ("bp", None)),
            "branch": ('try:\n    bp = Blueprint("red", "r")\nfinally: pass', ("bp", None)),
            "attribute": ('import flask\nbp = flask.Blueprint("red", "r")', ("bp", None)),
            "alias": ('from flask import Blueprint as B\nbp = B("red", "r")', ("bp", None)),
            "class": ('class Own(Blueprint): ...\nbp = Own("red", "r")', ("bp", None)),
            "twice": ('bp = other = Blueprint("red", "r")', ("bp", None)),
            "made here": (
                'def make():\n    return Blueprint("red", "r")\nbp = make()',
                ("bp", None),
            ),
        }.values(),
    )
    def test_forms(self, proposed: Propose, text: str, expected: tuple[str, str | None]) -> None:
        """Each is found with its name and its prefix, as far as that is written down."""
        proposal = proposed(shop=f"{HEAD}{text}\n")
        attribute, prefix = expected
        assert found(proposal) == {"red": (f"blueprints.legacy.shop:{attribute}", prefix)}
        assert not proposal.findings

    def test_a_function_that_makes_one_gets_a_module(self, root: Path, proposed: Propose) -> None:
        """The manifest names an object, so what calls the function is written beside it."""
        text = f"""{HEAD}
def make_orders(debug=False):
    bp = Blueprint("orders", __name__, url_prefix="/orders")
    @bp.get("/")
    def listed():
        import redis
        return os.environ["SHOP"]
    return bp
"""
        proposal = proposed(shop=text)
        (one,) = proposal.blueprints
        assert one.import_path == "blueprints.legacy_shop_make_orders:blueprint"
        assert (one.packages, one.environment) == (("redis",), ("SHOP",))
        write_all(proposal.changes)
        written = (root / "blueprints" / "legacy_shop_make_orders.py").read_text()
        assert "from blueprints.legacy.shop import make_orders\n" in written
        assert not proposed().blueprints

    def test_one_that_needs_arguments_is_not_proposed(self, proposed: Propose) -> None:
        """Nobody knows them; the line says what to do."""
        proposal = proposed(shop=f"{HEAD}def make(db):\n    return Blueprint('a', 'a')\n")
        assert codes(proposal) == {"factory_arguments", "no_blueprint"}
        assert not proposal.changes

    def test_nested_ones_come_with_their_parent(self, proposed: Propose) -> None:
        """Whether they are registered where they are defined or in another module."""
        proposal = proposed(
            child=f"{HEAD}inner = Blueprint('inner', 'i')\n",
            parent=f"{HEAD}from .child import inner\nouter = Blueprint('outer', 'o')\n"
            "leaf = Blueprint('leaf', 'l')\nouter.register_blueprint(inner)\n"
            "outer.register_blueprint(leaf, url_prefix='/leaf')\n",
        )
        assert list(found(proposal)) == ["outer"]
        assert [(f.subject, f.line) for f in proposal.findings] == [("inner", 3), ("leaf", 5)]
        assert codes(proposal) == {"nested_blueprint"}

    def test_the_prefix_of_its_registration_counts(self, proposed: Propose) -> None:
        """An application gives prefixes where it registers: by whichever path it imports them."""
        proposal = proposed(
            shop__orders=f"{HEAD}bp = Blueprint('orders', 'o', url_prefix='/own')\n",
            shop__main="from flask import Flask\nfrom shop.orders import bp as orders\n"
            "def create_app():\n    app = Flask(__name__)\n"
            "    app.register_blueprint(orders, url_prefix='/given')\n    return app\n",
        )
        assert found(proposal) == {"orders": ("blueprints.legacy.shop.orders:bp", "/given")}

    def test_one_of_the_project_is_served_where_it_stands(self, root: Path) -> None:
        """Nothing is copied; its import path is that of the project."""
        (root / "shop").mkdir()
        (root / "shop" / "pages.py").write_text(f"{HEAD}pages = Blueprint('pages', 'p')\n")
        proposal = propose(Project.at(root), [root / "shop"])
        assert found(proposal) == {"pages": ("shop.pages:pages", None)}
        assert [change.path.name for change in proposal.changes] == ["orchestrator.toml"]

    def test_what_is_served_already_is_not_proposed(self, root: Path) -> None:
        """The manifest has it."""
        proposal = propose(Project.at(root), [root / "app"])
        assert (proposal.blueprints, proposal.changes) == ((), ())


class TestNeeds:
    """What is needed, and by which of two blueprints."""

    def test_a_view_needs_for_its_blueprint_alone(self, proposed: Propose) -> None:
        """So one of two in a module can be isolated while the other serves."""
        proposal = proposed(shop=SHOP)
        needs = {one.name: (one.packages, one.environment) for one in proposal.blueprints}
        assert needs == {"catalogue": ((), ("SHOP_NAME",)), "orders": (("redis",), ())}
        assert proposal.packages == {"redis": "redis>=5.0"}

    def test_an_import_needs_for_all(self, proposed: Propose) -> None:
        """Also through modules that are imported, and functions that are called, at import."""
        proposal = proposed(
            shop=f"{HEAD}from . import helper\na = Blueprint('a', 'a')\nb = Blueprint('b', 'b')\n"
            "def setting(): return os.environ['SHOP']\nSHOP = setting()\n",
            helper="import redis\n",
        )
        needs = {one.name: (one.packages, one.environment) for one in proposal.blueprints}
        assert needs == dict.fromkeys("ab", (("redis",), ("SHOP",)))

    def test_what_is_provided_for_is_no_need(self, proposed: Propose) -> None:
        """Guarded imports, imports for types, defaults, and the standard library."""
        text = f"""{HEAD}
import json
from typing import TYPE_CHECKING
try:
    import absent_one
except ImportError:
    absent_one = None
if TYPE_CHECKING:
    import absent_two
bp = Blueprint("a", "a")
A = os.environ.get("HAS_DEFAULT", "x")
B = os.getenv("MAY_BE_NONE")
C = os.environ["ASKED_FOR"] if "ASKED_FOR" in os.environ else ""
if __name__ == "__main__":
    import absent_three
"""
        proposal = proposed(shop=text)
        (one,) = proposal.blueprints
        assert (one.packages, one.environment, proposal.findings) == ((), (), ())
        assert {read.name: read.required for read in proposal.variables} == dict.fromkeys(
            ("HAS_DEFAULT", "MAY_BE_NONE", "ASKED_FOR"), False
        )

    def test_a_distribution_is_never_guessed(self, proposed: Propose) -> None:
        """What is installed here is proposed, of the rest it is said that nobody knows."""
        imports = "import pytest\nimport PIL.Image\nimport no_such_thing\n"
        proposal = proposed(shop=f"{HEAD}{imports}bp = Blueprint('a', 'a')\n")
        (one,) = proposal.blueprints
        assert one.packages == ("pytest",)
        assert proposal.packages == {"pytest": f"pytest>={pytest.__version__}"}
        unknown = {f.subject: f.advice for f in proposal.findings}
        assert unknown.keys() == {"PIL.Image", "no_such_thing"}
        assert "likely pillow" in unknown["PIL.Image"]
        assert "likely" not in unknown["no_such_thing"]

    def test_own_modules_that_are_lost_are_named(self, legacy: Path, proposed: Propose) -> None:
        """What stood beside a module is imported by another name once it is adopted."""
        (legacy.parent / "models").mkdir()
        lost = "import models\nfrom ..other import x\nfrom app.services.orders import y\n"
        kept = "from app.routes.main import main_bp\nfrom app import routes\n"
        text = f"{HEAD}{lost}{kept}bp = Blueprint('a', 'a')\n"
        proposal = proposed(shop=text)
        assert codes(proposal) == {"own_import"}
        assert [f.subject for f in proposal.findings] == [
            *("models", "blueprints.other", "app.services.orders")
        ]

    def test_variables_that_look_secret_are_declared_so(
        self, root: Path, proposed: Propose
    ) -> None:
        """And the service's own settings are not declared again."""
        text = 'K = os.environ["SHOP_API_KEY"]\nP = os.environ["PORT"]\nN = os.environ["NAME_1"]\n'
        write_all(proposed(shop=f"{HEAD}{text}bp = Blueprint('a', 'a')\n").changes)
        manifest = tomllib.loads((root / "orchestrator.toml").read_text())
        assert manifest["variable"] == {
            "SHOP_API_KEY": {
                "type": "text",
                "secret": True,
                "help": "Read by blueprints/legacy/shop.py.",
            },
            "NAME_1": {"type": "text", "help": "Read by blueprints/legacy/shop.py."},
        }


class TestCollisions:
    """Names and addresses that are wanted twice."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        {
            "a name": ("bp = Blueprint('main', 'a')", {"name_taken"}),
            "a rule": (
                "bp = Blueprint('a', 'a')\n@bp.route('/')\ndef f(): ...",
                {"address_taken"},
            ),
            "another method": ("bp = Blueprint('a', 'a')\n@bp.post('/')\ndef f(): ...", set()),
            "a core address": (
                "bp = Blueprint('a', 'a')\n@bp.get('/livez')\ndef f(): ...",
                {"address_taken"},
            ),
            "a core prefix": (
                "bp = Blueprint('a', 'a', url_prefix='/api/auto-fix')",
                {"address_taken"},
            ),
            "each other": (
                "".join(
                    f"{x} = Blueprint('{x}', 'x', url_prefix='/a')\n"
                    f"@{x}.get('/<{x}>')\ndef of_{x}({x}): ...\n"
                    for x in "ab"
                ),
                {"address_taken", "prefix_shared"},
            ),
        }.values(),
    )
    def test_they_are_named(self, proposed: Propose, text: str, expected: set[str]) -> None:
        """With the blueprints that are served already, with the service, and with each other."""
        assert codes(proposed(shop=f"{HEAD}{text}\n")) == expected

    def test_tables_get_names_that_are_free(self, proposed: Propose) -> None:
        """A name that is taken, or that no table can have, costs nothing."""
        text = (
            "a = Blueprint('main', 'a')\nb = Blueprint('auto_fix', 'b')\nc = Blueprint('ä!', 'c')"
        )
        assert list(found(proposed(shop=f"{HEAD}{text}\n"))) == ["main_2", "auto_fix_2", "c"]


HAZARDS = {
    "import sys\nsys.exit(1)": "import_exits",
    "import os\nos._exit(1)": "import_exits",
    "raise SystemExit": "import_exits",
    "def stop():\n    exit(1)\nstop()": "import_exits",
    "import eventlet\neventlet.monkey_patch()": "import_patches",
    "from gevent import monkey\nmonkey.patch_all()": "import_patches",
    "from threading import Thread\nThread(target=print).start()": "import_starts_thread",
    "import threading as t\nT = t.Timer(1, print)": "import_starts_thread",
    "from concurrent.futures import ThreadPoolExecutor as E\npool = E()": "import_starts_thread",
    "import subprocess\nsubprocess.run(['true'])": "import_starts_process",
    "import os\nos.system('true')": "import_starts_process",
    "import requests\nrequests.get('http://example.com')": "import_calls_out",
    "import requests\ns = requests.Session()\ns.post('http://example.com')": "import_calls_out",
    "from urllib.request import urlopen\nurlopen('http://example.com')": "import_calls_out",
    "class A:\n    import socket\n    c = socket.create_connection(('h', 1))": "import_calls_out",
    "class A:\n    def __init__(self):\n        import sqlite3 as s\n        s.connect('x')\nA()": (
        "import_connects"
    ),
    "import psycopg2\nc = psycopg2.connect('')": "import_connects",
    "from sqlalchemy import create_engine\ncreate_engine('').connect()": "import_connects",
    "import time\ntime.sleep(1)": "import_waits",
    "import signal\nsignal.signal(2, print)": "import_changes_process",
    "import logging\nlogging.basicConfig()": "import_changes_process",
    "from flask import Flask\napp = Flask(__name__)": "own_application",
    "from os import *": "star_import",
    "@bp.before_app_request\ndef f(): ...": "application_hook",
    "bp.app_errorhandler(500)(print)": "application_hook",
}


class TestHazards:
    """What will hurt the service."""

    @pytest.mark.parametrize(("text", "code"), HAZARDS.items(), ids=HAZARDS.values())
    def test_it_is_named_with_its_line(self, proposed: Propose, text: str, code: str) -> None:
        """Whichever name it was imported by, also in a function that is called at import."""
        proposal = proposed(shop=f"{HEAD}bp = Blueprint('a', 'a')\n{text}\n")
        lines = [f.line for f in proposal.findings if f.code == code]
        assert len(lines) == 1
        assert lines[0] > len(HEAD.splitlines())
        assert len(proposal.blueprints) == 1

    @pytest.mark.parametrize(
        "text", [text for text in HAZARDS if "bp" not in text and "*" not in text]
    )
    def test_what_only_a_view_does_is_none(self, proposed: Propose, text: str) -> None:
        """Nor what only a program does that imports the module."""
        inside = "".join(f"    {line}\n" for line in text.splitlines())
        view = f"@bp.get('/')\ndef view():\n{inside}if __name__ == '__main__':\n{inside}"
        proposal = proposed(shop=f"{HEAD}bp = Blueprint('a', 'a')\n{view}")
        assert {c for c in codes(proposal) if c.startswith(("import_", "own_"))} == set()

    def test_that_of_modules_which_nothing_imports_is_not_told(self, proposed: Propose) -> None:
        """A script that lies beside them may do what it likes."""
        proposal = proposed(
            shop=f"{HEAD}bp = Blueprint('a', 'a')\n", script="import sys\nsys.exit(main())\n"
        )
        assert not proposal.findings


class TestFiles:
    """What is written."""

    def test_comments_and_order_stay(self, root: Path, proposed: Propose) -> None:
        """Lines are added, and no other changes."""
        before = {name: (root / name).read_text() for name in ("orchestrator.toml",)}
        imports = f"import pytest\nimport redis\n{SHOP}"
        write_all(proposed(shop=imports).changes)
        after = (root / "orchestrator.toml").read_text()
        rest = iter(after.splitlines())
        assert all(line in rest for line in before["orchestrator.toml"].splitlines())
        assert f'# a client\npytest = "pytest>={pytest.__version__}"\n\n# Ours.\n' in after
        requirements = (root / "requirements-flask.txt").read_text()
        assert requirements.startswith("# what the image has\nflask>=3.0  # serves\n")
        assert "redis>=5.0" in requirements
        assert "# imported by blueprints/legacy/shop.py" in requirements
        assert (root / "blueprints" / "legacy" / "shop.py").read_text() == imports
        manifest = Project.at(root).manifest
        assert not manifest.faults
        assert [one.name for one in manifest.blueprints] == ["main", "catalogue", "orders"]

    def test_a_second_run_proposes_nothing(self, root: Path, proposed: Propose) -> None:
        """Whatever the first one wrote."""
        write_all(proposed(shop=SHOP, broken="def x(:\n", helper="import redis\n").changes)
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        again = proposed()
        assert (again.blueprints, again.packages, again.changes) == ((), {}, ())
        write_all(again.changes)
        assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before

    def test_what_is_no_python_goes_along(
        self, root: Path, legacy: Path, proposed: Propose
    ) -> None:
        """Templates and data of a package; caches, environments and hidden files do not."""
        for name in ("templates/a.html", "logo.png", ".git/x", "__pycache__/x.pyc", "env/b.py"):
            (legacy / name).parent.mkdir(exist_ok=True)
            (legacy / name).write_bytes(b"\xff\x00")
        (legacy / "env" / "pyvenv.cfg").touch()
        write_all(proposed(shop=SHOP).changes)
        room = root / "blueprints" / "legacy"
        files = {str(path.relative_to(room)) for path in room.rglob("*") if path.is_file()}
        assert files == {"shop.py", "templates/a.html", "logo.png"}

    def test_another_file_is_not_overwritten(self, root: Path, proposed: Propose) -> None:
        """It is named, and its blueprints are not proposed."""
        (root / "blueprints" / "legacy").mkdir(parents=True)
        (root / "blueprints" / "legacy" / "shop.py").write_text("x = 1\n")
        proposal = proposed(shop=SHOP)
        assert codes(proposal) == {"file_exists", "no_blueprint"}
        assert not proposal.changes

    @pytest.mark.parametrize(
        ("manifest", "words"),
        [
            ("[packages\n", "is no TOML"),
            ('packages = {flask = "flask>=3.0"}\n', "add the tables by hand"),
            ("blueprint = 1\n", "add the tables by hand"),
        ],
    )
    def test_a_manifest_that_cannot_be_extended_is_refused(
        self, root: Path, proposed: Propose, manifest: str, words: str
    ) -> None:
        """It is as it was."""
        (root / "orchestrator.toml").write_text(manifest)
        with pytest.raises(BadFile, match=words):
            proposed(shop=f"import pytest\n{SHOP}")
        assert (root / "orchestrator.toml").read_text() == manifest

    def test_a_project_without_a_manifest_gets_one(self, root: Path, proposed: Propose) -> None:
        """With the tables that are proposed, and no other."""
        (root / "orchestrator.toml").unlink()
        write_all(proposed(shop=f"{HEAD}bp = Blueprint('a', 'a')\n").changes)
        text = '[blueprint.a]\nimport = "blueprints.legacy.shop:bp"\n'
        assert text in (root / "orchestrator.toml").read_text()
