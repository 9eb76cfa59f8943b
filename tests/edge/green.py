"""Runs pytest in a process that eventlet has patched: ``python -m tests.edge.green ARGUMENTS``."""

from __future__ import annotations

import sys
import warnings

with warnings.catch_warnings():
    # That eventlet is deprecated is known: it is why its worker is.
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
