"""Times calls beside each other: tightly, warmed up, in batches that take turns.

Whatever disturbs the machine for longer than a batch disturbs all, so the ratio of two
lasts longer than either. What taking the time costs, less than 0.2 microseconds, is in
all of them.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from conformance.benchmarks.distribution import Samples, nanoseconds
from conformance.benchmarks.efforts import Effort

__all__ = ["Call", "Timed", "WrongAnswer", "check", "joined", "take_turns"]


_BATCH_SECONDS = 0.05
"""How long a batch of the slowest of them may take: little beside what disturbs a machine."""


@dataclass(frozen=True)
class Call:
    """Something to be timed: ``what`` it is, for a reader, and the ``answer`` it must give."""

    what: str
    run: Callable[[], object]
    answer: object = None


@dataclass(frozen=True)
class Timed:
    """The samples of what was called.

    ``failed`` is what it raised, or that it answered wrongly; its samples are then not
    to be used.
    """

    what: str
    samples: Samples
    failed: Exception | None = None


class WrongAnswer(AssertionError):
    """A call did not do what was to be timed; the message says what it answered."""


def take_turns(calls: Sequence[Call], effort: Effort) -> list[Timed]:
    """Time calls in alternating batches, as often each.

    The first batch of each is for warming up and is dropped; how long it took says how many
    calls a batch may have. One that fails has no further turn; the others go on.
    """
    samples: list[list[int]] = [[] for _ in calls]
    failed: dict[int, Exception] = {}

    def turn(count: int) -> None:
        for number, call in enumerate(calls):
            if number not in failed:
                try:
                    samples[number] += _batch(call, count)
                except Exception as error:  # told to the caller, as all that it raises
                    failed[number] = error

    with _own_garbage_only():
        turn(effort.batch)
        slowest = max((np.median(its) for its in samples if its), default=1.0)
        batch = max(1, min(effort.batch, int(_BATCH_SECONDS * 1e9 / slowest)))
        for its in samples:
            its.clear()
        end = time.monotonic() + effort.seconds * len(calls)
        for done in range(0, effort.rounds, batch):
            turn(min(batch, effort.rounds - done))
            if time.monotonic() >= end:
                break
    return [
        Timed(call.what, nanoseconds(its), failed.get(number))
        for number, (call, its) in enumerate(zip(calls, samples, strict=True))
    ]


def joined(lives: Sequence[Timed]) -> Timed:
    """Return what was timed in several lives, at least one, as one; failed if any did."""
    return Timed(
        lives[0].what,
        np.concatenate([its.samples for its in lives]),
        next((its.failed for its in lives if its.failed is not None), None),
    )


def check(call: Call, answer: object) -> None:
    """Raise WrongAnswer unless the call answered as it must."""
    if answer != call.answer:
        raise WrongAnswer(f"{call.what} answered {answer!r}, not {call.answer!r}")


def _batch(call: Call, count: int) -> list[int]:
    """Return the nanoseconds of each of ``count`` calls."""
    run, clock = call.run, time.perf_counter_ns
    samples = [0] * count
    for number in range(count):
        began = clock()
        answer = run()
        samples[number] = clock() - began
        check(call, answer)
    return samples


@contextlib.contextmanager
def _own_garbage_only() -> Iterator[None]:
    """Keep what pytest has allocated out of the collections that happen meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
