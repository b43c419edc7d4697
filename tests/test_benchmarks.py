"""The benchmarks: what is timed, what becomes of the samples, and which figures count."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from conformance.benchmarks.contention import (
    HOLD,
    LOCK,
    contend,
    contention,
    judge,
    object_to,
    result,
    together,
)
from conformance.benchmarks.distribution import jain_index, measure, nanoseconds, save_samples
from conformance.benchmarks.efforts import Effort
from conformance.benchmarks.floors import open_floors
from conformance.benchmarks.sides import Others, Side, able, relative_to
from conformance.benchmarks.timing import Call, Timed, WrongAnswer, joined, take_turns
from conformance.benchmarks.uncontended import Uncontended
from conformance.characteristics import Feature
from conformance.history import History, Operation, Outcome, successor
from conformance.implementations import describe
from conformance.results import Benchmark, Run, load_evidence, load_run
from conformance.trial import Place
from conformance.verdict import Finding, Verdict
from conformance.workload.crew import Crew
from conformance.workload.runner import Target, run
from tests.conftest import Pytest

EMBEDDED = ("file", "ipc", "zake")


# -- made-up histories ------------------------------------------------------------


def acquire(client: int, call: int, end: int, granted: bool = True) -> Operation:
    return Operation(client, "acquire", LOCK, {"blocking": 1.0}, call, end, Outcome.OK, granted)


def release(client: int, call: int, end: int) -> Operation:
    return Operation(client, "release", LOCK, {}, call, end, Outcome.OK, True)


def place(directory: Path) -> Place:
    url = f"file://{directory / 'locks'}"
    return Place("file", url, "threads", describe("reference", url))


def figure(directory: Path, *histories: History) -> Benchmark:
    objections = [found for history in histories if (found := object_to(history, 1.0))]
    return result(
        histories,
        test="a test",
        place=place(directory),
        implementation="reference",
        clients=2,
        seconds=1.0,
        run_directory=directory,
        invalid=objections[0].reason if objections else None,
    )


PASSED_ON = History.of(
    [
        acquire(0, 0, 10),
        acquire(1, 5, 130),
        release(0, 100, 120),
        acquire(0, 140, 250),
        release(1, 200, 210),
        release(0, 300, 305),
    ]
)
"""Client 0 holds, then client 1, which waited, then client 0 again, which waited too."""


def test_a_wait_is_from_the_call_of_an_acquire_to_its_return() -> None:
    assert contention(PASSED_ON, 2, 1.0).waits.tolist() == [10, 125, 110]


def test_a_hand_off_is_from_the_call_of_a_release_to_the_next_grant() -> None:
    assert contention(PASSED_ON, 2, 1.0).hand_offs.tolist() == [30, 50]


def test_a_hold_is_from_the_grant_to_the_call_of_the_release() -> None:
    assert contention(PASSED_ON, 2, 1.0).holds.tolist() == [90, 70, 50]


def test_grants_are_counted_for_each_client() -> None:
    assert contention(PASSED_ON, 2, 1.0).grants == [{0: 2, 1: 1}]


def test_grants_per_second_are_those_from_the_first_call_to_the_last_return() -> None:
    assert contention(PASSED_ON, 2, 1.0).figures["grants per second"] == pytest.approx(3 / 305e-9)


def test_a_release_that_nobody_waited_for_is_no_hand_off() -> None:
    alone = [acquire(0, 0, 10), release(0, 20, 30), acquire(1, 40, 50), release(1, 60, 70)]
    found = contention(History.of(alone), 2, 1.0)
    assert found.hand_offs.size == 0
    assert "hand-off" not in found.times
    assert "share handed to another client" not in found.figures


def test_taking_the_lock_back_before_those_who_wait_is_no_hand_off() -> None:
    barging = [
        acquire(0, 0, 10),
        acquire(1, 5, 500, granted=False),
        release(0, 20, 30),
        acquire(0, 40, 50),
        release(0, 60, 70),
    ]
    found = contention(History.of(barging), 2, 1.0)
    assert found.take_backs.tolist() == [30]
    assert "hand-off" not in found.times
    assert found.times["taken back"].tolist() == [30]
    assert found.figures["share handed to another client"] == 0.0


def test_a_hand_off_lasts_until_another_client_is_granted_the_lock() -> None:
    """Of a lock that goes back three times in four, what is left is not its one quick moment."""
    stubborn = [
        acquire(0, 0, 10),
        acquire(1, 5, 150),
        release(0, 20, 30),
        acquire(0, 40, 50),
        release(0, 60, 70),
        acquire(0, 80, 90),
        release(0, 120, 130),
        acquire(0, 140, 300, granted=False),
        release(1, 200, 210),
    ]
    found = contention(History.of(stubborn), 2, 1.0)
    assert found.hand_offs.tolist() == [130, 90, 30]
    assert found.take_backs.tolist() == [30, 30]
    assert found.figures["share handed to another client"] == pytest.approx(1 / 3)


def test_a_client_without_a_grant_shows() -> None:
    starving = [acquire(0, 0, 10), acquire(1, 5, 500, granted=False), release(0, 20, 30)]
    figures = contention(History.of(starving), 3, 1.0).figures
    assert figures["fewest grants"] == 0
    assert figures["most grants"] == 1
    assert figures["clients without a grant"] == 2
    assert figures["jain index"] == pytest.approx(1 / 3)


def test_a_wait_that_ends_without_the_lock_is_a_refusal_and_no_wait() -> None:
    refused = [acquire(0, 0, 10), acquire(1, 5, 500, granted=False), release(0, 20, 30)]
    found = contention(History.of(refused), 2, 1.0)
    assert found.refused == 1
    assert found.waits.tolist() == [10]


def test_a_client_that_took_over_gets_its_grants_where_its_forerunner_stood() -> None:
    after = successor(1)
    history = History.of([acquire(0, 0, 5), release(0, 6, 7), acquire(after, 8, 10)])
    assert contention(history, 2, 1.0).grants == [{0: 1, 1: 1}]


def test_what_comes_after_the_planned_seconds_is_not_counted() -> None:
    found = contention(PASSED_ON, 2, 150e-9)  # until client 1 was granted the lock
    assert found.grants == [{0: 1, 1: 1}]
    assert found.hand_offs.tolist() == [30]
    assert found.holds.tolist() == [90]
    assert found.refused == 1
    assert found.seconds == 130e-9


def test_several_turns_have_the_samples_of_all_and_the_time_of_all() -> None:
    found = together([contention(PASSED_ON, 2, 1.0), contention(PASSED_ON, 2, 1.0)])
    assert found.hand_offs.tolist() == [30, 50, 30, 50]
    assert found.take_backs.size == 0
    assert found.awaited == 4
    assert found.figures["share handed to another client"] == 1.0
    assert found.figures["grants per second"] == pytest.approx(3 / 305e-9)


def test_who_gets_nothing_in_a_turn_shows_whatever_it_got_in_another() -> None:
    first = [acquire(0, 0, 10), acquire(1, 5, 500, granted=False), release(0, 20, 30)]
    second = [acquire(1, 0, 10), acquire(0, 5, 500, granted=False), release(1, 20, 30)]
    figures = together([contention(History.of(its), 2, 1.0) for its in (first, second)]).figures
    assert figures["clients without a grant"] == 2
    assert figures["fewest grants"] == 0
    assert figures["jain index"] == pytest.approx(1 / 2)


# -- which figures count ----------------------------------------------------------


def test_a_lock_that_let_two_in_has_no_figures(tmp_path: Path) -> None:
    history = History.of(
        [acquire(0, 0, 10), acquire(1, 5, 20), release(0, 100, 110), release(1, 120, 130)]
    )
    found = figure(tmp_path, history)
    assert found.invalid is not None
    assert (found.times, found.figures, found.samples) == ({}, {}, {})
    assert not list(tmp_path.iterdir())


def test_one_turn_in_which_the_lock_let_two_in_makes_all_of_them_invalid(tmp_path: Path) -> None:
    crowded = History.of(
        [acquire(0, 0, 10), acquire(1, 5, 20), release(0, 100, 110), release(1, 120, 130)]
    )
    found = figure(tmp_path, PASSED_ON, crowded)
    assert found.invalid is not None
    assert not found.figures


def test_a_lock_whose_check_ran_out_of_budget_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undecided = Finding(Verdict.INCONCLUSIVE, "mutual exclusion", "the budget ended")
    monkeypatch.setattr("conformance.benchmarks.contention.check_lock", lambda history: undecided)
    found = figure(tmp_path, PASSED_ON)
    assert found.invalid == "mutual exclusion: the budget ended"
    assert not found.figures


def test_a_lock_that_nobody_got_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Finding(Verdict.HELD, "mutual exclusion")
    monkeypatch.setattr("conformance.benchmarks.contention.check_lock", lambda history: held)
    history = History.of([acquire(0, 0, 10, granted=False), acquire(1, 5, 20, granted=False)])
    assert figure(tmp_path, history).invalid == "nobody was granted the lock"


def test_an_exception_from_outside_the_family_makes_the_figures_invalid() -> None:
    broken = Operation(0, "acquire", LOCK, {}, 0, 5, Outcome.INFO, error="foreign OSError: gone")
    assert judge(History.of([broken, *PASSED_ON.operations[1:2]])).verdict is Verdict.FALSIFIED


def test_an_exclusive_lock_has_figures_times_and_samples(tmp_path: Path) -> None:
    found = figure(tmp_path, PASSED_ON)
    assert found.invalid is None
    assert found.operations == 6
    assert found.times["wait"].median == 110
    assert set(found.samples) == set(found.times) == {"wait", "hand-off", "hold"}
    assert np.load(tmp_path / found.samples["hand-off"]).tolist() == [30, 50]


# -- samples ----------------------------------------------------------------------


def test_a_distribution_has_its_percentiles() -> None:
    found = measure(nanoseconds(range(1, 101)))
    assert (found.count, found.minimum, found.maximum) == (100, 1, 100)
    assert (found.median, found.mean) == (50.5, 50.5)
    assert found.p90 == pytest.approx(90.1)
    assert found.p99 == pytest.approx(99.01)


def test_nothing_has_no_distribution() -> None:
    with pytest.raises(ValueError, match="no samples"):
        measure(nanoseconds([]))


def test_samples_are_saved_as_64_bit_integers(tmp_path: Path) -> None:
    path = save_samples(nanoseconds([3, 1, 2]), tmp_path, "acquire + release, file/threads")
    assert path == "samples/acquire-release-file-threads.npy"
    saved = np.load(tmp_path / path)
    assert saved.dtype == np.int64
    assert saved.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("shares", "index"),
    [([5, 5, 5, 5], 1.0), ([12, 0, 0, 0], 0.25), ([3, 1], 0.8), ([7], 1.0)],
)
def test_jain_index_is_one_for_equal_shares_and_least_when_one_has_all(
    shares: list[float], index: float
) -> None:
    assert jain_index(shares) == pytest.approx(index)


def test_jain_index_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was shared out"):
        jain_index([0, 0])


# -- timing -----------------------------------------------------------------------


def recorded(effort: Effort) -> str:
    """Return in which order a subject (s), its floor (f) and another (o) were called."""
    calls: list[str] = []
    take_turns([Call(name, partial(calls.append, name)) for name in "sfo"], effort)
    return "".join(calls)


def test_any_number_of_calls_take_turns_after_warming_up() -> None:
    effort = Effort(rounds=6, seconds=60.0, contended=1.0, batch=3)
    assert recorded(effort) == "sssfffooo" * 3


def test_the_last_batch_is_cut_to_the_rounds_wanted() -> None:
    effort = Effort(rounds=3, seconds=60.0, contended=1.0, batch=2)
    assert recorded(effort) == "ssffoo" + "ssffoo" + "sfo"


def test_slow_calls_take_turns_more_often() -> None:
    calls: list[str] = []
    slow = Call("slow", lambda: calls.append("s") or time.sleep(0.03))
    take_turns(
        [slow, Call("fast", lambda: calls.append("f"))],
        Effort(rounds=3, seconds=60.0, contended=1.0, batch=2),
    )
    assert "".join(calls) == "ssff" + "sf" * 3


def test_timing_ends_when_its_time_is_over() -> None:
    effort = Effort(rounds=1_000_000, seconds=0.0, contended=1.0, batch=1)
    assert recorded(effort) == "sfo" + "sfo"


def test_samples_are_as_many_as_rounds_and_the_warm_up_is_dropped() -> None:
    effort = Effort(rounds=7, seconds=60.0, contended=1.0, batch=5)
    timed = take_turns([Call("subject", lambda: None), Call("floor", lambda: None)], effort)
    assert [one.samples.size for one in timed] == [7, 7]
    assert {one.samples.dtype for one in timed} == {np.dtype(np.int64)}


def test_a_call_that_does_something_else_is_not_timed_and_the_others_are() -> None:
    answers = iter([True, True, False])
    call = Call("a try", lambda: next(answers), True)
    effort = Effort(rounds=5, seconds=60.0, contended=1.0, batch=1)
    wrong, right = take_turns([call, Call("another", lambda: None)], effort)
    assert str(wrong.failed) == "a try answered False, not True"
    assert right.failed is None
    assert right.samples.size == 5


def test_a_call_that_raises_is_not_timed_and_the_others_are() -> None:
    effort = Effort(rounds=5, seconds=60.0, contended=1.0, batch=1)
    wrong, right = take_turns([Call("a", lambda: 1 / 0), Call("b", lambda: None)], effort)
    assert isinstance(wrong.failed, ZeroDivisionError)
    assert right.samples.size == 5


def test_lives_are_joined_and_one_that_failed_fails_all() -> None:
    first = Timed("a try", nanoseconds([1, 2]))
    second = Timed("a try", nanoseconds([3]))
    assert joined([first, second]).samples.tolist() == [1, 2, 3]
    assert joined([first, second]).failed is None
    broken = Timed("a try", nanoseconds([]), ValueError("wrong"))
    assert joined([first, broken, second]).failed is broken.failed


def test_the_effort_is_divided_among_lives() -> None:
    effort = Effort(rounds=10, seconds=3.0, contended=1.0, lives=3)
    assert effort.of_one_life == Effort(rounds=4, seconds=1.0, contended=1.0, lives=1)


# -- sides ------------------------------------------------------------------------


def prepare(side: Side) -> Call:
    lock = side.coordinator("alone").get_lock(side.name("lock"))
    return Call("a pair", lambda: lock.acquire() and lock.release(), True)


def test_what_is_wrong_with_one_beside_is_its_own_affair(tmp_path: Path) -> None:
    there = place(tmp_path)
    gone = msgspec.structs.replace(there, url="file:///proc/nothing-can-be-made-here")
    others = Others({"good": there, "gone": gone, "none": "no driver for it"}, prepare)
    assert set(others.calls) == {"good"}
    assert others.reasons["none"] == "no driver for it"
    assert "cannot be used" in others.reasons["gone"]
    assert others.calls["good"].run() is True
    others.stop()


def test_one_beside_that_cannot_be_stopped_has_no_figures(tmp_path: Path) -> None:
    def preparing(side: Side) -> Call:
        coordinator = side.coordinator("alone")
        coordinator.stop()  # a second time, at the end, it will not be had
        return Call("nothing", lambda: None)

    others = Others({"other": place(tmp_path)}, preparing)
    others.stop()
    assert others.reasons["other"].startswith("stop(): ")


def test_one_beside_that_lacks_the_feature_says_so(tmp_path: Path) -> None:
    there = place(tmp_path)
    driver = msgspec.structs.replace(there.driver, features=frozenset({Feature.LOCKS}))
    bare = msgspec.structs.replace(there, driver=driver)
    found = able({"a": there, "b": bare, "c": "no driver"}, (Feature.LOCKS, Feature.GROUPS))
    assert found == {"a": there, "b": "the driver does not have GROUPS", "c": "no driver"}


def test_relative_is_how_many_times_the_median_of_the_one_under_test() -> None:
    fast, slow = (
        Benchmark(
            test="t", what="w", backend="b", level="threads", times={"call": measure(samples)}
        )
        for samples in (nanoseconds([10, 20, 30]), nanoseconds([40, 50, 60]))
    )
    assert relative_to(fast, slow, "call").relative == 2.5
    broken = msgspec.structs.replace(slow, times={}, invalid="wrong")
    assert relative_to(fast, broken, "call").relative is None
    assert relative_to(broken, slow, "call").relative is None


class _Once:
    """What stands for pytest-benchmark's fixture: it makes the call one time."""

    enabled = True

    def __call__(self, run: Callable[[], object]) -> object:
        return run()


@pytest.mark.parametrize("who_breaks", ["the one under test", "the other"])
def test_a_call_that_does_something_else_in_a_later_life_has_no_figures(
    tmp_path: Path, who_breaks: str
) -> None:
    prepared: list[Side] = []
    found: list[Benchmark] = []

    def preparing(side: Side) -> Call:
        prepared.append(side)
        # The first is pytest-benchmark's; then, in each life, the one under test and the other.
        good = len(prepared) != {"the one under test": 4, "the other": 5}[who_breaks]
        return Call("a try", lambda: good, True)

    def measure_all() -> None:
        there = place(tmp_path)
        with Uncontended(
            place=there,
            beside={"other": there},
            test="a test",
            run_id="run",
            run_directory=tmp_path,
            effort=Effort(rounds=9, seconds=60.0, contended=1.0, lives=3),
            benchmark=_Once(),
            record=found.append,
        ) as uncontended:
            uncontended.measure(preparing)

    if who_breaks == "the other":
        measure_all()
        assert len(set(map(id, prepared))) == len(prepared) == 6  # it has no third life
        ours, other = found
        assert ours.times["call"].count == 9
        assert other.invalid == "a try answered False, not True"
    else:
        with pytest.raises(WrongAnswer):
            measure_all()
        assert len(prepared) == 5
        ours, other = found
        assert ours.invalid == "a try answered False, not True"
        assert other.relative is None


@pytest.mark.parametrize("backend", EMBEDDED)
def test_every_floor_does_what_it_says(backend: str, tmp_path: Path) -> None:
    url = f"{backend}://{tmp_path}"
    with open_floors(backend, url, f"test-{os.getpid()}") as floors:
        assert len(floors) == 4
        for floor in floors.values():
            effort = Effort(rounds=2, seconds=60.0, contended=1.0, batch=1)
            (timed,) = take_turns([floor], effort)
            assert timed.failed is None


def test_floors_of_files_leave_none_behind(tmp_path: Path) -> None:
    with open_floors("file", f"file://{tmp_path}", "run"):
        assert any(tmp_path.iterdir())
    assert not any(tmp_path.iterdir())


def test_a_backend_without_a_known_floor_has_none() -> None:
    with open_floors("another", "another://", "run") as floors:
        assert not floors


# -- clients ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.mark.parametrize("level", ["threads", "processes"])
def test_contending_clients_acquire_hold_and_release_in_turn(
    crew: Crew, level: str, tmp_path: Path
) -> None:
    target = Target("reference", f"file://{tmp_path / 'locks'}", level)
    history = run(crew, target, contend(2, 0.2), tmp_path)
    assert judge(history).verdict is Verdict.HELD
    for operations in history.by_client().values():
        names = [o.name for o in operations if o.value is True]
        assert names == ["acquire", "release"] * (len(names) // 2)
    assert contention(history, 2, 1.0).holds.min() >= HOLD * 1e9


# -- a whole run ------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, str]:
    """Measure the file backend; return the run's directory, its result, what was printed."""
    directory = tmp_path_factory.mktemp("measured")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--backend=file"),
            *("--benchmark-only", "--profile=smoke", "--benchmark-max-time=0.01"),
        ],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (path,) = directory.glob("results/*/result.json")
    return path.parent, load_run(path), done.stdout


def test_a_run_measures_everything_and_tries_no_claim(measured: tuple[Path, Run, str]) -> None:
    _, run, _ = measured
    assert not run.scenarios
    assert {b.what for b in run.benchmarks if b.clients == 1} == {
        "uncontended acquire + release",
        "refused try",
        "join + leave",
        "get_members",
    }
    contended = {(b.level, b.clients) for b in run.benchmarks if b.clients > 1}
    assert contended == {(level, n) for level in ("threads", "processes") for n in (2, 4, 8)}
    assert not [b.invalid for b in run.benchmarks if b.invalid]


def test_an_uncontended_call_stands_beside_its_floor(measured: tuple[Path, Run, str]) -> None:
    _, run, _ = measured
    for benchmark in run.benchmarks:
        if benchmark.clients == 1:
            assert benchmark.floor_what
            assert benchmark.floor is not None
            assert benchmark.ratio == pytest.approx(
                benchmark.times["call"].median / benchmark.floor
            )


def test_a_contended_lock_has_its_figures(measured: tuple[Path, Run, str]) -> None:
    _, run, _ = measured
    for benchmark in run.benchmarks:
        if benchmark.clients > 1:
            assert {"wait", "hand-off", "hold"} <= set(benchmark.times)
            assert benchmark.figures["grants per second"] > 0
            assert 1 / benchmark.clients <= benchmark.figures["jain index"] <= 1


def test_raw_samples_are_kept_beside_the_result(measured: tuple[Path, Run, str]) -> None:
    directory, run, _ = measured
    for benchmark in run.benchmarks:
        samples = {kind: np.load(directory / path) for kind, path in benchmark.samples.items()}
        assert {its.dtype for its in samples.values()} == {np.dtype(np.int64)}
        for kind, distribution in benchmark.times.items():
            assert measure(samples[kind]) == distribution
        if benchmark.floor is not None:
            assert measure(samples["floor"]).median == benchmark.floor


def test_the_figures_are_printed(measured: tuple[Path, Run, str]) -> None:
    _, _, printed = measured
    assert "benchmarks" in printed
    assert "jain" in printed.lower()


NOT_EXCLUSIVE = """
from conformance.drivers.file import FileDriver
from conformance.coordination import get_coordinator

def make(url, member, **options):
    coordinator = get_coordinator(url, member, **options)
    get_lock = coordinator.get_lock
    coordinator.get_lock = lambda name: get_lock(name + str(id(coordinator)).encode())
    return coordinator
"""
"""Gives every coordinator a lock of its own under one name."""


def test_a_lock_that_is_not_exclusive_fails_with_evidence_and_without_figures(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    (tmp_path / "everyone.py").write_text(NOT_EXCLUSIVE)
    done = run_pytest(
        "--backend=file", "--implementation=everyone:make", "--benchmark-only", "--profile=smoke",
        "--level=threads", "-k", "contended and -2]",
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    (path,) = tmp_path.glob("results/*/result.json")
    (benchmark,) = load_run(path).benchmarks
    assert benchmark.invalid is not None
    assert not benchmark.figures
    evidence = load_evidence(path.parent / benchmark.evidence[0])
    assert evidence.finding.verdict is Verdict.FALSIFIED
    assert "--benchmark-only" in evidence.command


def test_a_level_that_is_not_claimed_is_invalid_and_no_failure(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    done = run_pytest(
        "--backend=zake", "--benchmark-only", "--profile=smoke",
        "--level=processes", "-k", "contended and -2]",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 xfailed" in done.stdout
    (path,) = tmp_path.glob("results/*/result.json")
    (benchmark,) = load_run(path).benchmarks
    assert benchmark.invalid is not None


BROKEN = """
from conformance.coordination import get_coordinator

def make(url, member, **options):
    coordinator = get_coordinator(url, member, **options)
    get_lock = coordinator.get_lock

    def half_a_lock(name):
        lock = get_lock(name)
        lock.acquire = lambda *arguments, **options: False
        return lock

    coordinator.get_lock = half_a_lock
    return coordinator

def nowhere(url, member, **options):
    raise RuntimeError("it wants something else installed")
"""
"""One whose locks are never to be had, and one that cannot be made."""


def test_implementations_are_measured_side_by_side_in_one_run(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "other.py").write_text("from conformance.coordination import get_coordinator")
    names = ["other:get_coordinator", "broken:make", "broken:nowhere"]
    done = run_pytest(
        "--backend=file", f"--beside={','.join(names)}", "--benchmark-only", "--profile=smoke",
        "--level=threads", "--benchmark-max-time=0.01", "-k", "acquire or (contended and -2])",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "no driver of broken:nowhere: the factory failed: RuntimeError: it wants" in done.stdout
    (path,) = tmp_path.glob("results/*/result.json")
    run = load_run(path)
    assert run.settings["beside"] == ",".join(names)
    assert [other.implementation for other in run.beside] == names[:2]
    for alone in (True, False):
        ours, other, half, none = [b for b in run.benchmarks if (b.clients == 1) is alone]
        assert [ours.implementation, other.implementation] == ["reference", names[0]]
        assert ours.relative is None
        assert ours.invalid is None
        what = "call" if alone else "hand-off"
        assert other.relative == pytest.approx(other.times[what].median / ours.times[what].median)
        assert (ours.floor, ours.floor_what) == (other.floor, other.floor_what)
        assert set(ours.samples.values()).isdisjoint(other.samples.values())
        assert half.invalid is not None
        assert not half.times
        assert none.invalid == "the factory failed: RuntimeError: it wants something else installed"


def test_one_beside_whose_lock_is_not_exclusive_has_evidence_and_fails_nothing(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    (tmp_path / "everyone.py").write_text(NOT_EXCLUSIVE)
    done = run_pytest(
        "--backend=file", "--beside=everyone:make", "--benchmark-only", "--profile=smoke",
        "--level=threads", "-k", "contended and -2]",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (path,) = tmp_path.glob("results/*/result.json")
    ours, theirs = load_run(path).benchmarks
    assert ours.invalid is None
    assert theirs.invalid is not None
    evidence = load_evidence(path.parent / theirs.evidence[0])
    assert evidence.implementation == "everyone:make"
    assert "--implementation=everyone:make" in evidence.command


def test_benchmarks_run_only_when_asked_for(run_pytest: Pytest) -> None:
    plain = run_pytest("--backend=file", "--collect-only", "-q").stdout
    asked = run_pytest("--backend=file", "--collect-only", "-q", "--benchmark-only").stdout
    assert "test_contended" not in plain
    assert "test_locks.py" in plain
    assert "test_contended" in asked
    assert "test_locks.py" not in asked


def test_benchmarks_are_not_measured_by_several_processes(run_pytest: Pytest) -> None:
    done = run_pytest("--backend=file", "--benchmark-only", "-n", "2")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "leave -n out" in done.stdout
