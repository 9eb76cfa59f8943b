"""Write the table of import names from the lists that other projects ship.

    python -m tools.names

pigar's database says which modules a distribution brings, guarddog's list which distributions are
the most downloaded. Both are downloaded by pip, in the versions below, and neither is run.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.kinds.dependency.facts.names import TABLE
from app.kinds.dependency.facts.standard import REMOVED
from app.kinds.dependency.requirements import normalize

PIGAR, GUARDDOG = "pigar==2.2.0", "guarddog==3.2.0"
OVERRIDES = Path(__file__).with_name("names.toml")
HEADER = f"""\
# Import names and the distributions that bring them; written by `python -m tools.names`.
# Name, distributions with the likeliest first, and a distribution of that very name which is
# another project. A name with `*` is a namespace, and has the distributions that share it.
# Facts from {PIGAR} (BSD-3-Clause: what each distribution brings), {GUARDDOG} (Apache-2.0:
# the most downloaded distributions) and tools/names.toml.
"""
#: How many of the most downloaded distributions count.
MOST_DOWNLOADED = 8000
#: A second distribution of a name is named when it is among the most downloaded, or nearly so.
AT_MOST, WIDELY_USED, TIMES_RARER = 3, 3000, 20
#: So many distributions that begin with a name make it a namespace.
NAMESPACE = 4
#: Directories that were packed by mistake: they say nothing of who brings a module.
PACKED_BY_MISTAKE = re.compile(
    r"(api|benchmark|client|config|constant|doc|example|exception|handler|helper|model|plugin"
    r"|requirement|resource|route|sample|schema|script|server|service|setting|template|test|tool"
    r"|tutorial|util|view)s?"
    r"|app|bin|build|build_tools|ci|cli|com|common|core|cpp|data|database|db|dist|include|lib|main"
    r"|misc|node_modules|setup|src|test_utils|testapp|testing|third_party|version|wheelhouse"
)


def read_sources(directory: Path) -> tuple[dict[str, set[str]], list[str]]:
    """What each distribution brings, by normalized name, and the most downloaded ones in order."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    subprocess.run([*command, ":all:", "--dest", directory, PIGAR, GUARDDOG], check=True)
    for wheel in directory.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
    database = sqlite3.connect(directory / "pigar" / ".db.sqlite3")
    modules: dict[str, set[str]] = defaultdict(set)
    for (distribution,) in database.execute("SELECT name FROM distributions"):
        modules[normalize(distribution)] = set()
    query = (
        "SELECT d.name, m.name FROM top_level_module_names m"
        " JOIN distributions d ON d.id = m.distribution_id"
    )
    for distribution, module in database.execute(query):
        modules[normalize(distribution)].add(module)
    database.close()
    (ranking,) = directory.rglob("top_pypi_packages.json")
    return modules, [normalize(name) for name in json.loads(ranking.read_text())["packages"]]


def table(
    modules: Mapping[str, Iterable[str]], ranking: list[str], overrides: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Import name to distributions; a namespace has a ``*`` behind its name."""
    rank = {name: place for place, name in reversed([*enumerate(ranking[:MOST_DOWNLOADED])])}
    bringing: dict[str, list[str]] = defaultdict(list)
    for distribution in rank:
        for module in modules.get(distribution, ()):
            if re.fullmatch(r"[A-Za-z_]\w*", module) and not PACKED_BY_MISTAKE.fullmatch(module):
                bringing[module].append(distribution)
    found = {}
    for module, distributions in bringing.items():
        if module in REMOVED or module in sys.stdlib_module_names:
            continue
        best, *others = sorted(distributions, key=rank.__getitem__)
        own = normalize(module)
        sharing = [name for name in rank if name.startswith(f"{own}-")]
        if best == own:
            # What else has a directory of that name adds plug-ins to it.
            found[module] = [best]
        elif others and len(sharing) >= NAMESPACE and best in sharing:
            found[f"{module}*"] = sorted(sharing)
        else:
            limit = max(WIDELY_USED, rank[best] * TIMES_RARER)
            found[module] = [best, *(name for name in others if rank[name] <= limit)][:AT_MOST]
    return {**found, **overrides}


def main() -> None:
    """Download the lists and write the table."""
    with tempfile.TemporaryDirectory() as directory:
        modules, ranking = read_sources(Path(directory))
    overrides = tomllib.loads(OVERRIDES.read_text())
    lines = []
    for name, distributions in sorted(table(modules, ranking, overrides["distributions"]).items()):
        own = normalize(name)
        exists = own in modules and "." not in name and "*" not in name
        other = overrides["others"].get(name, own if exists and own != distributions[0] else "")
        named = [distribution for distribution in distributions if distribution != other]
        lines.append("\t".join((name, " ".join(named), *filter(None, [other]))))
    TABLE.write_text(HEADER + "\n".join(lines) + "\n", encoding="ascii")
    print(f"{TABLE.name}: {len(lines)} names, {TABLE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
