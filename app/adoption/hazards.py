"""What of a module will hurt the service that imports it, with its line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.adoption.outline import Outline
from app.doctor.findings import Code, Finding, Severity, error, warning

HTTP_VERBS = "get|post|put|patch|delete|head|options|request|stream"
FUNCTION = "do it in a function that the first request calls"


@dataclass(frozen=True, slots=True)
class Hazard:
    """A kind of call that is harmful while a module is imported; ``calls`` are full names."""

    code: Code
    severity: Severity
    what: str
    advice: str
    calls: re.Pattern[str]


def _hazard(code: Code, severity: Severity, what: str, advice: str, *calls: str) -> Hazard:
    return Hazard(code, severity, what, advice, re.compile("|".join(calls)))


AT_IMPORT = (
    _hazard(
        Code.IMPORT_EXITS,
        Severity.ERROR,
        "ends the process while it is imported",
        "raise an exception: that isolates this blueprint alone",
        r"sys\.exit|os\._exit|os\.abort|os\.kill|exit|quit|SystemExit",
    ),
    _hazard(
        Code.IMPORT_PATCHES,
        Severity.ERROR,
        "patches the standard library of a process whose threads run already",
        "take it out; WORKER_CLASS=eventlet patches before anything else is imported",
        r"eventlet\.monkey_patch|eventlet\.patcher\.monkey_patch|gevent\.monkey\.patch_\w+",
    ),
    _hazard(
        Code.IMPORT_STARTS_THREAD,
        Severity.WARNING,
        "starts a thread while it is imported: it is gone after a fork, and nothing stops it",
        FUNCTION,
        r"threading\.(Thread|Timer)|_thread\.start_new_thread|eventlet\.spawn\w*|gevent\.spawn\w*",
        r"concurrent\.futures\.\w+Executor|concurrent\.futures\.\w+\.\w+Executor",
        r"multiprocessing\.pool\.ThreadPool|apscheduler\.schedulers\.\w+\.\w+Scheduler\.start",
    ),
    _hazard(
        Code.IMPORT_STARTS_PROCESS,
        Severity.WARNING,
        "starts a process while it is imported, once for each worker",
        FUNCTION,
        r"subprocess\.(run|call|Popen|check_call|check_output|getoutput|getstatusoutput)",
        r"os\.(system|popen|fork|spawn\w+|exec\w+)|multiprocessing\.(Process|Pool|Manager)",
    ),
    _hazard(
        Code.IMPORT_CALLS_OUT,
        Severity.WARNING,
        "calls over the network while it is imported: an outage isolates it, and a start waits",
        FUNCTION,
        rf"(requests|httpx)\.({HTTP_VERBS})|requests\.(Session|session)\.({HTTP_VERBS})",
        rf"httpx\.Client\.({HTTP_VERBS})|urllib\.request\.(urlopen|urlretrieve)",
        rf"urllib3\.(request|PoolManager\.({HTTP_VERBS}))|smtplib\.SMTP(_SSL)?|ftplib\.FTP(_TLS)?",
        r"socket\.(create_connection|getaddrinfo|gethostbyname|socket\.connect)",
        r"http\.client\.HTTPS?Connection\.(request|connect)|asyncio\.run|imaplib\.IMAP4(_SSL)?",
    ),
    _hazard(
        Code.IMPORT_CONNECTS,
        Severity.WARNING,
        "connects to a database while it is imported: workers share or lose the connection",
        FUNCTION,
        r"(sqlite3|psycopg|psycopg2|pymysql|MySQLdb|mysql\.connector|oracledb|pyodbc)\.connect",
        r"psycopg_pool\.(Null)?ConnectionPool|psycopg2\.pool\.\w+ConnectionPool",
        r"pymongo\.MongoClient|(redis\.(Strict)?Redis|redis\.(Strict)?Redis\.from_url)\.\w+",
        r"sqlalchemy\.(\w+\.)*create_engine\.(connect|begin|execute|raw_connection)",
        r"flask_sqlalchemy\.SQLAlchemy\.(create_all|drop_all|reflect)",
        r"sqlalchemy\.(\w+\.)*MetaData\.(create_all|reflect)",
    ),
    _hazard(
        Code.IMPORT_WAITS,
        Severity.WARNING,
        "waits while it is imported, and the start of every worker with it",
        FUNCTION,
        r"time\.sleep|input|signal\.pause|eventlet\.sleep|gevent\.sleep",
    ),
    _hazard(
        Code.IMPORT_CHANGES_PROCESS,
        Severity.WARNING,
        "changes the whole process while it is imported",
        "take it out: the server and every other blueprint get it, too",
        r"signal\.(signal|alarm|setitimer)|os\.(chdir|umask|setuid|setgid|nice)|atexit\.register",
        r"socket\.setdefaulttimeout|locale\.setlocale|sys\.(setrecursionlimit|settrace)",
        r"logging\.(basicConfig|disable|config\.\w+)|logging\.shutdown|faulthandler\.\w+",
    ),
    _hazard(
        Code.OWN_APPLICATION,
        Severity.WARNING,
        "makes a Flask application of its own, whose routes and hooks are not served",
        "give its routes to a blueprint",
        r"flask\.(app\.)?Flask",
    ),
)
#: One look at each call decides whether any of them is meant.
_ANY = re.compile("|".join(f"(?:{hazard.calls.pattern})" for hazard in AT_IMPORT))
#: What a blueprint registers for every request of the application.
APPLICATION_HOOKS = frozenset(
    {
        *("before_app_request", "after_app_request", "teardown_app_request", "app_errorhandler"),
        *("app_context_processor", "app_url_value_preprocessor", "app_url_defaults", "record"),
        *("record_once", "before_app_first_request"),
    }
)


def hazards_of(file: str, outline: Outline) -> Iterator[Finding]:
    """What will hurt in a file: what it does when it is imported, and what it does to others."""
    for node in outline.nodes(outline.at_import()):
        called = node.exc if isinstance(node, ast.Raise) else node
        if isinstance(node, ast.Call | ast.Raise) and isinstance(called, ast.Call | ast.Name):
            name = outline.full_name(called)
            yield from (
                Finding(
                    *(hazard.severity, hazard.code, f"{name} {hazard.what}", hazard.advice),
                    file=file,
                    line=node.lineno,
                    subject=name,
                )
                for hazard in AT_IMPORT
                if _ANY.fullmatch(name) and hazard.calls.fullmatch(name)
            )
        elif isinstance(node, ast.ImportFrom) and any(one.name == "*" for one in node.names):
            module = "." * node.level + (node.module or "")
            message = f"imports * from {module}: what that brings shows only when it runs"
            advice = "import the names that it uses"
            yield warning(Code.STAR_IMPORT, message, advice, file, node.lineno, subject=module)
    for node in outline.everywhere:
        if isinstance(node, ast.Attribute) and node.attr in APPLICATION_HOOKS:
            yield _hook(file, node)


def _hook(file: str, node: ast.Attribute) -> Finding:
    if node.attr == "before_app_first_request":
        message, advice = f"Flask has no {node.attr} any more", "mend the code"
        return error(Code.APPLICATION_HOOK, message, advice, file, node.lineno, subject=node.attr)
    message = f"{node.attr} acts on every request of the application, not on this blueprint's alone"
    advice = "it never runs at the core addresses; where it is meant for its own, drop the app_"
    return warning(Code.APPLICATION_HOOK, message, advice, file, node.lineno, subject=node.attr)
