"""What is under test: mistakes are refused with what to do, a dead server is told in time."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import implementations
from conformance.coordination import Characteristics, Feature, get_coordinator
from conformance.implementations import BadImplementation, describe, find_factory, try_out
from tests import mistaken


@pytest.fixture
def trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object]], None]:
    """Give what tries out a driver that starts by making a call."""

    def try_one(start: Callable[[], object]) -> None:
        def make(url: str, member_id: bytes) -> object:
            made = get_coordinator(url, member_id)
            monkeypatch.setattr(made, "start", lambda start_heart: start())
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


def use(monkeypatch: pytest.MonkeyPatch, factory: object) -> None:
    """Have a factory found, whatever the name."""
    monkeypatch.setattr(implementations, "find_factory", lambda name: factory)


_LOCKS = frozenset({Feature.LOCKS})


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (mistaken.nothing, "the factory returned None: it is to return a coordinator"),
        (mistaken.idle, r"is called with \(url, member_id, \*\*options\).*: too many"),
        (mistaken.optionless, "an unexpected keyword argument 'timeout'"),
        (mistaken.failing, "the factory failed: RuntimeError: not today"),
        (lambda url, member, **options: object(), "object lacks FEATURES: give a tuple or set"),
        (mistaken.of(CHARACTERISTICS=("LINEARIZABLE",)), "CHARACTERISTICS .* has 'LINEARIZABLE'"),
        (mistaken.of(CHARACTERISTICS=None), "CHARACTERISTICS .* is None: give a tuple or set"),
        (mistaken.of(FEATURES="LOCKS"), r"is 'LOCKS': .* of conformance\.coordination\.Feature"),
        (mistaken.of(FEATURES=_LOCKS), "lacks get_lock: add it, or leave LOCKS out"),
        (mistaken.of(FEATURES=frozenset(Feature)), "lacks create_group, delete_group"),
        (mistaken.of(least_timeout="1"), "least_timeout is to be a number of seconds, not '1'"),
        (mistaken.of(lacks="acquired"), "lacks is to be a set of the names of steps"),
        (mistaken.of(is_started=lambda self: True), "Made.is_started is a method: make it a"),
        (mistaken.of(adapts="MyDriver"), "adapts is to be a class"),
        (type("Deaf", (), {"CHARACTERISTICS": (), "FEATURES": ()}), "factory is called with"),
    ],
)
def test_what_is_no_implementation_is_refused_with_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, factory: object, said: str
) -> None:
    use(monkeypatch, factory)
    with pytest.raises(BadImplementation, match=said):
        describe("made up", "x://")


def test_what_every_coordinator_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lifeless:
        CHARACTERISTICS = FEATURES = ()

    use(monkeypatch, lambda url, member, **options: Lifeless())
    with pytest.raises(BadImplementation, match="every coordinator needs start, stop, is_started"):
        describe("made up", "x://")


def test_only_what_is_needed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, mistaken.BareLocks)
    found = describe("made up", "x://")
    assert found.claims == {Characteristics.NON_TIMEOUT_BASED}
    assert found.features == {Feature.LOCKS}
    assert found.least_timeout == 0
    assert {"heartbeat", "join_group", "campaign", "watch", "break_"} <= found.lacks


def test_locks_that_cannot_be_asked_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, mistaken.BareLocks)
    with pytest.raises(BadImplementation, match=r"lacks acquired, .*: add it, or .* 'enter'}"):
        try_out("made up", "x://", 20)
    steps = {"acquired", "is_still_owner", "lock_heartbeat", "enter"}
    use(monkeypatch, type("Frank", (mistaken.BareLocks,), {"lacks": steps}))
    try_out("made up", "x://", 20)
    use(monkeypatch, type("Lockless", (mistaken.BareLocks,), {"get_lock": lambda self, name: None}))
    with pytest.raises(BadImplementation, match=r"lacks acquire, .*: add it$"):
        try_out("made up", "x://", 20)


def test_a_module_may_fail_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails_at_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadImplementation, match="cannot be imported: ZeroDivisionError"):
        find_factory("fails_at_import:make")


def test_what_an_adapter_lacks_is_told_by_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "conformance.adapters.tooz", raising=False)
    monkeypatch.setitem(sys.modules, "tooz", None)
    with pytest.raises(BadImplementation, match=r"install coordination-conformance\[tooz\]$"):
        find_factory("tooz")


def test_the_readme_quotes_the_example() -> None:
    root = Path(__file__).parents[1]
    text = (root / "README.md").read_text().partition("### Your own library")[2]
    start = text.index("    class OwnCoordinator")
    quoted = textwrap.dedent(text[start : text.index("\n\n", start)])
    example = (root / "docs" / "examples" / "own_lock.py").read_text()
    for part in quoted.split("\n    …\n"):
        assert f"\n{part}\n" in example


def test_the_example_of_a_library_of_ones_own_holds(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--backend=file", "--profile=smoke", "--level"),
            *("threads", "--implementation=own_lock:make_coordinator", "-k"),
            "(locks and not starve) or contract or hygiene or orders",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'docs' / 'examples'}"},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert run.returncode == 0, run.stdout
    for row in ("DISTRIBUTED_ACROSS_THREADS", "LINEARIZABLE", "contract", "hygiene"):
        assert any(row in line and "✓ held" in line for line in run.stdout.splitlines()), row
    assert "falsified" not in run.stdout
