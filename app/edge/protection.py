"""What protects functions, callers and this worker: breakers, bounded shares, deadlines.

A circuit breaker leaves a function alone that fails, and finds out when it is back::

    closed ──  5 failures in a row, or half of the last 20 calls (5 at least)  ──▶ open
    open ──  30 s, each time twice as long up to 300 s, with jitter  ──▶ half-open
    half-open ──  its one probe succeeds  ──▶ closed
    half-open ──  its one probe fails     ──▶ open

A bulkhead keeps edge calls from taking more of a worker's threads than their share. The share
bounds all functions together. Within it every function has a limit of its own that follows its
latency: one more call for each round of good answers, a third less when answers become slow
(additive increase, multiplicative decrease, as TCP does it; RFC 5681).

No lock is held during a call: a caller takes a permission and a slot, calls, records how it went
and releases the slot.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from app.edge.errors import CircuitOpen, Saturated
from app.healing.backoff import doubled

WINDOW, LEAST_CALLS, FAILURE_SHARE, IN_A_ROW = 20, 5, 0.5, 5
#: Seconds that a breaker stays open: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
#: A pause is this share longer or shorter, so that workers do not probe in step.
JITTER = 0.1
#: The Retry-After while another's probe is under way, in seconds.
PROBE_WAIT = 1.0

#: What a limit is multiplied by when answers become slow.
DECREASE = 0.7
#: An answer is slow when it takes so many times as long as usual, and at least so much longer.
SLOW_FACTOR, SLOW_MARGIN = 2.0, 0.1
#: So many slow answers of the last calls make the limit go down.
SLOW_CALLS, RECENT_CALLS = 5, 20
#: How much one answer moves what counts as usual: little when it is slow itself.
WEIGHT, SLOW_WEIGHT = 0.1, 0.02
#: Seconds between two decreases: answers of one round are one sign, not many.
DECREASE_PAUSE = 1.0
#: The Retry-After of a call that is refused for want of a slot, in seconds.
RETRY_SECONDS = 1.0


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class Permission:
    """Permission for one call; ``generation`` is the breaker's, and None once it is recorded."""

    generation: int | None


class Breaker:
    """One function's breaker in this process; safe to use from any thread.

    Args:
        clock: seconds that never go back.
        spread: a random number between two, for the jitter.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._lock = threading.Lock()
        self._calls: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._pauses = 0
        self._open_until: float | None = None
        self._probing = False
        # Counts the changes of state: a call that began before one says nothing after it.
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """The state of this moment; half-open from the end of the pause on."""
        until = self._open_until
        if until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < until else BreakerState.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a call may go through; 0 when one may now."""
        until = self._open_until
        if until is None:
            return 0.0
        left = until - self._clock()
        return left if left > 0 else PROBE_WAIT * self._probing

    def allow(self) -> Permission:
        """Permit one call.

        Raises:
            CircuitOpen: while the breaker is open, or another's probe is under way.
        """
        with self._lock:
            if self._open_until is not None:
                if (wait := self.retry_after) > 0:
                    raise CircuitOpen(wait)
                self._probing = True
            return Permission(self._generation)

    def record(self, permission: Permission, *, success: bool | None) -> None:
        """Count how a permitted call went, once; None when it says nothing about the function."""
        with self._lock:
            generation, permission.generation = permission.generation, None
            if generation != self._generation:
                return
            if self._open_until is not None:
                self._probing = False
                if success is not None:
                    self._change(opened=not success)
            elif success is not None:
                self._calls.append(success)
                self._in_a_row = 0 if success else self._in_a_row + 1
                calls, failures = len(self._calls), self._calls.count(False)
                many = calls >= LEAST_CALLS and failures >= FAILURE_SHARE * calls
                # Half of the window's calls may have failed still, but no success opens a breaker.
                if not success and (many or self._in_a_row >= IN_A_ROW):
                    self._change(opened=True)

    def _change(self, *, opened: bool) -> None:
        """Open, for longer than the last time, or close."""
        jitter = self._spread(1 - JITTER, 1 + JITTER)
        pause = min(LONGEST_PAUSE, doubled(FIRST_PAUSE, LONGEST_PAUSE, self._pauses) * jitter)
        self._open_until = self._clock() + pause if opened else None
        self._pauses = self._pauses + 1 if opened else 0
        self._generation += 1
        self._calls.clear()
        self._in_a_row = 0


class AdaptiveLimit:
    """How many calls one function may have under way: from ``floor`` to ``ceiling``.

    It starts at the ceiling. Not safe to use from several threads at once: its bulkhead's lock
    keeps them apart.
    """

    def __init__(self, floor: int, ceiling: int, clock: Callable[[], float]) -> None:
        self.floor = floor
        self.ceiling = ceiling
        self.in_flight = 0
        self._limit = float(ceiling)
        self._usual: float | None = None
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=RECENT_CALLS)
        self._decreased_at = float("-inf")

    @property
    def limit(self) -> int:
        """The limit of this moment."""
        return int(self._limit)

    def bound(self, ceiling: int) -> None:
        """Have another ceiling from now on."""
        self.ceiling = ceiling
        self.floor = min(self.floor, ceiling)
        self._limit = min(self._limit, float(ceiling))

    def observe(self, seconds: float, *, answered: bool) -> None:
        """Learn from a call that took so long; one without an answer counts as slow."""
        usual = seconds if self._usual is None else self._usual
        slow = not answered or seconds > max(usual * SLOW_FACTOR, usual + SLOW_MARGIN)
        self._usual = usual + (SLOW_WEIGHT if slow else WEIGHT) * (seconds - usual)
        self._recent.append(slow)
        # One slow answer among many is an accident; one that never came is not.
        if not answered or (slow and sum(self._recent) >= SLOW_CALLS):
            now = self._clock()
            if now - self._decreased_at >= DECREASE_PAUSE:
                self._decreased_at = now
                self._recent.clear()
                self._limit = max(float(self.floor), self._limit * DECREASE)
        elif not slow and self.in_flight * 2 >= self.limit:
            self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)


@dataclass(slots=True)
class Slot:
    """Room for one call."""

    bulkhead: Bulkhead
    limit: AdaptiveLimit
    released: bool = False

    def observe(self, seconds: float, *, answered: bool) -> None:
        """Let the function's limit learn from the call."""
        with self.bulkhead.lock:
            self.limit.observe(seconds, answered=answered)

    def release(self) -> None:
        """Make room for the next; releasing twice is releasing once."""
        with self.bulkhead.lock:
            if not self.released:
                self.released = True
                self.limit.in_flight -= 1
                self.bulkhead.in_flight -= 1


class Bulkhead:
    """The slots of all functions of this process.

    Args:
        share: how many calls may be under way altogether; asked at each call, since an eventlet
            worker has more threads than others.
        clock: seconds that never go back.
    """

    def __init__(
        self, share: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lock = threading.Lock()
        self.in_flight = 0
        self._share = share
        self._clock = clock

    def limit(self, ceiling: int | None) -> AdaptiveLimit:
        """A function's limit; a quarter of its ceiling always remains."""
        share = self._share()
        ceiling = min(ceiling or share, share)
        return AdaptiveLimit(max(1, ceiling // 4), ceiling, self._clock)

    def acquire(self, limit: AdaptiveLimit) -> Slot:
        """Reserve a slot for one call.

        Raises:
            Saturated: when there is none.
        """
        with self.lock:
            if self.in_flight >= self._share() or limit.in_flight >= limit.limit:
                raise Saturated(RETRY_SECONDS)
            self.in_flight += 1
            limit.in_flight += 1
        return Slot(self, limit)


@dataclass(slots=True, eq=False)
class Watch:
    """One thing that must be over by a time; cancel it when it is."""

    action: Callable[[], None] | None
    expired: bool = False

    def cancel(self) -> None:
        """It is over: nothing will be done."""
        self.action = None

    def expire(self) -> None:
        """Do what is to be done, unless it was cancelled."""
        action, self.action = self.action, None
        if action is not None:
            self.expired = True
            action()


class Deadlines:
    """Ends what takes too long and cannot be given a timeout: a socket that drips, above all.

    One thread, which begins with the first watch, takes them in the order of their times. An action
    must be quick and must not raise; it runs in that thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Watch]] = []
        self._numbers = itertools.count()
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None

    def watch(self, until: float, action: Callable[[], None]) -> Watch:
        """Do ``action`` at ``until`` (of ``time.monotonic``) unless the watch is cancelled."""
        if self._pid != os.getpid():
            # The parent's thread is not in this process, and its lock may be held for ever.
            self._changed, self._heap, self._thread = threading.Condition(), [], None
            self._pid = os.getpid()
        watch = Watch(action)
        with self._changed:
            heapq.heappush(self._heap, (until, next(self._numbers), watch))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="request-deadlines", daemon=True
                )
                self._thread.start()
            elif self._heap[0][2] is watch:
                self._changed.notify()
        return watch

    def close(self) -> None:
        """Do now what is left to be done, and end the thread; the next watch begins anew."""
        with self._changed:
            left = [watch for _, _, watch in self._heap]
            self._heap.clear()
            self._thread = None
            self._changed.notify()
        for watch in left:
            watch.expire()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap or (wait := self._heap[0][0] - time.monotonic()) > 0:
                    if self._thread is not threading.current_thread():
                        return
                    self._changed.wait(wait if self._heap else None)
                watch = heapq.heappop(self._heap)[2]
            watch.expire()
