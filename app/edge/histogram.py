"""Latencies as a histogram with log-scaled buckets: small, mergeable, of a known error.

Each bucket is 9% wider than the one before (eight to an octave), so a percentile is at most 4.5%
off, whatever the latencies are. Histograms of several processes add up exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

PER_OCTAVE = 8
#: The buckets that end at about 0.1 ms and at 256 s; what is beyond counts in the last of a side.
FIRST, LAST = -13 * PER_OCTAVE, 8 * PER_OCTAVE
#: Every octave's end, which is exact in binary: what Prometheus is shown.
OCTAVES = range(-10, 8)


def bucket_of(seconds: float) -> int:
    """The number of the bucket that ``seconds`` falls into."""
    if seconds <= 0:
        return FIRST
    return min(LAST, max(FIRST, math.ceil(math.log2(seconds) * PER_OCTAVE)))


def _middle(bucket: int) -> float:
    return float(2 ** ((bucket - 0.5) / PER_OCTAVE))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The latency, in seconds, that a ``share`` of the calls stayed within; None without calls."""
    wanted = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return _middle(bucket)
    return None


def cumulative(counts: Mapping[int, int]) -> Iterator[tuple[float, int]]:
    """For every octave: its end in seconds, and how many calls stayed within it."""
    by_octave: Counter[int] = Counter()
    for bucket, count in counts.items():
        by_octave[max(OCTAVES[0], math.ceil(bucket / PER_OCTAVE))] += count
    total = 0
    for octave in OCTAVES:
        total += by_octave[octave]
        yield float(2.0**octave), total
