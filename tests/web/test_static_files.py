"""Files of the pages: compressed for who takes that, the same file for everybody."""

from __future__ import annotations

import gzip
import mimetypes

import pytest
from flask.testing import FlaskClient

FILE = "/static/htmx.min.js"


@pytest.mark.parametrize("type_", ["text/javascript", "application/javascript"])
def test_compressed_for_who_takes_it(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    """A third of the bytes, the same file, and its own version, whatever Python calls a script."""
    monkeypatch.setitem(mimetypes.types_map, ".js", type_)
    plain = client.get(FILE)
    packed = client.get(FILE, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 2
    assert packed.headers["ETag"] != plain.headers["ETag"]
    for response in (plain, packed):
        assert "Accept-Encoding" in response.headers["Vary"]


def test_a_part_is_a_part_of_the_file(client: FlaskClient) -> None:
    """Who asks for a range gets bytes of the file itself."""
    plain = client.get(FILE).data
    headers = {"Range": "bytes=0-9", "Accept-Encoding": "gzip"}
    part = client.get(FILE, headers=headers)
    assert (part.status_code, part.data) == (206, plain[:10])


def test_who_has_it(client: FlaskClient) -> None:
    """The compressed file's tag comes back as 304."""
    headers = {"Accept-Encoding": "gzip"}
    tag = client.get(FILE, headers=headers).headers["ETag"]
    again = client.get(FILE, headers={**headers, "If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
