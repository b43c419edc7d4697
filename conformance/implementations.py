"""Whose drivers are under test: the reference, or any other library's.

An implementation is a factory ``(url, member_id, **options) -> coordinator``. It is named
by an entry point of the group ``conformance.implementations``, or as
``package.module:factory``; ``reference`` is this project's own.

A coordinator says in ``CHARACTERISTICS`` what it claims and in ``FEATURES`` what it has; it
needs the methods of those features only. It may say more: ``least_timeout``, the shortest
time-out in seconds that it can keep, 0 unless it says; ``lacks``, single steps that it does
without, none unless it says; and ``adapts``, the class that it only adapts, where it does.
Whether it needs heartbeats is its own affair: it is started with ``start_heart=True``.
"""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from enum import Enum
from importlib import metadata
from typing import TypeVar

import msgspec

import conformance
from conformance.coordination import (
    Characteristics,
    Coordinator,
    Feature,
    ToozError,
    get_coordinator,
)

__all__ = [
    "ASKING",
    "IMPLEMENTATIONS",
    "REFERENCE",
    "BadImplementation",
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

_Named = TypeVar("_Named", bound=Enum)

ASKING = b"asking"
"""The member id of a coordinator that is only asked, or tried out."""


def _alike(*steps: str) -> dict[str, tuple[str, ...]]:
    """Return steps that each call the method of their own name."""
    return {step: (step,) for step in steps}


_CALLS: Mapping[Feature, Mapping[str, tuple[str, ...]]] = {
    Feature.GROUPS: {
        **_alike(
            "create_group",
            "delete_group",
            "get_groups",
            "get_members",
            "join_group",
            "join_group_create",
            "leave_group",
        ),
        "join_oddly": ("join_group",),
    },
    Feature.CAPABILITIES: _alike(
        "get_member_capabilities",
        "get_member_info",
        "get_members_with_capabilities",
        "update_capabilities",
    ),
    Feature.WATCHES: {
        **_alike("run_watchers"),
        "watch": ("watch_join_group", "watch_leave_group"),
        "unwatch": ("unwatch_join_group", "unwatch_leave_group"),
    },
    Feature.LEADERSHIP: {
        **_alike("get_leader"),
        "campaign": ("run_elect_coordinator",),
        "run_elections": ("run_elect_coordinator",),
        "stand_down": ("stand_down_group_leader",),
        "watch_elected": ("watch_elected_as_leader", "unwatch_elected_as_leader"),
    },
    Feature.BREAKING: {"break_": ()},
}
"""The steps that need a feature, and the coordinator's methods that each calls."""

_LIFE = ("start", "stop", "is_started")
"""What every coordinator needs."""

_OF_A_LOCK = {
    "acquire": "acquire",
    "release": "release",
    "acquired": "acquired",
    "is_still_owner": "is_still_owner",
    "heartbeat": "lock_heartbeat",
    "__call__": "enter",
}
"""What a lock object needs, and the step that asks for it."""


class BadImplementation(ValueError):
    """What was given is no implementation; the message says what it needs."""


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
    least_timeout: float = 0.0
    lacks: frozenset[str] = frozenset()


def find_factory(name: str) -> Factory:
    """Return the factory of an implementation.

    :raises BadImplementation: there is none of this name; the message says what there is
    """
    if name == REFERENCE:
        return get_coordinator
    known = {entry.name: entry.value for entry in metadata.entry_points(group=IMPLEMENTATIONS)}
    module, colon, attribute = known.get(name, name).partition(":")
    if not colon:
        choices = ", ".join([REFERENCE, *sorted(known)])
        raise BadImplementation(
            f"no implementation {name!r}; there is {choices}, or give package.module:factory"
        )
    try:
        factory: Factory = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything
        raise BadImplementation(
            f"implementation {name!r} cannot be imported: {spelled(error)}{_extra(module, error)}"
        ) from error
    if not callable(factory):
        raise BadImplementation(f"implementation {name!r} is not callable: {factory!r}")
    return factory


def _extra(module: str, error: Exception) -> str:
    """Return what to install where an adapter of this project lacks what it adapts."""
    package, _, library = module.rpartition(".")
    if package != "conformance.adapters" or not isinstance(error, ImportError):
        return ""
    return f": install coordination-conformance[{library}]"


def describe(implementation: str, url: str) -> Driver:
    """Ask the driver behind a URL what it claims, without connecting.

    :raises BadImplementation: there is none of this name, or what it made is no coordinator
    :raises ValueError: it has no driver for the URL
    """
    coordinator = _made(find_factory(implementation), url)
    kind = getattr(coordinator, "adapts", type(coordinator))
    if not isinstance(kind, type):
        raise BadImplementation(f"adapts is to be a class, not {kind!r}")
    features = _members(coordinator, "FEATURES", Feature)
    claims = _members(coordinator, "CHARACTERISTICS", Characteristics)
    _check_methods(coordinator, features)
    least = getattr(coordinator, "least_timeout", 0.0)
    if isinstance(least, bool) or not isinstance(least, int | float) or not least >= 0:
        raise BadImplementation(f"least_timeout is to be a number of seconds, not {least!r}")
    return Driver(
        implementation=implementation,
        version=_version(kind),
        name=_name(kind),
        claims=claims,
        features=features,
        least_timeout=float(least),
        lacks=_lacks(coordinator).union(*(_CALLS[f] for f in _CALLS.keys() - features)),
    )


def _check_methods(coordinator: Coordinator, features: frozenset[Feature]) -> None:
    """Refuse a coordinator without the methods that its features need."""
    name = _name(type(coordinator))
    if missing := _missing(coordinator, _LIFE):
        raise BadImplementation(
            f"{name} lacks {', '.join(missing)}: every coordinator needs {', '.join(_LIFE)}"
        )
    _check_is_property(type(coordinator), "is_started")
    for feature in (feature for feature in Feature if feature in features):
        if missing := _missing(coordinator, _needed(feature)):
            raise BadImplementation(
                f"{name} lacks {', '.join(missing)}: add it, or leave {feature.name} out of its "
                "FEATURES"
            )


def _needed(feature: Feature) -> list[str]:
    """Return the coordinator's methods that a feature needs."""
    if feature is Feature.LOCKS:
        return ["get_lock"]
    return sorted({method for methods in _CALLS.get(feature, {}).values() for method in methods})


def _made(factory: Factory, url: str) -> Coordinator:
    """Return the coordinator that a factory makes; it must take options as well.

    :raises BadImplementation: it does not take its arguments, failed, or made none
    """
    try:
        inspect.signature(factory).bind(url, ASKING, timeout=1.0)
    except TypeError as error:
        raise BadImplementation(
            f"the factory is called with (url, member_id, **options), for instance timeout=1.0: "
            f"{error}"
        ) from error
    except ValueError:  # one without a signature, written in C
        pass
    try:
        coordinator = factory(url, ASKING)
    except (ValueError, ToozError):
        raise
    except Exception as error:
        raise BadImplementation(f"the factory failed: {spelled(error)}") from error
    if coordinator is None:
        raise BadImplementation("the factory returned None: it is to return a coordinator")
    return coordinator


def _members(coordinator: Coordinator, attribute: str, kind: type[_Named]) -> frozenset[_Named]:
    """Return what a coordinator says of itself in one attribute.

    Members of another enumeration count by their names: an adapter may pass on upstream's.
    """
    advice = f"give a tuple or set of members of conformance.coordination.{kind.__name__}"
    whose = _name(type(coordinator))
    if not hasattr(coordinator, attribute):
        raise BadImplementation(f"{whose} lacks {attribute}: {advice}")
    given = getattr(coordinator, attribute)
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise BadImplementation(f"{attribute} of {whose} is {given!r}: {advice}")
    members = list(given)
    for member in members:
        if not isinstance(member, Enum) or member.name not in kind.__members__:
            raise BadImplementation(f"{attribute} of {whose} has {member!r}: {advice}")
    return frozenset(kind[member.name] for member in members)


def _lacks(coordinator: Coordinator) -> frozenset[str]:
    """Return the steps that a coordinator does without; its heartbeat is one, if it has none."""
    given: object = getattr(coordinator, "lacks", frozenset())
    if not isinstance(given, Collection) or isinstance(given, str | bytes):
        raise BadImplementation(f"lacks is to be a set of the names of steps, not {given!r}")
    return frozenset([*given, *_missing(coordinator, ["heartbeat"])])


def _missing(made: object, wanted: Iterable[str]) -> list[str]:
    """Return the methods that an object lacks, without asking it for what it has."""
    has = {name for kind in type(made).__mro__ for name in vars(kind)}
    return [name for name in wanted if name not in has and not hasattr(made, name)]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def try_out(implementation: str, url: str, seconds: float) -> None:
    """Start and stop a coordinator once, to see that what the URL leads to answers.

    Its lock objects are looked at, where it has locks.

    :param seconds: how long it may take; drivers have time-outs of their own, some longer
    :raises BadImplementation: its lock objects lack methods
    :raises TimeoutError: it took longer, and goes on in a thread that keeps nothing alive
    :raises Exception: whatever the driver raises where it cannot start
    """
    ended: Future[None] = Future()

    def live() -> None:
        try:
            coordinator = find_factory(implementation)(url, ASKING)
            coordinator.start(start_heart=False)
            try:
                _check_lock(coordinator)
            finally:
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


def _check_lock(coordinator: Coordinator) -> None:
    """Refuse locks without the methods that scenarios call."""
    features = _members(coordinator, "FEATURES", Feature)
    if Feature.LOCKS not in features:
        return
    lacks = _lacks(coordinator)
    needed = _OF_A_LOCK | ({"break_": "break_"} if Feature.BREAKING in features else {})
    lock = coordinator.get_lock(ASKING)
    missing = _missing(lock, [name for name, step in needed.items() if step not in lacks])
    if missing:
        steps = ", ".join(repr(needed[name]) for name in missing)
        other = f", or have the coordinator say lacks = {{{steps}}}"
        raise BadImplementation(
            f"{_name(type(lock))}, which get_lock() returned, lacks {', '.join(missing)}: add it"
            f"{'' if {'acquire', 'release'} & set(missing) else other}"
        )
    _check_is_property(type(lock), "acquired")


def _check_is_property(kind: type, name: str) -> None:
    if callable(getattr(kind, name, None)):
        raise BadImplementation(f"{_name(kind)}.{name} is a method: make it a property")


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
