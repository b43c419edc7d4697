"""OpenStack tooz, put under test: its drivers behind the contract of this project.

The names of the API are tooz's own (its manual of version 9.1.0, "Coordination" and
"Drivers"), so calls pass through unchanged. What differs is brought over here: the errors
of ``tooz.coordination`` become those of the same name, options and URLs are written as
tooz reads them. An exception from outside tooz's family is not an error that a caller of
the API can expect, so it stays what it is: that it comes out is a finding.

What the drivers lack is read off their classes: tooz's base classes answer
``NotImplemented`` wherever a driver does not override them.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import typing
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

import tooz
from tooz import coordination as upstream
from tooz import locking

from conformance import coordination as api
from conformance.coordination import Characteristics, Feature

__all__ = [
    "MendedLock",
    "ToozCoordinator",
    "ToozLock",
    "ToozResult",
    "make_coordinator",
    "make_mended_coordinator",
]

T = TypeVar("T")

_BACKENDS = "tooz.backends"
"""The entry-point group in which tooz names its drivers, by URL scheme."""

_SCHEMES = {"etcd": "etcd3+http"}
"""URL schemes that tooz calls otherwise; the rest are the same."""

_TIMEOUTS = frozenset({"timeout", "lock_timeout", "membership_timeout", "leader_timeout"})
_OURS = _TIMEOUTS | {"namespace"}
"""The options that drivers of this project share."""

_TAKEN = {
    "etcd3+http": frozenset({"timeout", "lock_timeout", "membership_timeout"}),
    "etcd3+https": frozenset({"timeout", "lock_timeout", "membership_timeout"}),
    "file": frozenset({"timeout"}),
    "kazoo": frozenset({"timeout", "namespace"}),
    "memcached": _TIMEOUTS,
    "redis": frozenset({"timeout", "lock_timeout", "membership_timeout", "namespace"}),
    "zookeeper": frozenset({"timeout", "namespace"}),
}
"""Which of them each driver of tooz takes ("Drivers" in its manual); the others take none."""

_PARTS = {
    Feature.GROUPS: (
        "create_group",
        "delete_group",
        "get_groups",
        "join_group",
        "leave_group",
        "get_members",
    ),
    Feature.CAPABILITIES: (
        "get_member_capabilities",
        "get_members_with_capabilities",
    ),
    Feature.WATCHES: ("get_members", "run_watchers"),
    Feature.LEADERSHIP: ("get_leader", "run_elect_coordinator", "stand_down_group_leader"),
    Feature.LOCKS: ("get_lock",),
}
"""The methods that a driver must override to have a feature."""

_SHARING = frozenset({"file"})
"""The drivers whose locks can be held shared: it is an argument, not a method, so it shows
in no class."""

_LEAST_SECONDS = 1
"""The shortest time-out in seconds: tooz cuts its drivers' time-outs to whole ones."""

_LEAST_ON = {"memcached": 2}
"""Where it is longer: memcached's clock ticks once a second, so that what expires in one
second may be gone at once."""

_OUTDATED = "PostgreSQL driver is deprecated|'passwd' is deprecated|single argument is deprecated"
"""What tooz says of its PostgresDriver, and PyMySQL of how MySQLDriver calls
it: warnings, which tests make errors of, but no wrong answers."""

_NO_TRIES = (
    "tooz's driver for ipc:// cannot try a lock, nor wait for one with a time-out, with this build "
    "of sysv_ipc; build it here: pip install --force-reinstall --no-binary sysv_ipc sysv_ipc"
)
"""Wheels of sysv_ipc 1.2.0 for Linux come without semtimedop(2): its
``SEMAPHORE_TIMEOUT_SUPPORTED`` is False. Built from source here, it is True."""


def make_coordinator(url: str, member_id: bytes, **options: Any) -> ToozCoordinator:
    """Make a coordinator of tooz, not yet started.

    :raises ValueError: tooz has no driver for the URL, or lacks what the driver needs
    """
    given = urlsplit(url)
    scheme = _SCHEMES.get(given.scheme, given.scheme)
    kind = _driver_class(scheme)
    wanted = dict(parse_qsl(given.query, keep_blank_values=True)) | options
    plain = given._replace(query="").geturl()
    warnings.filterwarnings("ignore", _OUTDATED, DeprecationWarning)
    with _own_errors():
        driver = upstream.get_coordinator(
            plain.replace(given.scheme, scheme, 1), member_id, **_options(scheme, wanted)
        )
    return ToozCoordinator(driver, kind, scheme)


def make_mended_coordinator(url: str, member_id: bytes, **options: Any) -> ToozCoordinator:
    """Make a coordinator whose timed waits answer False in vain, as tooz documents.

    Most of its drivers raise an error of a library instead, at the first refused wait: in
    most scenarios, which ends them. What is behind it shows with this factory.

    :raises ValueError: as :func:`make_coordinator`
    """
    made = make_coordinator(url, member_id, **options)
    made.lock_class = MendedLock
    return made


def _driver_class(scheme: str) -> type[upstream.CoordinationDriver]:
    known = {entry.name: entry for entry in metadata.entry_points(group=_BACKENDS)}
    if scheme not in known:
        raise ValueError(
            f"tooz has no driver for URLs that begin with {scheme}://; it has them for "
            f"{', '.join(sorted(known))}"
        )
    try:
        kind: type[upstream.CoordinationDriver] = known[scheme].load()
    except ImportError as error:
        raise ValueError(f"tooz's driver for {scheme}:// cannot be loaded: {error}") from error
    if scheme == "ipc" and not importlib.import_module("sysv_ipc").SEMAPHORE_TIMEOUT_SUPPORTED:
        raise ValueError(_NO_TRIES)
    return kind


def _options(scheme: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return options as tooz's driver takes them; others than ours are tooz's business.

    Its drivers convert time-outs by int(), which refuses "2.5" and makes 0 of 0.3.
    """
    unknown = _OURS - _TAKEN.get(scheme, frozenset())
    return {
        name: max(_least(scheme), math.ceil(float(value))) if name in _TIMEOUTS else value
        for name, value in given.items()
        if name not in unknown
    }


def _least(scheme: str) -> int:
    return _LEAST_ON.get(scheme, _LEAST_SECONDS)


# -- what a driver has ------------------------------------------------------------


def _overrides(kind: type, base: type, name: str) -> bool:
    """Whether a class has a method of its own where the base class has none to speak of."""
    method = inspect.getattr_static(kind, name, None)
    return method is not None and method is not inspect.getattr_static(base, name, None)


def _features(kind: type, scheme: str) -> frozenset[Feature]:
    found = {
        feature
        for feature, names in _PARTS.items()
        if all(_overrides(kind, upstream.CoordinationDriver, name) for name in names)
    }
    if _overrides(_lock_class(kind), locking.Lock, "break_"):
        found.add(Feature.BREAKING)
    if scheme in _SHARING:
        found.add(Feature.SHARED_LOCKS)
    return frozenset(found)


def _lacks(kind: type) -> frozenset[str]:
    """Return the single methods that a driver does without, by the names of steps."""
    lock = _lock_class(kind)
    missing = set()
    if not _overrides(lock, locking.Lock, "is_still_owner"):
        missing.add("is_still_owner")
        if not hasattr(lock, "heartbeat"):
            missing.add("lock_heartbeat")
    if not hasattr(lock, "acquired") and "acquired" not in lock.__init__.__code__.co_names:
        missing.add("acquired")
    for name in ("get_member_info", "heartbeat", "update_capabilities"):
        if not _overrides(kind, upstream.CoordinationDriver, name):
            missing.add(name)
    return frozenset(missing)


def _lock_class(kind: type) -> Any:
    """Return the class of a driver's locks: every driver of tooz declares it."""
    return typing.get_type_hints(inspect.getattr_static(kind, "get_lock"))["return"]


# -- errors -----------------------------------------------------------------------


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Turn errors of tooz's family into those of the same name; let all others pass."""
    try:
        yield
    except tooz.ToozError as error:
        raise _own(error) from error


def _own(error: tooz.ToozError) -> api.ToozError:
    names = (kind.__name__ for kind in type(error).__mro__ if kind.__name__ in api.__all__)
    kind: Callable[..., api.ToozError] = getattr(api, next(names))
    if isinstance(error, upstream.WatchCallbackNotFound):
        return kind(error.group_id.encode(), error.callback)
    said = [getattr(error, name, None) for name in ("group_id", "member_id")]
    ids = [text.encode() for text in said if isinstance(text, str)]
    return kind(*ids) if ids else kind(str(error))


# -- results, locks, coordinators -------------------------------------------------


class ToozResult(Generic[T]):
    """The result of a group or member call, with the errors of this project."""

    def __init__(self, result: upstream.CoordAsyncResult[T]) -> None:
        self._result = result

    def get(self, timeout: float | None = None) -> T:
        """Wait for the result and return it."""
        with _own_errors():
            return self._result.get(timeout)

    def done(self) -> bool:
        """Whether ``get()`` would return at once."""
        return self._result.done()


class ToozLock:
    """A lock of tooz, with the errors of this project."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    @property
    def name(self) -> bytes:
        """The lock's name, as tooz has it."""
        name: bytes = self._lock.name
        return name

    @property
    def acquired(self) -> bool:
        """Whether this object holds the lock, by local knowledge."""
        held: bool = self._lock.acquired
        return held

    def acquire(self, blocking: bool | float = True, shared: bool = False) -> bool:
        """Acquire; the argument ``timeout``, which not all of tooz's locks take, is not used."""
        return self._call(self._lock.acquire, blocking, shared)

    def release(self) -> bool:
        """Release."""
        return self._call(self._lock.release)

    def is_still_owner(self) -> bool:
        """Ask the server whether this object holds the lock."""
        return self._call(self._lock.is_still_owner)

    def heartbeat(self) -> bool:
        """Keep the hold; ask for the owner where a lock has nothing to keep it alive by."""
        return self._call(getattr(self._lock, "heartbeat", self._lock.is_still_owner))

    def break_(self) -> bool:
        """Take the lock away from its holder."""
        return self._call(self._lock.break_)

    def __call__(self, *args: Any, **kwargs: Any) -> contextlib.AbstractContextManager[ToozLock]:
        """Return a context manager that acquires with these arguments, then releases."""
        return self._holding(self._lock(*args, **kwargs))

    def __enter__(self) -> ToozLock:
        """Acquire, waiting for ever."""
        with _own_errors():
            self._lock.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Release."""
        with _own_errors():
            self._lock.__exit__(*error)

    @contextlib.contextmanager
    def _holding(self, proxy: Any) -> Iterator[ToozLock]:
        with _own_errors(), proxy:
            yield self

    @staticmethod
    def _call(method: Callable[..., Any], *args: Any) -> bool:
        with _own_errors():
            answer: bool = method(*args)
            return answer


class MendedLock(ToozLock):
    """A lock of tooz whose timed wait ends in False, whatever its driver raises."""

    def acquire(self, blocking: bool | float = True, shared: bool = False) -> bool:
        """Acquire."""
        try:
            return super().acquire(blocking, shared)
        except Exception as error:
            if f"{type(error).__module__}.{type(error).__name__}" not in _IN_VAIN:
                raise
            return False


_IN_VAIN = frozenset({"tenacity.RetryError", "kazoo.exceptions.LockTimeout"})
"""What drivers raise when a timed wait was in vain."""


_RESULTS = frozenset(
    {
        "create_group",
        "delete_group",
        "get_groups",
        "join_group",
        "leave_group",
        "get_members",
        "get_member_capabilities",
        "get_members_with_capabilities",
        "get_member_info",
        "update_capabilities",
        "get_leader",
    }
)
"""The methods whose result may still be under way."""

_CALLS = frozenset(
    {
        "start",
        "stop",
        "heartbeat",
        "join_group_create",
        "stand_down_group_leader",
        "run_elect_coordinator",
        "run_watchers",
        "watch_join_group",
        "unwatch_join_group",
        "watch_leave_group",
        "unwatch_leave_group",
        "watch_elected_as_leader",
        "unwatch_elected_as_leader",
    }
)
"""The methods that return when all is done."""


class ToozCoordinator:
    """A coordinator of tooz, with the claims, features, results and errors of this project.

    Its methods are those of tooz, passed through.

    :param driver: the coordinator of tooz
    :param kind: its class
    :param scheme: the URL scheme that tooz knows it by
    """

    def __init__(self, driver: upstream.CoordinationDriver, kind: type, scheme: str) -> None:
        self._driver = driver
        self.adapts = kind
        self.lock_class: type[ToozLock] = ToozLock
        self.CHARACTERISTICS = tuple(Characteristics[c.name] for c in driver.CHARACTERISTICS)
        self.FEATURES = _features(kind, scheme)
        self.lacks = _lacks(kind)
        self.requires_beating = driver.requires_beating
        self.least_timeout = float(_least(scheme)) if "timeout" in _TAKEN.get(scheme, ()) else 0.0
        self.heart = driver.heart

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped."""
        return self._driver.is_started

    def get_lock(self, name: bytes) -> ToozLock:
        """Return a new lock object of this name."""
        with _own_errors():
            return self.lock_class(self._driver.get_lock(name))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of tooz's coordinator, with this project's results and errors."""
        if name not in _RESULTS | _CALLS:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        method = getattr(self._driver, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with _own_errors():
                result = method(*args, **kwargs)
            return ToozResult(result) if name in _RESULTS else result

        return call
