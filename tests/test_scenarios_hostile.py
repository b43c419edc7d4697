"""Capabilities that come back: which are those that were written."""

from __future__ import annotations

import pytest

from conformance.history import History
from conformance.scenarios.test_hostile import _read_is_written
from conformance.verdict import Verdict
from tests.histories import timed


@pytest.mark.parametrize(
    ("written", "read", "objects"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, False),
        ([{"a": {"x": None, "y": b""}}], [{"a": {"y": b"", "x": None}}], False),
        ({"a": 1}, {"a": True}, True),
        ({"a": 1}, {"a": 1, "b": 1}, True),
        ([1, 2], [2, 1], True),
        ([1], [1.0], True),
        ({"a": 0.0}, {"a": -0.0}, True),
        ([{}], [[]], True),
        ([1], (1,), True),
        ([1], [1, 1], True),
        (b"a", "a", True),
        (None, {}, True),
    ],
)
def test_what_is_read_is_what_was_written(written: object, read: object, objects: bool) -> None:
    operations = [
        timed("join_group", 1, capabilities=written),
        timed("get_member_capabilities", 2, read, member=b"m0"),
    ]
    finding = _read_is_written(History.of(operations))
    assert (finding.verdict is Verdict.FALSIFIED) is objects
