"""``python -m tests.campaign --minutes M --seed N``: attack after attack until the time is up.

Every kind of home, package and tool has its turn before one comes again. The status is 1 when
something did not hold; what was written then is kept. A seed repeats its attacks, but not the
moments at which the machine's own load lets things happen.
"""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.campaign.attack import Plan, attack
from tests.campaign.homes import HOMES
from tests.campaign.packages import PACKAGES
from tests.campaign.tools import TOOLS


def main() -> int:
    """Read the command line, attack, and print."""
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.minutes:g} minutes", flush=True)
    chance = random.Random(given.seed)  # noqa: S311 - no secret
    draws = zip(turns(HOMES, chance), turns(PACKAGES, chance), turns(TOOLS, chance), strict=True)
    ends, failed, tried = time.monotonic() + 60 * given.minutes, 0, Counter[str]()
    for number, chosen in enumerate(draws, 1):
        if number > 1 and time.monotonic() >= ends:
            break
        plan = Plan.draw(f"{given.seed}/{number}", *chosen)
        tried.update((*chosen, *(name for _, name in plan.signals)))
        failed += not _attacked(number, plan)
    print(f"{number - 1} attacks, {failed} failed; tried:", flush=True)
    for word, count in sorted(tried.items()):
        print(f"  {count:3} {word}")
    return int(failed > 0)


def _attacked(number: int, plan: Plan) -> bool:
    """Attack and print how that went; whether all held."""
    root = Path(tempfile.mkdtemp(prefix="campaign-"))
    begun = time.monotonic()
    result = attack(plan, root)
    took = time.monotonic() - begun
    figures = f"{result.boots} boots, {result.healed} healed, gap {result.longest_gap:.1f} s"
    print(f"{number:4} {plan}\n     {took:.0f} s, {figures}", flush=True)
    for failure in result.failures:
        print(f"     FAILED {failure} (seed {plan.seed}; {root})", flush=True)
    if not result.failures:
        shutil.rmtree(root, ignore_errors=True)
    return not result.failures


def turns(of: Iterable[str], chance: random.Random) -> Iterator[str]:
    """Each one once in an order of chance, and again."""
    names = list(of)
    while True:
        yield from chance.sample(names, len(names))


if __name__ == "__main__":
    sys.exit(main())
