"""Modules that left the standard library, or the distribution that brought them."""

from __future__ import annotations

#: Those of the standard library, by the version of Python that no longer has them (PEP 632,
#: PEP 594, and the "Removed" sections of What's New in Python 3.10 to 3.13). The table of names
#: says which distribution brings one back.
REMOVED = {
    **dict.fromkeys(("formatter", "parser", "symbol"), "3.10"),
    "binhex": "3.11",
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.12"),
    **dict.fromkeys(
        (
            *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap"),
            *("msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau"),
            *("telnetlib", "uu", "xdrlib"),
        ),
        "3.13",
    ),
}
#: Those of a distribution: the first version that no longer brings it.
LEFT = {"pkg_resources": ("setuptools", "82")}
