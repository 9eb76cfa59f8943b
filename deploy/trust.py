"""Adds the certificate authorities that this interpreter's pip trusts to the system's bundle.

pip brings a bundle of its own, uv and Python's ssl read the system's. Behind a proxy that inspects
TLS a base image may have taught only one of them its authority; with one list for all, whatever
one of them can reach the others can.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pip._vendor import certifi

SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def missing(ours: str, theirs: str) -> list[str]:
    """Return the certificates of ``theirs`` that ``ours`` does not hold."""
    known = {"".join(block.split()) for block in CERTIFICATE.findall(ours)}
    return [block for block in CERTIFICATE.findall(theirs) if "".join(block.split()) not in known]


def main() -> int:
    """Extend the system's bundle in place."""
    added = missing(SYSTEM.read_text(), Path(certifi.where()).read_text())
    with SYSTEM.open("a") as bundle:
        bundle.writelines(f"{block}\n" for block in added)
    print(f"{SYSTEM}: {len(added)} added")
    return 0


if __name__ == "__main__":
    sys.exit(main())
