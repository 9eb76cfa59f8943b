"""What heals of this kind come from: an installer, and wheels in a wheelhouse or from an index."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import IO
from urllib.parse import urlsplit, urlunsplit

from app.healing.report import Check
from app.kinds.dependency.installer.configuration import named_index
from app.kinds.dependency.installer.tools import TOOL_PATIENCE, Tools
from app.settings.declarations import HealingSettings

#: Seconds that the index may take for each step of an answer.
PATIENCE = 5.0
#: Seconds that the whole look may take: an installer may hang, too.
LOOK = PATIENCE + 2 * TOOL_PATIENCE + 1.0
NO_INSTALLER = (
    "neither uv nor pip is available to this interpreter: install uv into the environment"
)
UNREACHABLE = "the package index does not answer, so nothing can be healed: check its address"
FAILING = "the package index answers with an error of its own, so nothing can be healed"
EMPTY = "the wheelhouse cannot be read or holds no wheel, so nothing can be healed"
_SERVER_ERROR, _NOT_IMPLEMENTED = 500, 501


def source_checks(settings: HealingSettings, tools: Tools) -> Iterable[Check]:
    """Whether there is anything to install with, and anything to install from.

    Nobody is asked where neither a wheelhouse nor an index is named. No text holds the address.
    """
    yield _check("installer", "installer", *_installer_trouble(tools))
    if settings.wheelhouse is not None:
        try:
            full = any(path.suffix == ".whl" for path in settings.wheelhouse.iterdir())
        except OSError:
            full = False
        found = () if full else ("wheelhouse_empty", EMPTY)
        yield _check("package_source", "wheelhouse", *found)
        return
    here = tools.here()
    address = named_index(here[0].name, tools.environ) if here else None
    if address is not None and address.lower().startswith(("http://", "https://")):
        yield _check("package_source", "index", *_ask(address))


def _installer_trouble(tools: Tools) -> tuple[str, str] | tuple[()]:
    """Reason and advice; nothing when the preferred tool works."""
    broken: list[str] = []
    for tool in tools.preferred():
        if tools.examine(tool) is None:
            break
        broken.append(tool.name)
    else:
        if not broken:
            return "installer_missing", NO_INSTALLER
        return "installer_broken", f"{' and '.join(broken)} cannot be run: install uv again"
    if broken:
        return "installer_broken", f"{broken[0]} does not work: {tool} installs in its place"
    return ()


def _ask(address: str) -> tuple[str, str] | tuple[()]:
    """Reason and advice; nothing when somebody answers.

    A refusal is an answer: an index may want credentials, which are not sent, or know projects
    alone. So is a certificate that Python does not trust: installers have settings of their own.
    """
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        parts = urlsplit(address)
        bare = urlunsplit((*parts[:1], parts.netloc.rpartition("@")[2], parts.path, "", ""))
        headers = {"User-Agent": "royal-equips-orchestrator"}
        # The caller lets http and https through alone.
        request = urllib.request.Request(bare, headers=headers, method="HEAD")  # noqa: S310
        with opener.open(request, timeout=PATIENCE):
            return ()
    except urllib.error.HTTPError as answer:
        answer.close()
        failing = answer.code >= _SERVER_ERROR and answer.code != _NOT_IMPLEMENTED
        return ("index_failing", FAILING) if failing else ()
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            return ()
        return "index_unreachable", UNREACHABLE


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer that it is."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """Follow none."""
        return


def _check(name: str, kind: str, reason: str | None = None, advice: str | None = None) -> Check:
    return Check(
        name=name, kind=kind, subject=kind, ok=reason is None, reason=reason, advice=advice
    )
