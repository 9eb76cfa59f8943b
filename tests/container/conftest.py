"""The images that the container tests share; built once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.container.docker import built, built_without_aiohttp, engine_answers
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip where no Docker engine answers; CI counts that as a failure."""
    if not engine_answers():
        pytest.skip("no Docker engine answers")


@pytest.fixture(scope="session")
def image(engine: None) -> Iterator[str]:  # noqa: ARG001 - it has to be there
    """The image of this checkout."""
    with built(ROOT, "image") as tag:
        yield tag


@pytest.fixture(scope="session")
def faulty_image(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: ARG001
    """The image with the original fault: its requirements do not list aiohttp."""
    with built_without_aiohttp(tmp_path_factory.mktemp("context")) as tag:
        yield tag
