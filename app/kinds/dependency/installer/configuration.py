"""What the installers are told of an operator's settings: index, proxy, certificates and cache.

Nothing else: a heal says on its command line what is to be done, and a setting that says otherwise
(``PIP_USER``, ``UV_COMPILE_BYTECODE``, a constraint, hashes that are not to be verified) would make
it fail, or do something else. What one tool alone is configured with, the other one gets too.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from app.settings.variable import YES

#: pip's options that are honoured, whether a variable or a file has them.
PIP_HONOURED = frozenset(
    {
        *("index-url", "extra-index-url", "no-index", "find-links", "trusted-host"),
        *("cert", "client-cert", "proxy", "no-proxy-env", "keyring-provider"),
        *("timeout", "default-timeout", "retries", "resume-retries"),
        *("cache-dir", "no-cache-dir", "use-feature", "use-deprecated"),
    }
)
#: uv's variables that are honoured; its own files are read by itself.
UV_HONOURED = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX(_.*)?|EXTRA_INDEX_URL|FIND_LINKS|INSECURE_HOST|KEYRING_PROVIDER"
    r"|NATIVE_TLS|SYSTEM_CERTS|OFFLINE|HTTP_.*|REQUEST_TIMEOUT|CACHE_DIR|NO_CACHE|CONCURRENT_.*"
    r"|CREDENTIALS_DIR|CONFIG_FILE|NO_CONFIG)"
)
#: What clients of pip's kind read a bundle of certificates from.
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Shared:
    """A setting that both tools have: pip's option, uv's variables, and what uv separates by."""

    pip: str
    uv: tuple[str, ...]
    separator: str = " "


INDEX = Shared("index-url", ("UV_DEFAULT_INDEX", "UV_INDEX_URL"))
EXTRA = Shared("extra-index-url", ("UV_EXTRA_INDEX_URL", "UV_INDEX"))
LINKS = Shared("find-links", ("UV_FIND_LINKS",), ",")
NO_INDEX = Shared("no-index", ("UV_OFFLINE",))
#: Where files come from: a tool that is told one of these is told all that it needs, and an index
#: of one beside a directory of the other is what nobody has configured.
PLACES = frozenset({INDEX, EXTRA, LINKS, NO_INDEX})
#: pip itself looks at these variables, and at ``NO_PROXY``.
PROXY = Shared("proxy", ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"))
SHARED = (
    INDEX,
    EXTRA,
    LINKS,
    Shared("trusted-host", ("UV_INSECURE_HOST",)),
    Shared("cert", ("SSL_CERT_FILE",)),
    Shared("client-cert", ("SSL_CLIENT_CERT",)),
    PROXY,
    Shared("timeout", ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT")),
    Shared("retries", ("UV_HTTP_RETRIES",)),
    Shared("keyring-provider", ("UV_KEYRING_PROVIDER",)),
    NO_INDEX,
)


def tool_environ(tool: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which ``uv`` or ``pip`` installs."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("UV_", "PIP_")) or (tool == "uv" and UV_HONOURED.fullmatch(name))
    }
    ours, theirs = _pip_settings(environ), _uv_settings(environ)
    if tool == "pip":
        told = any(place.pip in ours for place in PLACES)
        for shared in SHARED:
            if shared is PROXY or (told and shared in PLACES):
                continue
            if shared.pip not in ours and shared in theirs:
                ours[shared.pip] = " ".join(theirs[shared])
        # Its files hold what fights the command line, too: what is honoured of them is in here.
        variables = {f"PIP_{name.upper().replace('-', '_')}": ours[name] for name in ours}
        return {**kept, **variables, "PIP_CONFIG_FILE": os.devnull}
    told = not PLACES.isdisjoint(theirs)
    for shared in SHARED:
        if shared not in theirs and shared.pip in ours and not (told and shared in PLACES):
            kept[shared.uv[0]] = shared.separator.join(ours[shared.pip].split())
            if shared is EXTRA:
                # pip looks at every index, uv only at the first that knows the name.
                kept.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return kept


def named_index(tool: str, environ: Mapping[str, str]) -> str | None:
    """The address that ``uv`` or ``pip`` will install from, None when neither is told one.

    Only what a host is configured with is read: a project's own files count for whoever works in
    it, and installers are run elsewhere. The address may hold credentials. A file that cannot be
    read, or is none of the tool's, counts as absent: the tool itself reports it when it is run.
    """
    pip = _pip_settings(environ).get(INDEX.pip)
    uv = next(iter(_uv_settings(environ).get(INDEX, ())), None)
    return uv or pip if tool == "uv" else pip or uv


def configured_addresses(environ: Mapping[str, str]) -> list[str]:
    """Every word of what the tools are configured with that may be an address."""
    values = [*_pip_settings(environ).values(), *_file_indexes(environ)]
    values += [
        value
        for name, value in environ.items()
        if name.startswith(("UV_", "PIP_")) or name.lower().endswith("_proxy")
    ]
    return [word for value in values for word in value.split()]


# -- uv --------------------------------------------------------------------------------------


def _uv_settings(environ: Mapping[str, str]) -> dict[Shared, tuple[str, ...]]:
    """What uv is configured with of what both tools have; addresses with their credentials."""
    found: dict[Shared, tuple[str, ...]] = {}
    for shared in SHARED:
        texts = [environ.get(name, "") for name in shared.uv]
        if shared is INDEX:
            texts = texts[:1] if texts[0].strip() else texts[1:]
        words = " ".join(texts).replace(shared.separator, " ").split()
        if shared in {INDEX, EXTRA}:
            words = [_with_credentials(word, environ) for word in words]
        if words:
            found[shared] = tuple(words)
    default = tuple(_file_indexes(environ))[:1]
    if default:
        found.setdefault(INDEX, default)
    return found


def _with_credentials(text: str, environ: Mapping[str, str]) -> str:
    """The address of ``NAME=ADDRESS``, with the user and password that variables have for NAME."""
    named = re.fullmatch(r"(?P<name>[\w.-]+)=(?P<address>.+)", text)
    if named is None:
        return text
    address, variable = named["address"], re.sub(r"\W", "_", named["name"]).upper()
    user = environ.get(f"UV_INDEX_{variable}_USERNAME", "")
    password = environ.get(f"UV_INDEX_{variable}_PASSWORD", "")
    parts = urlsplit(address)
    if not (user or password) or "@" in parts.netloc:
        return address
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"
    return urlunsplit(parts._replace(netloc=netloc))


def _file_indexes(environ: Mapping[str, str]) -> Iterator[str]:
    """The default indexes in uv's files, the one that counts first."""
    if environ.get("UV_NO_CONFIG", "").lower() in YES:
        return
    given = environ.get("UV_CONFIG_FILE")
    config = _config_directory(environ)
    for place in [Path(given)] if given else [config / "uv/uv.toml", Path("/etc/uv/uv.toml")]:
        try:
            content = tomllib.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        indexes, section = content.get("index"), content.get("pip")
        tables = indexes if isinstance(indexes, list) else []
        named = [one.get("url") for one in tables if isinstance(one, dict) and one.get("default")]
        named.append(section.get("index-url") if isinstance(section, dict) else None)
        named.append(content.get("index-url"))
        yield from (text.strip() for text in named if isinstance(text, str) and text.strip())


# -- pip -------------------------------------------------------------------------------------


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The honoured options of pip, of its variables before its files."""
    found: dict[str, str] = {}
    if environ.get("PIP_CONFIG_FILE") != os.devnull:
        parser = configparser.RawConfigParser()
        for place in _pip_files(environ):
            with suppress(configparser.Error, OSError, ValueError):
                parser.read(place, encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in environ.items():
        if name.startswith("PIP_"):
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    bundle = next((environ[name] for name in BUNDLES if environ.get(name)), "")
    found.setdefault("cert", bundle)
    return {
        name: value.strip()
        for name, value in found.items()
        if name in PIP_HONOURED and value and value.strip()
    }


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    """The weakest first: what a later file says replaces what one before said."""
    home, given = Path(environ.get("HOME", "/")), environ.get("PIP_CONFIG_FILE")
    shared = environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    places = [Path(directory, "pip/pip.conf") for directory in reversed(shared) if directory]
    places += [Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    places += [_config_directory(environ) / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*places, *([Path(given)] if given else [])]


def _config_directory(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/"), ".config"))
