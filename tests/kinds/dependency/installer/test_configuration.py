"""What of an operator's settings reaches the installers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.kinds.dependency.installer.configuration import named_index, tool_environ


class TestNamedIndex:
    """Which index an installer is told to use."""

    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        """A home directory of its own."""
        return {"HOME": str(tmp_path)}

    @pytest.mark.parametrize(
        ("tool", "variable"),
        [("uv", "UV_DEFAULT_INDEX"), ("uv", "UV_INDEX_URL"), ("pip", "PIP_INDEX_URL")],
    )
    def test_environment(self, environ: dict[str, str], tool: str, variable: str) -> None:
        """Each tool has its own variables; the other one is told the same index."""
        environ |= {"UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull}
        environ[variable] = " https://index.example.com/simple "
        assert named_index(tool, environ) == "https://index.example.com/simple"
        other = {"uv": "pip", "pip": "uv"}[tool]
        assert named_index(other, environ) == "https://index.example.com/simple"

    @pytest.mark.parametrize(
        "text",
        [
            'index-url = "https://i.example.com"',
            '[pip]\nindex-url = "https://i.example.com"',
            """
            index = [
                {url = "https://more.example.com"},
                {url = "https://i.example.com", default = true},
            ]
            """,
        ],
    )
    def test_uv_file(self, environ: dict[str, str], tmp_path: Path, text: str) -> None:
        """The user's file counts, unless the environment says that none does."""
        file = tmp_path / ".config/uv/uv.toml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        assert named_index("uv", environ) == "https://i.example.com"
        assert named_index("uv", {**environ, "UV_NO_CONFIG": "true"}) is None
        moved = file.rename(tmp_path / "other.toml")
        assert named_index("uv", {**environ, "UV_CONFIG_FILE": str(moved)})

    @pytest.mark.parametrize("section", ["global", "install"])
    def test_pip_file(self, environ: dict[str, str], tmp_path: Path, section: str) -> None:
        """The user's file counts, and one that the environment names more."""
        file = tmp_path / ".config/pip/pip.conf"
        file.parent.mkdir(parents=True)
        file.write_text(f"[{section}]\nindex-url = https://i.example.com/%(x)s\n")
        assert named_index("pip", environ) == "https://i.example.com/%(x)s"
        given = tmp_path / "given.conf"
        given.write_text(f"[{section}]\nindex-url = https://given.example.com\n")
        chosen = {**environ, "PIP_CONFIG_FILE": str(given)}
        assert named_index("pip", chosen) == "https://given.example.com"
        assert named_index("pip", {**environ, "PIP_CONFIG_FILE": os.devnull}) is None

    @pytest.mark.parametrize(
        "content", [b"\xff", b"[", b"index-url", b"index = 1", b"pip = 1", b""]
    )
    def test_broken_files(self, environ: dict[str, str], tmp_path: Path, content: bytes) -> None:
        """A file that is none names nothing."""
        file = tmp_path / "given"
        file.write_bytes(content)
        assert named_index("uv", {**environ, "UV_CONFIG_FILE": str(file)}) is None
        environ["PIP_INDEX_URL"] = "https://i.example.com"
        assert named_index("pip", {**environ, "PIP_CONFIG_FILE": str(file)})


def given(tool: str, **environ: str) -> dict[str, str]:
    """Return what a tool is told, on a host without configuration files."""
    none = {"HOME": "/nothing/here", "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    found = tool_environ(tool, {**none, **environ})
    return {name: value for name, value in found.items() if name not in none}


class TestPassedOn:
    """What one tool alone is configured with, the other one gets too."""

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ({"PIP_INDEX_URL": "https://a/"}, {"UV_DEFAULT_INDEX": "https://a/"}),
            (
                {"PIP_EXTRA_INDEX_URL": "https://a/ https://b/"},
                {
                    "UV_EXTRA_INDEX_URL": "https://a/ https://b/",
                    "UV_INDEX_STRATEGY": "unsafe-best-match",
                },
            ),
            ({"PIP_FIND_LINKS": "/a /b"}, {"UV_FIND_LINKS": "/a,/b"}),
            ({"PIP_TRUSTED_HOST": "a b:80"}, {"UV_INSECURE_HOST": "a b:80"}),
            ({"PIP_CERT": "/a.pem"}, {"SSL_CERT_FILE": "/a.pem"}),
            ({"PIP_CLIENT_CERT": "/a.pem"}, {"SSL_CLIENT_CERT": "/a.pem"}),
            ({"PIP_PROXY": "http://a:1"}, {"ALL_PROXY": "http://a:1"}),
            ({"PIP_TIMEOUT": "7"}, {"UV_HTTP_TIMEOUT": "7"}),
            ({"PIP_RETRIES": "0"}, {"UV_HTTP_RETRIES": "0"}),
            ({"PIP_NO_INDEX": "1"}, {"UV_OFFLINE": "1"}),
            ({"PIP_KEYRING_PROVIDER": "subprocess"}, {"UV_KEYRING_PROVIDER": "subprocess"}),
        ],
    )
    def test_from_pip_to_uv(self, ours: dict[str, str], theirs: dict[str, str]) -> None:
        """In the words of uv, which knows none of pip's."""
        assert given("uv", **ours) == theirs

    def test_bundles_of_the_clients(self) -> None:
        """What pip's own client takes its certificates from counts for uv."""
        environ = {"REQUESTS_CA_BUNDLE": "/a.pem"}
        assert given("uv", **environ) == {**environ, "SSL_CERT_FILE": "/a.pem"}
        assert given("pip", **environ) == {**environ, "PIP_CERT": "/a.pem"}

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ({"UV_DEFAULT_INDEX": "https://a/"}, {"PIP_INDEX_URL": "https://a/"}),
            ({"UV_INDEX_URL": "https://a/"}, {"PIP_INDEX_URL": "https://a/"}),
            ({"UV_DEFAULT_INDEX": "corp=https://a/"}, {"PIP_INDEX_URL": "https://a/"}),
            (
                {"UV_INDEX": "x=https://a/ https://b/", "UV_EXTRA_INDEX_URL": "https://c/"},
                {"PIP_EXTRA_INDEX_URL": "https://c/ https://a/ https://b/"},
            ),
            (
                {
                    "UV_INDEX": "x-y=https://a/",
                    "UV_INDEX_X_Y_USERNAME": "me",
                    "UV_INDEX_X_Y_PASSWORD": "p@ss",
                },
                {"PIP_EXTRA_INDEX_URL": "https://me:p%40ss@a/"},
            ),
            ({"UV_FIND_LINKS": "/a,/b"}, {"PIP_FIND_LINKS": "/a /b"}),
            ({"UV_INSECURE_HOST": "a b:80"}, {"PIP_TRUSTED_HOST": "a b:80"}),
            ({"UV_HTTP_TIMEOUT": "7"}, {"PIP_TIMEOUT": "7"}),
            ({"UV_OFFLINE": "1"}, {"PIP_NO_INDEX": "1"}),
        ],
    )
    def test_from_uv_to_pip(self, ours: dict[str, str], theirs: dict[str, str]) -> None:
        """In the words of pip; addresses without the names that only uv gives them."""
        assert given("pip", **ours) == theirs

    @pytest.mark.parametrize(
        ("tool", "given_to_it", "of_the_other"),
        [
            ("uv", {"UV_DEFAULT_INDEX": "https://a/"}, {"PIP_EXTRA_INDEX_URL": "https://b/"}),
            ("uv", {"UV_FIND_LINKS": "/a"}, {"PIP_INDEX_URL": "https://b/"}),
            ("pip", {"PIP_INDEX_URL": "https://a/"}, {"UV_FIND_LINKS": "/b"}),
            ("pip", {"PIP_NO_INDEX": "1"}, {"UV_DEFAULT_INDEX": "https://b/"}),
        ],
    )
    def test_places_are_not_mixed(
        self, tool: str, given_to_it: dict[str, str], of_the_other: dict[str, str]
    ) -> None:
        """A tool that is told itself where files come from gets no place of the other one's."""
        assert given(tool, **given_to_it, **of_the_other) == given_to_it

    def test_certificates_and_proxies(self) -> None:
        """What both look at stays; pip looks at the proxies' variables by itself."""
        environ = {"SSL_CERT_FILE": "/a.pem", "HTTPS_PROXY": "http://a:1", "NO_PROXY": "b"}
        assert given("pip", **environ) == {**environ, "PIP_CERT": "/a.pem"}
        assert given("uv", PIP_PROXY="http://b:1", **environ) == environ

    @pytest.mark.parametrize("tool", ["uv", "pip"])
    def test_its_own_word_counts_more(self, tool: str) -> None:
        """A tool that is configured itself gets nothing else."""
        environ = {"UV_DEFAULT_INDEX": "https://u/", "PIP_INDEX_URL": "https://p/"}
        own = {"uv": "UV_DEFAULT_INDEX", "pip": "PIP_INDEX_URL"}[tool]
        assert given(tool, **environ) == {own: environ[own]}

    def test_files(self, tmp_path: Path) -> None:
        """What a file of one tool says reaches the other one, but nothing that is not honoured."""
        pip, uv = tmp_path / ".config/pip/pip.conf", tmp_path / ".config/uv/uv.toml"
        for path in (pip, uv):
            path.parent.mkdir(parents=True)
        pip.write_text("[global]\nuser = true\nextra_index_url =\n  https://a/\n  https://b/\n")
        environ = {"HOME": str(tmp_path)}
        told = tool_environ("uv", environ)
        assert told["UV_EXTRA_INDEX_URL"] == "https://a/ https://b/"
        pip.write_text("[install]\ntarget = /elsewhere\ncert = /a.pem\n")
        uv.write_text('[[index]]\nurl = "https://u/"\ndefault = true\n')
        assert tool_environ("pip", environ) == {
            **environ,
            "PIP_CERT": "/a.pem",
            "PIP_INDEX_URL": "https://u/",
            "PIP_CONFIG_FILE": os.devnull,
        }


class TestHonoured:
    """Settings that fight the command line of a heal are dropped."""

    @pytest.mark.parametrize("tool", ["uv", "pip"])
    def test_what_fights_is_dropped(self, tool: str) -> None:
        """Neither tool gets what would install elsewhere, otherwise, or unverified."""
        fighting = (
            *("UV_NO_VERIFY_HASHES", "UV_COMPILE_BYTECODE", "UV_CONSTRAINT", "UV_PROJECT"),
            *("UV_EXCLUDE_NEWER", "UV_SYSTEM_PYTHON", "UV_LINK_MODE", "PIP_USER", "PIP_PREFIX"),
            *("PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_ROOT", "PIP_DRY_RUN", "PIP_NO_BINARY"),
        )
        assert given(tool, **dict.fromkeys(fighting, "1")) == {}

    def test_caches_and_clients_stay(self) -> None:
        """Where it caches and how it connects is the operator's business."""
        uv = {"UV_CACHE_DIR": "/c", "UV_NO_CACHE": "1", "UV_HTTP_TIMEOUT": "7", "UV_NATIVE_TLS": ""}
        assert given("uv", **uv) == uv
        pip = {"PIP_CACHE_DIR": "/c", "PIP_NO_CACHE_DIR": "1", "PIP_USE_FEATURE": "x"}
        assert given("pip", **pip) == pip
