"""What compiled code says when it cannot be loaded, and which packages of a system mend that.

The words are those of the C library (glibc, musl), of ``ctypes`` and cffi, and of packages whose
binaries check each other: NumPy and protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: The words for a library that is not there; the group is its name, with or without ``.so``.
MISSING = re.compile(
    r"([\w.+-]+\.so[\w.]*): cannot open shared object file"
    r"|Error loading shared library ([\w.+-]+): No such file"
    r"|cannot load library '([\w.+-]+)'"
    r"|no library called \"([\w.+-]+)\" was found"
    r"|[Cc]ould not find (?:lib|library) ([\w.+-]+\.so[\w.]*)"
    r"|[Ff]ailed to find (libmagic)|(libpq) library not found"
    r"|[Uu]nable to find (zbar|magic) (?:shared|library)"
    r"|(sndfile|PortAudio) library not found"
)
#: psycopg's words where it does not say why.
NO_LIBPQ = "no pq wrapper available"
NEEDS = re.compile(r"version `(GLIBC|GLIBCXX|CXXABI)_([\d.]+)' not found")
DAMAGED = re.compile(
    r"undefined symbol|symbol not found|shared object|\bELF\b|file too short|DLL load failed"
    r"|dynamic module does not define|incompatible architecture|not a valid Win32"
    r"|Error relocating|cannot allocate memory in static TLS block"
)
#: Words of a package whose binaries or generated code were made for another version of it.
MISFITS = {
    "numpy": re.compile(
        r"numpy\.\w+ size changed|numpy\.core\.\w+ failed to import|compiled using NumPy 1"
        r"|_ARRAY_API not found|compiled against (?:API|ABI) version|needs NumPy [\d.]+ or less"
    ),
    "protobuf": re.compile(
        r"Descriptors cannot (?:not )?be created directly|Protobuf Gencode/Runtime"
    ),
    "pydantic-core": re.compile(r"pydantic-core version .* is incompatible"),
}
#: The modules of those distributions.
MISFIT_MODULES = {
    "numpy": "numpy",
    "protobuf": "google",
    "pydantic-core": "pydantic_core",
}

#: The start of a library's name, without ``lib``, to the packages of Debian and Alpine with it.
SYSTEM_PACKAGES = {
    "EGL": ("libegl1", "mesa-egl"),
    "GL": ("libgl1", "mesa-gl"),
    "SM": ("libsm6", "libsm"),
    "X11": ("libx11-6", "libx11"),
    "Xext": ("libxext6", "libxext"),
    "Xrender": ("libxrender1", "libxrender"),
    "asound": ("libasound2", "alsa-lib"),
    "aio": ("libaio1", "libaio"),
    "cairo": ("libcairo2", "cairo"),
    "crypt": ("libcrypt1", "libxcrypt"),
    "curl": ("libcurl4", "libcurl"),
    "enchant-2": ("libenchant-2-2", "enchant2"),
    "ffi": ("libffi8", "libffi"),
    "fontconfig": ("libfontconfig1", "fontconfig"),
    "freetype": ("libfreetype6", "freetype"),
    "gcc_s": ("libgcc-s1", "libgcc"),
    "gdk_pixbuf-2.0": ("libgdk-pixbuf-2.0-0", "gdk-pixbuf"),
    "geos_c": ("libgeos-c1v5", "geos"),
    "gfortran": ("libgfortran5", "libgfortran"),
    "glib-2.0": ("libglib2.0-0", "glib"),
    "gobject-2.0": ("libglib2.0-0", "glib"),
    "gomp": ("libgomp1", "libgomp"),
    "gssapi_krb5": ("libgssapi-krb5-2", "krb5-libs"),
    "gthread-2.0": ("libglib2.0-0", "glib"),
    "harfbuzz": ("libharfbuzz0b", "harfbuzz"),
    "jpeg": ("libjpeg62-turbo", "libjpeg-turbo"),
    "magic": ("libmagic1", "libmagic"),
    "mariadb": ("libmariadb3", "mariadb-connector-c"),
    "memcached": ("libmemcached11", "libmemcached-libs"),
    "mysqlclient": ("default-libmysqlclient-dev", "mariadb-connector-c"),
    "odbc": ("unixodbc", "unixodbc"),
    "openblas": ("libopenblas0", "openblas"),
    "openjp2": ("libopenjp2-7", "openjpeg"),
    "pango-1.0": ("libpango-1.0-0", "pango"),
    "pangocairo-1.0": ("libpangocairo-1.0-0", "pango"),
    "pangoft2-1.0": ("libpangoft2-1.0-0", "pango"),
    "portaudio": ("libportaudio2", "portaudio"),
    "pq": ("libpq5", "libpq"),
    "rdkafka": ("librdkafka1", "librdkafka"),
    "snappy": ("libsnappy1v5", "snappy"),
    "sndfile": ("libsndfile1", "libsndfile"),
    "sodium": ("libsodium23", "libsodium"),
    "sqlite3": ("libsqlite3-0", "sqlite-libs"),
    "stdc++": ("libstdc++6", "libstdc++"),
    "tk8.6": ("libtk8.6", "tk"),
    "usb-1.0": ("libusb-1.0-0", "libusb"),
    "vips": ("libvips42", "vips"),
    "webp": ("libwebp7", "libwebp"),
    "xml2": ("libxml2", "libxml2"),
    "xmlsec1": ("libxmlsec1", "xmlsec"),
    "xslt": ("libxslt1.1", "libxslt"),
    "zbar": ("libzbar0", "zbar"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryTrouble:
    """Why compiled code cannot be loaded; a library, a version or a distribution says what of.

    ``library`` is a shared library that is not there. ``needs`` is what the C or C++ library
    lacks, such as ``GLIBC 2.34``. ``misfit`` is the distribution that others were built against in
    another version. With none of them, the code itself does not fit.
    """

    library: str | None = None
    needs: str | None = None
    misfit: str | None = None

    @property
    def packages(self) -> str:
        """The packages of Debian and Alpine that bring the library, as a person reads them."""
        stem = re.sub(r"\.so.*$", "", self.library or "").removeprefix("lib").lower()
        found = [
            name
            for name in SYSTEM_PACKAGES
            # ``gobject-2.0-0`` is how Windows calls ``libgobject-2.0.so.0``.
            if stem == name.lower() or re.fullmatch(rf"{re.escape(name.lower())}-\d+", stem)
        ]
        if not found:
            return ""
        debian, alpine = SYSTEM_PACKAGES[found[0]]
        return f"Debian {debian}, Alpine {alpine}"


def read_trouble(texts: Iterable[str]) -> BinaryTrouble | None:
    """What the words of one of some exceptions say of compiled code; None when they say nothing."""
    for text in texts:
        for distribution, words in MISFITS.items():
            if words.search(text):
                return BinaryTrouble(misfit=distribution)
        if match := MISSING.search(text):
            return BinaryTrouble(library=next(filter(None, match.groups())))
        if NO_LIBPQ in text:
            return BinaryTrouble(library="libpq")
        if match := NEEDS.search(text):
            return BinaryTrouble(needs=f"{match[1]} {match[2]}")
        if DAMAGED.search(text):
            return BinaryTrouble()
    return None
