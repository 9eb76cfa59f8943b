"""What the pages for people have in common."""

from __future__ import annotations

#: A page loads its own style sheets and icon, and nothing else from anywhere.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
