"""What is asked of etcd, and what it answers, as its JSON gateway writes them.

Everything is a transaction: conditions, what to do where they all hold, and what to do
where one does not, carried out at one revision of the store (etcd 3.5 manual, "etcd API",
"Transaction"). Keys here are plain ASCII; keys and values travel in base64, and numbers of
64 bits as texts ("gRPC gateway").
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "Kept",
    "Outcome",
    "Request",
    "absent",
    "bound",
    "delete",
    "empty",
    "get",
    "listing",
    "outcome",
    "present",
    "put",
    "unchanged",
    "watch",
]

Request = dict[str, Any]


class Kept(NamedTuple):
    """A key that was found."""

    key: str
    value: bytes
    created: int
    """The revision of the store that made it; no other key's, unless made together."""
    changed: int
    """The revision that last wrote it."""
    lease: int
    """The lease with which it goes; 0 for none."""


class Outcome(NamedTuple):
    """What became of a transaction."""

    done: bool
    """Whether all conditions held."""
    revision: int
    """The store's, after it."""
    found: list[list[Kept]]
    """What each request that was carried out found; nothing for those that write."""


# -- conditions -------------------------------------------------------------------------


def absent(key: str) -> Request:
    """There is no such key: its create revision is 0 ("etcd API", "Transaction")."""
    return _compare(key, "CREATE", "EQUAL", create_revision="0")


def present(key: str) -> Request:
    """There is such a key."""
    return _compare(key, "CREATE", "GREATER", create_revision="0")


def empty(prefix: str) -> Request:
    """No key begins so.

    A condition with a ``range_end`` must hold for all keys of the range (Compare in
    rpc.proto, since etcd 3.3); where there is none, a key of revision 0 is compared.
    """
    return absent(prefix) | {"range_end": _end(prefix)}


def bound(key: str, lease: int) -> Request:
    """There is such a key, and it goes with this lease."""
    return _compare(key, "LEASE", "EQUAL", lease=str(lease))


def unchanged(kept: Kept) -> Request:
    """A key is as it was found."""
    return _compare(kept.key, "MOD", "EQUAL", mod_revision=str(kept.changed))


def _compare(key: str, target: str, result: str, **operand: str) -> Request:
    return {"key": _key(key), "target": target, "result": result, **operand}


# -- what to do -------------------------------------------------------------------------


def put(key: str, value: bytes, lease: int = 0) -> Request:
    """Write a key, which goes when its lease does."""
    return {"request_put": {"key": _key(key), "value": _text(value), "lease": str(lease)}}


def delete(key: str) -> Request:
    """Remove a key."""
    return {"request_delete_range": {"key": _key(key)}}


def get(key: str) -> Request:
    """Read a key."""
    return {"request_range": {"key": _key(key)}}


def listing(prefix: str, *, keys_only: bool = False) -> Request:
    """Read all keys that begin so, in the order in which they were made."""
    return {
        "request_range": {
            "key": _key(prefix),
            "range_end": _end(prefix),
            "sort_target": "CREATE",
            "sort_order": "ASCEND",
            "keys_only": keys_only,
        }
    }


def watch(key: str) -> Request:
    """Be told when a key is removed."""
    return {"create_request": {"key": _key(key), "filters": ["NOPUT"]}}


# -- answers ----------------------------------------------------------------------------


def outcome(answer: Mapping[str, Any]) -> Outcome:
    """Read the answer to a transaction; what is false, 0 or empty, the gateway leaves out."""
    responses = answer.get("responses", [])
    return Outcome(
        answer.get("succeeded", False),
        int(answer["header"]["revision"]),
        [list(map(_kept, r.get("response_range", {}).get("kvs", []))) for r in responses],
    )


def _kept(found: Mapping[str, str]) -> Kept:
    return Kept(
        base64.b64decode(found["key"]).decode(),
        base64.b64decode(found.get("value", "")),
        int(found["create_revision"]),
        int(found["mod_revision"]),
        int(found.get("lease", 0)),
    )


def _key(key: str) -> str:
    return _text(key.encode())


def _end(prefix: str) -> str:
    """Return the first key behind all that begin so, for a prefix that ends in "/"."""
    return _key(prefix[:-1] + chr(ord(prefix[-1]) + 1))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
