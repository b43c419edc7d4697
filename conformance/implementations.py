"""Whose drivers are under test: the reference, or any other library's.

An implementation is a factory ``(url, member_id, **options) -> coordinator``. It is named
by an entry point of the group ``conformance.implementations``, or as
``package.module:factory``; ``reference`` is this project's own. A coordinator that only
adapts another class names that class as ``adapts``.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from importlib import metadata

import msgspec

import conformance
from conformance.coordination import Characteristics, Coordinator, Feature, get_coordinator

__all__ = [
    "ASKING",
    "IMPLEMENTATIONS",
    "REFERENCE",
    "Driver",
    "Factory",
    "describe",
    "find_factory",
    "spelled",
    "try_out",
]

IMPLEMENTATIONS = "conformance.implementations"
"""The entry-point group in which a distribution names its implementation."""

REFERENCE = "reference"

Factory = Callable[..., Coordinator]

ASKING = b"asking"
"""The member id of a coordinator that is only asked, or tried out."""

_STEPS: Mapping[Feature, frozenset[str]] = {
    Feature.GROUPS: frozenset(
        {
            "create_group",
            "delete_group",
            "get_groups",
            "get_members",
            "join_group",
            "join_group_create",
            "join_oddly",
            "leave_group",
        }
    ),
    Feature.CAPABILITIES: frozenset(
        {
            "get_member_capabilities",
            "get_member_info",
            "get_members_with_capabilities",
            "update_capabilities",
        }
    ),
    Feature.WATCHES: frozenset({"watch", "unwatch", "run_watchers"}),
    Feature.LEADERSHIP: frozenset(
        {"campaign", "get_leader", "run_elections", "stand_down", "watch_elected"}
    ),
    Feature.BREAKING: frozenset({"break_"}),
}
"""The steps that call methods of a feature."""


class Driver(msgspec.Struct, frozen=True):
    """What a driver says of itself, without being started.

    ``lacks`` are the methods, by the names of steps, that it does without: those of the
    features that it does not have, and single ones besides.
    """

    implementation: str
    version: str
    name: str
    claims: frozenset[Characteristics]
    features: frozenset[Feature]
    requires_beating: bool
    least_timeout: float = 0.0
    lacks: frozenset[str] = frozenset()


def find_factory(name: str) -> Factory:
    """Return the factory of an implementation.

    :raises ValueError: there is none of this name; the message says what there is
    """
    if name == REFERENCE:
        return get_coordinator
    known = {entry.name: entry.value for entry in metadata.entry_points(group=IMPLEMENTATIONS)}
    module, colon, attribute = known.get(name, name).partition(":")
    if not colon:
        choices = ", ".join([REFERENCE, *sorted(known)])
        raise ValueError(
            f"no implementation {name!r}; there is {choices}, or give package.module:factory"
        )
    try:
        factory: Factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"implementation {name!r} cannot be imported: {error}") from error
    if not callable(factory):
        raise ValueError(f"implementation {name!r} is not callable: {factory!r}")
    return factory


def describe(implementation: str, url: str) -> Driver:
    """Ask the driver behind a URL what it claims, without connecting.

    :raises ValueError: no such implementation, or it has no driver for the URL
    """
    coordinator = find_factory(implementation)(url, ASKING)
    kind = getattr(coordinator, "adapts", type(coordinator))
    features: frozenset[Feature] = frozenset(getattr(coordinator, "FEATURES", Feature))
    return Driver(
        implementation=implementation,
        version=_version(kind),
        name=f"{kind.__module__}.{kind.__qualname__}",
        claims=frozenset(Characteristics[claim.name] for claim in coordinator.CHARACTERISTICS),
        features=features,
        requires_beating=coordinator.requires_beating,
        least_timeout=getattr(coordinator, "least_timeout", 0.0),
        lacks=getattr(coordinator, "lacks", frozenset()).union(
            *(_STEPS[feature] for feature in _STEPS.keys() - features)
        ),
    )


def try_out(implementation: str, url: str, seconds: float) -> None:
    """Start and stop a coordinator once, to see that what the URL leads to answers.

    :param seconds: how long it may take; drivers have time-outs of their own, some longer
    :raises TimeoutError: it took longer, and goes on in a thread that keeps nothing alive
    :raises Exception: whatever the driver raises where it cannot start
    """
    ended: Future[None] = Future()

    def live() -> None:
        try:
            coordinator = find_factory(implementation)(url, ASKING)
            coordinator.start()
            coordinator.stop()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=live, daemon=True).start()
    try:
        ended.result(seconds)
    except TimeoutError as error:
        if ended.done():
            raise
        raise TimeoutError(f"no answer in {seconds:g} seconds") from error


def spelled(error: Exception) -> str:
    """Return what an implementation raised, with its kind where that is no plain complaint."""
    if isinstance(error, ValueError | AssertionError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _version(kind: type) -> str:
    """Return the version of the distribution that a class came with."""
    package = kind.__module__.partition(".")[0]
    if package == conformance.__name__:
        return conformance.__version__
    names = metadata.packages_distributions().get(package, [])
    return metadata.version(names[0]) if names else "unknown"
