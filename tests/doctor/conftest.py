"""The checkouts of the commands' tests serve here too."""

from __future__ import annotations

from tests.cli.conftest import checkout, small

__all__ = ["checkout", "small"]
