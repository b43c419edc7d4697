"""Trying out what is under test: a server that does not answer is told in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import implementations
from conformance.coordination import get_coordinator
from conformance.implementations import try_out


@pytest.fixture
def trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object]], None]:
    """Give what tries out a driver that starts by making a call."""

    def try_one(start: Callable[[], object]) -> None:
        def make(url: str, member_id: bytes) -> object:
            made = get_coordinator(url, member_id)
            monkeypatch.setattr(made, "start", start)
            return made

        monkeypatch.setattr(implementations, "find_factory", lambda name: make)
        try_out("made up", f"file://{tmp_path}", 0.2)

    return try_one


def test_what_starts_and_stops_answers(tmp_path: Path) -> None:
    try_out("reference", f"file://{tmp_path}", 20)


def test_who_starts_for_too_long_is_not_waited_for(
    trying: Callable[[Callable[[], object]], None],
) -> None:
    over = threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"no answer in 0\.2 seconds"):
            trying(lambda: over.wait(60))
    finally:
        over.set()


@pytest.mark.parametrize("error", [TimeoutError("its own"), ValueError("its own")])
def test_the_drivers_own_error_is_told(
    trying: Callable[[Callable[[], object]], None], error: Exception
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match="its own"):
        trying(fail)
