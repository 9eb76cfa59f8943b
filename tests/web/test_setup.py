"""How large a body may be and of which type, and what proxies say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.edge_server import MEBIBYTE, edge_server
from tests.support.http import BEARER, Build

FIX = "/api/auto-fix/fix"


def _code(response: TestResponse) -> tuple[int, object]:
    return response.status_code, json.loads(response.data).get("code")


class TestBodies:
    """How large a body may be, and of which type."""

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/xml", "json"],
    )
    def test_wrong_type(self, guarded: FlaskClient, content_type: str) -> None:
        """What is not JSON by its type is 415, and the answer says what is."""
        response = guarded.post(FIX, data="{}", content_type=content_type, headers=BEARER)
        assert _code(response) == (415, "unsupported_media_type")
        assert response.headers["Accept"] == "application/json"

    @pytest.mark.parametrize(
        "content_type",
        [None, "application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"],
    )
    def test_right_type(self, guarded: FlaskClient, content_type: str | None) -> None:
        """JSON by any of its names, or by no name, is read."""
        response = guarded.post(
            FIX, data='{"module": "json"}', content_type=content_type, headers=BEARER
        )
        assert response.status_code == 200

    def test_token_first(self, guarded: FlaskClient) -> None:
        """Who may not change anything learns nothing of the body."""
        assert guarded.post(FIX, data="x" * MEBIBYTE).status_code == 401

    def test_own_routes(self, build: Build) -> None:
        """A view that reads what Flask reads gets a mebibyte, and no large form."""
        app = build()
        app.add_url_rule(
            "/echo", endpoint="echo", view_func=lambda: str(len(request.data)), methods=["POST"]
        )
        app.add_url_rule("/form", view_func=lambda: str(len(request.form)), methods=["POST"])
        client = app.test_client()
        assert client.post("/echo", data=b"x" * MEBIBYTE).text == str(MEBIBYTE)
        assert client.post("/echo", data=b"x" * (MEBIBYTE + 1)).status_code == 413
        assert client.post("/form", data={"a": "x" * 1000}).text == "1"
        many = {f"f{number}": "x" for number in range(101)}
        for form in ({"a": "x" * 70_000}, many):
            kind = "multipart/form-data"
            assert client.post("/form", data=form, content_type=kind).status_code == 413

    def test_edge_calls_have_their_own(self, build: Build, tmp_path: Path) -> None:
        """A function that takes more than this service's own routes gets it."""
        file = tmp_path / "functions.toml"
        with edge_server() as server:
            size = 2 * MEBIBYTE
            file.write_text(
                f"[[function]]\nname = 'f'\nurl = '{server.url}'\nmax_request = {size}\n"
                f"max_response = {3 * size}\n"
            )
            client = build(edge_functions_file=file).test_client()
            path = "/api/edge-functions/f/invoke/a"
            assert client.post(path, data=b"x" * size).status_code == 200
            assert client.post(path, data=b"x" * (size + 1)).status_code == 413


class TestProxies:
    """What a proxy says counts when it is configured."""

    def _seen(self, app: Flask, **headers: str) -> tuple[str, str, str]:
        app.add_url_rule("/seen", view_func=lambda: f"{request.remote_addr} {request.host_url}")
        text = app.test_client().get("/seen", headers=headers).text
        address, _, url = text.partition(" ")
        scheme, _, host = url.partition("://")
        return address, scheme, host.strip("/")

    FORWARDED: dict[str, str] = {  # noqa: RUF012 - read alone
        "X-Forwarded-For": "203.0.113.66, 203.0.113.9",
        "X-Forwarded-Proto": "http, https",
        "X-Forwarded-Host": "forged.example.com, shop.example.com",
    }

    def test_nobody(self, build: Build) -> None:
        """With none configured what a caller forges is not looked at."""
        assert self._seen(build(), **self.FORWARDED) == ("127.0.0.1", "http", "localhost")

    def test_one(self, build: Build) -> None:
        """With one, its own word counts and not what the caller sent before it."""
        seen = self._seen(build(trusted_proxies=1), **self.FORWARDED)
        assert seen == ("203.0.113.9", "https", "shop.example.com")

    def test_two(self, build: Build) -> None:
        """With two, what the first one saw counts."""
        seen = self._seen(build(trusted_proxies=2), **self.FORWARDED)
        assert seen == ("203.0.113.66", "http", "forged.example.com")

    def test_fewer_than_configured(self, build: Build) -> None:
        """A request that came past the proxies is taken as it is."""
        seen = self._seen(build(trusted_proxies=2), **{"X-Forwarded-For": "203.0.113.9"})
        assert seen == ("127.0.0.1", "http", "localhost")
