"""Addresses of URLs: found, replaced, and nothing else touched."""

from __future__ import annotations

import pytest

from conformance.faults.addresses import address_of, at_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost:6379", ("localhost", 6379)),
        ("mysql://user:p%40ss:word@127.0.0.1:3306/base?charset=a:1", ("127.0.0.1", 3306)),
        ("postgresql://only@db.example:5432/?application_name=x", ("db.example", 5432)),
        ("etcd3+http://[::1]:2379/?timeout=1", ("::1", 2379)),
        ("etcd://host", None),
        ("etcd://host:", None),
        ("etcd://host:0", None),
        ("etcd://host:65536", None),
        ("etcd://:2379", None),
        ("zookeeper://one:2181,two:2181/", None),
        ("redis:///run/redis.sock?db=1", None),
        ("file:///tmp/a:1/b", None),
        ("ipc://?namespace=a:1", None),
        ("zake://run-1", None),
    ],
)
def test_the_address_of_a_url(url: str, address: tuple[str, int] | None) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    ("url", "moved"),
    [
        ("redis://localhost:6379", "redis://here:1"),
        (
            "mysql://user:p%40ss:word@127.0.0.1:3306/base?charset=a:1&x=#end",
            "mysql://user:p%40ss:word@here:1/base?charset=a:1&x=#end",
        ),
        ("postgresql://@db:5432?", "postgresql://@here:1?"),
        ("etcd3+http://[::1]:2379/?", "etcd3+http://here:1/?"),
    ],
)
def test_only_the_address_is_replaced(url: str, moved: str) -> None:
    assert at_address(url, "here", 1) == moved
    assert address_of(moved) == ("here", 1)


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert at_address("etcd://user@host:2379/", "::1", 80) == "etcd://user@[::1]:80/"
