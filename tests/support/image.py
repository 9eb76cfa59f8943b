"""What of this checkout is in the image: copies of it are made of the same files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from app.doctor.image import ignore_lines, left_out_by
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def copy_image(root: Path, *ignored: str) -> Path:
    """Copy it, packages of the owner included, without what these patterns name."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ignore_lines(ROOT)
    for source in ROOT.iterdir():
        if left_out_by(lines, source.name) is not None:
            continue
        if source.is_dir():
            shutil.copytree(source, root / source.name, ignore=shutil.ignore_patterns(*ignored))
        else:
            shutil.copy(source, root)
    return root
