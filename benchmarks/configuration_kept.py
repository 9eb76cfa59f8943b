"""Files of configuration: what following them costs, and what kills of those who keep them cost."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from app.kinds.configuration.declaration import READER, TABLE
from app.kinds.configuration.kind import ConfigurationKind
from app.kinds.configuration.last_good import LastGoods
from app.kinds.environment import variables
from app.kinds.environment.kind import EnvironmentKind
from app.manifest import parse
from benchmarks.harness import Measurement
from tests.kinds.configuration.interruptions import interrupt

VARIABLES, FILES, PASSES = 1000, 200, 300
KILLS = int(os.environ.get("INTERRUPTIONS", "200"))


def measure() -> Iterator[Measurement]:
    """The targets of files of configuration."""
    yield _idle()
    seed = random.randrange(1 << 32)  # noqa: S311 - no secret
    # Each kill leaves a file that cannot be used, which the log would say.
    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory() as place:
            found = interrupt(Path(place), KILLS, seed)
    finally:
        logging.disable(logging.NOTSET)
    yield Measurement(
        what=f"last good versions lost or halved by {KILLS} kills while they are kept and restored",
        rule="exactly",
        target=0,
        measured=found["LOST"] + found["HALF"],
        unit="",
        details={"seed": seed, **found},
    )


def _idle() -> Measurement:
    """The mean of passes that find nothing new, as this thread's processor time."""
    text = "".join(f"[{variables.TABLE}.SHOP_{number}]\n" for number in range(VARIABLES))
    text += "".join(f'[{TABLE}.file{n}]\npath = "{n}.json"\n' for n in range(FILES))
    tables = parse(text, {TABLE: READER, variables.TABLE: variables.READER}).tables
    with TemporaryDirectory() as place:
        for number in range(FILES):
            Path(place, f"{number}.json").write_text("{}")
        declared = tables[variables.TABLE]
        environment = EnvironmentKind(lambda: declared, {}, Path(place, "secrets"))
        files = ConfigurationKind(
            lambda: tables[TABLE], {}, Path(place), LastGoods(Path(place, "home"))
        )
        files.prepare()
        # What is younger than a tick of the file system's clock is read once more.
        time.sleep(0.1)
        files.adopt()
        environment.adopt()
        files.adopt()
        began = time.thread_time()
        for _ in range(PASSES):
            assert not environment.adopt()
            assert not files.adopt()
        took = (time.thread_time() - began) / PASSES
    return Measurement(
        what=f"a pass over {VARIABLES} variables and {FILES} declared files that finds nothing",
        rule="at most",
        target=2.0,
        measured=took * 1000,
        unit="ms",
    )
