"""The implementations in one benchmark: the one under test, and those that stand beside it.

What is wrong with one beside, whatever it is, becomes its result: the benchmark is about
the one under test.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from conformance.benchmarks.timing import Call
from conformance.characteristics import Feature
from conformance.coordination import Coordinator
from conformance.implementations import find_factory, spelled
from conformance.results import Benchmark
from conformance.trial import Place

__all__ = ["Beside", "Others", "Prepare", "Side", "able", "relative_to"]

Beside = Mapping[str, Place | str]
"""By implementation: where it runs, or why it cannot."""


class Side:
    """Gives started coordinators of one implementation, and names for what they use.

    A context manager, which stops the coordinators.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._mark = secrets.token_hex(4)
        self._started = ExitStack()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def name(self, name: str) -> bytes:
        """Return the name of a lock, group or member that is nobody else's."""
        return f"{self._mark}-{name}".encode()

    def coordinator(self, member: str) -> Coordinator:
        """Return a started coordinator, which is stopped at the end."""
        make = find_factory(self._place.driver.implementation)
        coordinator = make(self._place.url, self.name(member))
        coordinator.start(start_heart=True)
        self._started.callback(coordinator.stop)
        return coordinator

    def stop(self) -> None:
        """Stop the coordinators."""
        self._started.close()


Prepare = Callable[[Side], Call]
"""Makes what is to be timed, of one implementation."""


class Others:
    """The sides of the implementations beside: ``calls`` of those that could be prepared.

    ``reasons`` are why one has no figures.
    """

    def __init__(self, beside: Beside, prepare: Prepare) -> None:
        self.calls: dict[str, Call] = {}
        self.reasons: dict[str, str] = {}
        self._sides: dict[str, Side] = {}
        for name, place in beside.items():
            if isinstance(place, str):
                self.reasons[name] = place
                continue
            side = self._sides[name] = Side(place)
            try:
                self.calls[name] = prepare(side)
            except Exception as error:  # see the module
                self.reasons[name] = spelled(error)

    def stop(self) -> None:
        """Stop the coordinators; one that cannot be stopped has no figures."""
        for name, side in self._sides.items():
            try:
                side.stop()
            except Exception as error:  # see the module
                self.reasons.setdefault(name, f"stop(): {spelled(error)}")


def able(beside: Beside, needs: Sequence[Feature]) -> Beside:
    """Return the implementations, with a reason for those that lack what is needed."""

    def judged(place: Place | str) -> Place | str:
        if isinstance(place, str):
            return place
        missing = [feature.name for feature in needs if feature not in place.driver.features]
        return f"the driver does not have {', '.join(missing)}" if missing else place

    return {name: judged(place) for name, place in beside.items()}


def relative_to(subject: Benchmark, other: Benchmark, what: str) -> Benchmark:
    """Return another's result with how many times the subject's its median is.

    :param what: which of their times is compared
    """
    if subject.invalid is not None or what not in subject.times or what not in other.times:
        return other
    relative = other.times[what].median / subject.times[what].median
    return msgspec.structs.replace(other, relative=relative)
