"""The workload: what clients did is recorded, whatever happens to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

import conformance.workload.performer
from conformance.coordination import get_coordinator
from conformance.history import Fault, Outcome
from conformance.workload.crew import Crew
from conformance.workload.journal import Journal, read_journal
from conformance.workload.nursery import Nursery, NurseryFailed
from conformance.workload.performer import Party, Performer
from conformance.workload.plan import Phase, Plan, PlannedFault, Step, describe
from conformance.workload.runner import Session, StartFailed, StopFailed, Target, run

LOCK = b"lock-a"
GROUP = b"group-a"


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target("reference", f"file://{tmp_path}/file", "processes")


def at_threads(target: Target) -> Target:
    return Target(target.implementation, target.url, "threads", target.path)


def test_a_history_has_every_call_with_its_result(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({0: [Step("acquire", LOCK)]}),
            Phase({1: [Step("acquire", LOCK, {"blocking": False})]}),
        ],
    )
    first, second = run(crew, target, plan, tmp_path).operations
    assert (first.client, first.name, first.target, first.value) == (0, "acquire", LOCK, True)
    assert (second.client, second.value) == (1, False)
    assert first.end is not None
    assert first.call <= first.end <= second.call


def test_phases_follow_one_another(crew: Crew, target: Target, tmp_path: Path) -> None:
    look = [Step("is_started")] * 20
    plan = Plan({n: n for n in range(3)}, [Phase(dict.fromkeys(range(3), look))] * 2)
    history = run(crew, target, plan, tmp_path)
    by_client = history.by_client()
    first_ends = max(operations[19].end or 0 for operations in by_client.values())
    second_begins = min(operations[20].call for operations in by_client.values())
    assert first_ends < second_begins


def test_a_coordinator_may_go_elsewhere(crew: Crew, target: Target, tmp_path: Path) -> None:
    phases = [Phase({client: [Step("acquire", LOCK, {"blocking": False})]}) for client in range(3)]
    plan = Plan({n: n for n in range(3)}, phases, urls={1: f"file://{tmp_path}/elsewhere"})
    assert [o.value for o in run(crew, target, plan, tmp_path).operations] == [True, True, False]
    assert "a URL of their own: [1]" in describe(plan)
    assert "elsewhere" not in describe(plan)


def test_a_session_notes_what_was_done_to_a_link(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    fault = Fault("cut", 0, 1, 2)
    with Session(crew, target, Plan({0: 0}, []), tmp_path) as session:
        session.note(fault)
        assert session.history().faults == [fault]


def test_who_goes_on_is_not_given_up(crew: Crew, target: Target, tmp_path: Path) -> None:
    steps = [Step("idle", b"", {"seconds": 0.5})] * 5
    plan = Plan({0: 0}, [Phase({0: steps})], patience=1.5)
    history = run(crew, target, plan, tmp_path)
    assert [operation.is_ok for operation in history.operations] == [True] * 5
    assert history.faults == []


def test_setting_the_clock_gives_nobody_up(
    crew: Crew, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", partial(sum, (time.time(), 3600.0)))
    plan = Plan({0: 0}, [Phase({0: [Step("idle", b"", {"seconds": 0.5})] * 3})], patience=0.8)
    history = run(crew, target, plan, tmp_path)
    assert [operation.is_ok for operation in history.operations] == [True] * 3
    assert history.faults == []


def test_watchers_look_at_everything_on_a_slow_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "0.journal")
    coordinator = get_coordinator(f"file://{tmp_path}/file", b"m0")
    coordinator.start()
    performer = Performer(0, b"m0", Party(coordinator, b"", False), journal)
    for name in ("create_group", "watch", "join_group"):
        performer.perform(Step(name, GROUP))
    with monkeypatch.context() as slow:
        slow.setattr(conformance.workload.performer, "PATIENCE", 0.0)
        performer.perform(Step("run_watchers"))
    coordinator.stop()
    journal.close()
    assert read_journal(tmp_path / "0.journal")[-1].value == [["join", GROUP, b"m0"]]


def test_names_are_the_plans_and_not_the_backends(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    steps = [
        Step("create_group", GROUP),
        Step("join_group", GROUP, {"capabilities": 1}),
        Step("get_groups"),
        Step("get_members", GROUP),
        Step("get_members_with_capabilities", GROUP),
        Step("campaign", GROUP),
        Step("get_leader", GROUP),
    ]
    for at_end in (False, True):
        plan = Plan({0: 0}, [Phase({0: steps})], marked_at_end=at_end, members={0: b"me"})
        values = [o.value for o in run(crew, target, plan, tmp_path).operations]
        assert values == [None, None, [GROUP], [b"me"], {b"me": 1}, True, b"me"]


def test_two_trials_never_meet(crew: Crew, target: Target, tmp_path: Path) -> None:
    plan = Plan({0: 0}, [Phase({0: [Step("acquire", LOCK, {"blocking": False})]})])
    with Session(crew, target, plan, tmp_path) as one, Session(crew, target, plan, tmp_path) as two:
        assert one.call(0, Step("acquire", LOCK, {"blocking": False})).value is True
        assert two.call(0, Step("acquire", LOCK, {"blocking": False})).value is True


def test_errors_of_the_family_are_certain_and_named(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    plan = Plan({0: 0}, [Phase({0: [Step("get_members", GROUP), Step("stop"), Step("stop")]})])
    missing, _, stopped = run(crew, target, plan, tmp_path).operations
    assert (missing.outcome, missing.error) == (Outcome.FAIL, "GroupNotCreated")
    assert (stopped.outcome, stopped.error) == (Outcome.FAIL, "ToozError")


def test_a_killed_client_leaves_an_operation_of_unknown_outcome(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({0: [Step("acquire", LOCK)]}),
            Phase(
                {0: [Step("idle", b"", {"seconds": 60.0})], 1: [Step("acquire", LOCK)]},
                [PlannedFault("kill", 0, at=0.05)],
            ),
            Phase({0: [Step("release", LOCK)], 1: [Step("release", LOCK)]}),
        ],
    )
    history = run(crew, target, plan, tmp_path)
    (idle,) = history.only("idle")
    assert (idle.outcome, idle.end) == (Outcome.INFO, None)
    (kill,) = history.faults
    assert (kill.kind, kill.client) == ("kill", 0)
    assert [o.client for o in history.only("release")] == [1]


def test_a_paused_client_goes_on_afterwards(crew: Crew, target: Target, tmp_path: Path) -> None:
    looks = [Step("is_started", pause=0.01)] * 10
    plan = Plan({0: 0}, [Phase({0: looks}, [PlannedFault("pause", 0, at=0.03, seconds=0.2)])])
    history = run(crew, target, plan, tmp_path)
    (pause,) = history.faults
    assert pause.end is not None
    assert pause.end - pause.begin >= 0.19e9
    assert len(history) == 10
    during = [o for o in history.operations if pause.begin + 5e6 < o.call < pause.end]
    assert not during


def test_a_call_that_never_returns_is_given_up(crew: Crew, target: Target, tmp_path: Path) -> None:
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({0: [Step("acquire", LOCK)]}),
            Phase({1: [Step("acquire", LOCK, {"blocking": True})]}),
            Phase({0: [Step("release", LOCK)], 1: [Step("is_started")]}),
        ],
        patience=0.5,
    )
    history = run(crew, target, plan, tmp_path)
    stuck = [operation for operation in history.operations if operation.end is None]
    assert [(o.client, o.name) for o in stuck] == [(1, "acquire")]
    assert [fault.kind for fault in history.faults] == ["give up"]
    assert not [o for o in history.operations if o.client == 1 and o.name == "is_started"]


@pytest.mark.parametrize("level", ["threads", "processes"])
def test_a_client_waits_while_others_go_on(
    crew: Crew, target: Target, tmp_path: Path, level: str
) -> None:
    take, release = Step("acquire", LOCK, {"blocking": 60.0}), Step("release", LOCK)
    at_level = Target(target.implementation, target.url, level, target.path)
    with Session(crew, at_level, Plan({0: 0, 1: 1, 2: 2}, []), tmp_path) as session:
        session.call(0, take)
        with session.during(Phase({1: [take]})):
            session.perform(Phase({0: [Step("is_started")], 2: [Step("is_started")]}))
            session.call(0, release)
        granted = session.call(1, release)
    assert granted.value is True


def test_a_phase_that_is_broken_off_leaves_nobody_busy(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    waiting = Phase({1: [Step("acquire", LOCK, {"blocking": 0.2})]})

    def break_off() -> None:
        with Session(crew, at_threads(target), Plan({0: 0, 1: 1}, []), tmp_path) as session:
            session.call(0, Step("acquire", LOCK))
            with session.during(waiting):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()


def test_a_worker_is_dead_when_its_kill_returns() -> None:
    with Crew() as crew:
        (worker,) = crew.take(1, "file:///nowhere")
        worker.pause()
        worker.kill()
        state = Path(f"/proc/{worker.process}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "Z"  # proc(5): dead, and not yet waited for by its parent
        crew.give_back([worker])


@pytest.mark.parametrize("url", ["file:///nowhere", "no-such-driver://", "no scheme"])
def test_workers_start_whatever_the_url_and_die_with_what_they_were_forked_from(url: str) -> None:
    nursery = Nursery()
    process, connection = nursery.bear(urlsplit(url).scheme)
    life = os.pidfd_open(process)
    nursery.close()
    assert wait([life], timeout=20.0)
    os.close(life)
    connection.close()


def test_a_nursery_that_ended_is_told() -> None:
    nursery = Nursery()
    process, connection = nursery.bear("file")
    connection.close()
    status = Path(f"/proc/{process}/status").read_text()
    parent = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    os.kill(int(parent), signal.SIGKILL)
    with pytest.raises(NurseryFailed, match="ended"):
        nursery.bear("file")
    nursery.close()


def test_threads_may_share_a_coordinator(crew: Crew, target: Target, tmp_path: Path) -> None:
    join = [Step("join_group_create", GROUP)]
    plan = Plan({0: 0, 1: 0}, [Phase({0: join}), Phase({1: join})])
    errors = [o.error for o in run(crew, at_threads(target), plan, tmp_path).operations]
    assert errors == [None, "MemberAlreadyExist"]


def test_a_coordinator_that_cannot_start_is_no_history(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    blocked = Target("reference", f"file://{tmp_path}/taken", "threads")
    with pytest.raises(StartFailed, match="taken"):
        run(crew, blocked, Plan({0: 0}, []), tmp_path)


def test_a_stop_that_fails_is_told_with_its_history(crew: Crew, tmp_path: Path) -> None:
    broken = Target(
        "tests.broken_at_stop:coordinator",
        f"file://{tmp_path}/file",
        "threads",
        [str(Path(__file__).parent.parent)],
    )
    plan = Plan({0: 0}, [Phase({0: [Step("acquire", LOCK)]})])
    with pytest.raises(StopFailed, match="not today") as failed:
        run(crew, broken, plan, tmp_path)
    assert len(failed.value.history) == 1


def test_a_warning_of_somebody_elses_driver_is_no_failure(crew: Crew, tmp_path: Path) -> None:
    url, path = f"file://{tmp_path}/file", [str(Path(__file__).parent.parent)]
    outdated = Target("tests.outdated:coordinator", url, "threads", path)
    plan = Plan({0: 0}, [Phase({0: [Step("heartbeat")]})])
    assert [beat.is_ok for beat in run(crew, outdated, plan, tmp_path).operations] == [True]


def test_a_trial_that_fails_leaves_the_next_one_alone(
    crew: Crew, target: Target, tmp_path: Path
) -> None:
    broken = Target(
        "tests.broken_at_stop:coordinator",
        f"file://{tmp_path}/file",
        "processes",
        [str(Path(__file__).parent.parent)],
    )
    steps = [Step("acquire", LOCK, {"blocking": False})]
    plan = Plan({0: 0, 1: 1, 2: 2}, [Phase({0: steps})])
    with pytest.raises(StopFailed, match="not today"):
        run(crew, broken, plan, tmp_path)
    for _ in range(2):
        with pytest.raises(StartFailed):
            run(crew, target, msgspec.structs.replace(plan, urls={1: "nowhere://"}), tmp_path)
    assert [operation.value for operation in run(crew, target, plan, tmp_path).operations] == [True]


def test_a_torn_journal_is_read_up_to_the_tear(tmp_path: Path) -> None:
    path = tmp_path / "0.journal"
    journal = Journal(path)
    step = Step("acquire", LOCK)
    for number in range(3):
        journal.intend(0, step, b"m0")
        journal.conclude(10 * number, 10 * number + 5, Outcome.OK, True, None)
    journal.close()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        operations = read_journal(path)
        assert all(o.value is True for o in operations[:-1])
        assert len(operations) <= 3


def test_a_plan_is_described_for_a_person() -> None:
    plan = Plan(
        {0: 0, 1: 1},
        [Phase({0: [Step("acquire", LOCK, {"blocking": 0.5})]}, [PlannedFault("pause", 0, 0, 2)])],
        options={"timeout": 3},
    )
    text = describe(plan)
    for said in ("acquire(b'lock-a', blocking=0.5)", "pause client 0 for 2 s", "{'timeout': 3}"):
        assert said in text
