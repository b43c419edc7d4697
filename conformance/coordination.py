"""The coordination API: import everything that a user or a driver needs from here.

The contract itself stands in ``coordinator`` (groups, watches, leadership), ``locking``,
``events``, ``errors`` and ``characteristics``; this module gathers their names and finds
the driver for a URL.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import metadata
from urllib.parse import parse_qsl, urlsplit

import msgspec

from conformance.characteristics import Characteristics, Feature
from conformance.coordinator import (
    Capabilities,
    Coordinator,
    CoordinatorResult,
    DriverOptions,
    Member,
    check_name,
)
from conformance.errors import (
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    LockAcquireFailed,
    MemberAlreadyExist,
    MemberNotJoined,
    NotImplemented,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozDriverChosenPoorly,
    ToozError,
    WatchCallbackNotFound,
)
from conformance.events import (
    Event,
    EventCallback,
    LeaderElected,
    MemberJoinedGroup,
    MemberLeftGroup,
)
from conformance.heart import Heart
from conformance.locking import Deadline, Lock, Waiting

__all__ = [
    "DRIVERS",
    "Capabilities",
    "Characteristics",
    "Coordinator",
    "CoordinatorResult",
    "Deadline",
    "DriverOptions",
    "Event",
    "EventCallback",
    "Feature",
    "GroupAlreadyExist",
    "GroupNotCreated",
    "GroupNotEmpty",
    "Heart",
    "LeaderElected",
    "Lock",
    "LockAcquireFailed",
    "Member",
    "MemberAlreadyExist",
    "MemberJoinedGroup",
    "MemberLeftGroup",
    "MemberNotJoined",
    "NotImplemented",
    "OperationTimedOut",
    "SerializationError",
    "ToozConnectionError",
    "ToozDriverChosenPoorly",
    "ToozError",
    "Waiting",
    "WatchCallbackNotFound",
    "driver_class",
    "driver_schemes",
    "get_coordinator",
    "without_password",
]

DRIVERS = "conformance.drivers"
"""The entry-point group in which a distribution names its drivers, by URL scheme."""


def driver_class(scheme: str) -> type[Coordinator]:
    """Return the driver that is installed for a URL scheme.

    :raises ValueError: no driver is installed for it; the message lists those that are
    :raises ToozError: its module cannot be imported, for want of its client library
    """
    known = _installed()
    if scheme not in known:
        raise ValueError(
            f"no driver for URLs that begin with {scheme}://; there are drivers for "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    try:
        driver: type[Coordinator] = known[scheme].load()
    except (ImportError, AttributeError) as error:
        raise ToozError(
            f"the driver for {scheme}:// cannot be loaded ({error}): install "
            f"coordination-conformance[{scheme}]"
        ) from error
    return driver


def driver_schemes(scheme: str) -> list[str]:
    """Return all URL schemes of the driver that is installed for one; none without a driver."""
    known = _installed()
    return sorted(
        name for name, e in known.items() if scheme in known and e.value == known[scheme].value
    )


@cache
def _installed() -> dict[str, metadata.EntryPoint]:
    """Return the installed drivers by URL scheme; looked up once, as it takes a while."""
    return {entry.name: entry for entry in metadata.entry_points(group=DRIVERS)}


def get_coordinator(
    backend_url: str,
    member_id: bytes,
    characteristics: Iterable[Characteristics] | None = None,
    **options: object,
) -> Coordinator:
    """Make the coordinator for a backend, not yet started.

    :param backend_url: ``SCHEME://…``; the scheme names the driver, the query its options
    :param member_id: the name under which to join groups; any bytes but none
    :param characteristics: what the driver must claim
    :param options: the driver's options; they win over those of the URL
    :raises TypeError: an argument of the wrong type
    :raises ValueError: no such driver, or an option that it does not take or understand
    :raises ToozDriverChosenPoorly: the driver does not claim what was asked for
    """
    if not isinstance(backend_url, str):
        raise TypeError(f"backend_url takes a str, not {type(backend_url).__name__}")
    check_name("member_id", member_id)
    try:
        url = urlsplit(backend_url)
    except ValueError as error:
        raise ValueError(f"a backend URL that cannot be read: {error}") from error
    if not url.scheme or "://" not in backend_url:
        raise ValueError(
            f"a backend URL looks like SCHEME://…, not {without_password(backend_url)!r}"
        )
    driver = driver_class(url.scheme)
    given = dict(parse_qsl(url.query, keep_blank_values=True)) | options
    try:
        converted = msgspec.convert(given, driver.Options, strict=False)
    except msgspec.ValidationError as error:
        taken = ", ".join(driver.Options.__struct_fields__) or "none"
        raise ValueError(f"options of {url.scheme}://: {error}; it takes {taken}") from error
    coordinator = driver(member_id, url._replace(query=""), converted)
    _check_claims(coordinator, characteristics)
    return coordinator


def _check_claims(coordinator: Coordinator, wanted: Iterable[Characteristics] | None) -> None:
    wanted = list(wanted or ())
    for characteristic in wanted:
        if not isinstance(characteristic, Characteristics):
            raise TypeError(f"characteristics takes Characteristics, not {characteristic!r}")
    missing = [c.name for c in wanted if c not in coordinator.CHARACTERISTICS]
    if missing:
        raise ToozDriverChosenPoorly(
            f"{type(coordinator).__name__} does not claim {', '.join(missing)}: choose another "
            "backend, or ask for less"
        )


def without_password(url: str) -> str:
    """Return a URL as it may be shown: with ``***`` for its password, if it has one."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return "a URL that cannot be read"
    return url if password is None else url.replace(f":{password}@", ":***@")
