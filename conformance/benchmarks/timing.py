"""Times a call beside its floor: tightly, warmed up, in batches that take turns.

Whatever disturbs the machine for longer than a batch disturbs both, so the ratio of the
two lasts longer than either. What taking the time costs, less than 0.2 microseconds, is
in both.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from conformance.benchmarks.distribution import Samples, nanoseconds
from conformance.benchmarks.efforts import Effort

__all__ = ["Call", "Timed", "WrongAnswer", "check", "take_turns"]


@dataclass(frozen=True)
class Call:
    """Something to be timed: ``what`` it is, for a reader, and the ``answer`` it must give."""

    what: str
    run: Callable[[], object]
    answer: object = None


@dataclass(frozen=True)
class Timed:
    """The samples of a subject and of its floor, as many of each; None without a floor."""

    subject: Samples
    floor: Samples | None

    @property
    def ratio(self) -> float | None:
        """The subject's median over the floor's."""
        if self.floor is None:
            return None
        return float(np.median(self.subject) / np.median(self.floor))


class WrongAnswer(AssertionError):
    """A call did not do what was to be timed; the message says what it answered."""


def take_turns(subject: Call, floor: Call | None, effort: Effort) -> Timed:
    """Time the subject and its floor in alternating batches.

    The first batch of each is for warming up and is dropped.

    :raises WrongAnswer: one of them did not do what it is timed for
    """
    calls = [subject] if floor is None else [subject, floor]
    samples: list[list[int]] = [[] for _ in calls]
    with _own_garbage_only():
        for call in calls:
            _batch(call, effort.batch)
        end = time.monotonic() + effort.seconds
        while len(samples[0]) < effort.rounds:
            for call, its in zip(calls, samples, strict=True):
                its += _batch(call, min(effort.batch, effort.rounds - len(its)))
            if time.monotonic() >= end:
                break
    return Timed(nanoseconds(samples[0]), None if floor is None else nanoseconds(samples[1]))


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
