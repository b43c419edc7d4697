"""Watches: each join and leave that lasts is reported once, in order, to who watches."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from conformance.checkers import check_watches
from conformance.history import Fault, History, MalformedHistory, Operation
from conformance.verdict import Verdict
from tests.histories import history, info, ok

HELD, FALSIFIED = Verdict.HELD, Verdict.FALSIFIED
WATCHER = 9

Event = tuple[str, bytes]


def join(client: int, call: int, end: int | None = None) -> Operation:
    return ok(client, "join_group", call, call + 5 if end is None else end, capabilities=None)


def leave(client: int, call: int, end: int | None = None) -> Operation:
    return ok(client, "leave_group", call, call + 5 if end is None else end)


def watch(call: int = 10, end: int | None = None) -> Operation:
    return ok(WATCHER, "watch", call, call + 5 if end is None else end)


def run(call: int, *events: Event, end: int | None = None, group: bytes = b"x") -> Operation:
    told = [[kind, group, member] for kind, member in events]
    end = call + 5 if end is None else end
    return ok(WATCHER, "run_watchers", call, end, told, target=b"")


def joined(client: int) -> Event:
    return "join", f"m{client}".encode()


def left(client: int) -> Event:
    return "leave", f"m{client}".encode()


def verdict(*operations: Operation, ttl: float | None = None) -> Verdict:
    return check_watches(history(*operations), ttl=ttl).verdict


# -- reported once, in time ----------------------------------------------------------------------


def test_a_join_is_reported_by_the_next_run() -> None:
    assert verdict(watch(), join(1, 20), run(30, joined(1)), run(40)) is HELD


def test_a_join_that_is_never_reported_is_a_violation() -> None:
    finding = check_watches(history(watch(), join(1, 20), run(30)))
    assert finding.verdict is FALSIFIED
    assert "was told by run_watchers" in finding.reason
    assert "nothing of b'm1'" in finding.reason
    assert [o.name for o in finding.witness] == ["watch", "join_group", "run_watchers"]


def test_a_leave_that_is_never_reported_is_a_violation() -> None:
    assert verdict(join(1, 0), watch(), leave(1, 20), run(30)) is FALSIFIED
    assert verdict(join(1, 0), watch(), leave(1, 20), run(30, left(1))) is HELD


def test_a_join_that_is_reported_twice_is_a_violation() -> None:
    assert verdict(watch(), join(1, 20), run(30, joined(1)), run(40, joined(1))) is FALSIFIED
    assert verdict(watch(), join(1, 20), run(30, joined(1), joined(1))) is FALSIFIED


def test_a_join_that_never_happened_is_not_reported() -> None:
    assert verdict(watch(), run(30, joined(1))) is FALSIFIED
    assert verdict(watch(), run(30, joined(1)), join(1, 40)) is FALSIFIED


def test_a_join_during_a_run_is_reported_by_it_or_by_the_next() -> None:
    during = join(1, 20, 60)
    assert verdict(watch(), during, run(30, joined(1)), run(70)) is HELD
    assert verdict(watch(), during, run(30), run(70, joined(1))) is HELD
    assert verdict(watch(), during, run(30), run(70)) is FALSIFIED


def test_who_was_there_before_is_not_reported_as_joining() -> None:
    assert verdict(join(1, 0), watch(), run(30)) is HELD
    assert verdict(join(1, 0), watch(), run(30, joined(1))) is FALSIFIED


def test_watching_joins_may_begin_before_watching_leaves() -> None:
    stay = [watch(10, 40), join(1, 20), leave(1, 50)]
    assert verdict(*stay, run(60, left(1))) is HELD
    assert verdict(*stay, run(60)) is HELD
    assert verdict(*stay, run(60, joined(1))) is FALSIFIED


def test_a_stay_between_two_runs_may_go_unreported() -> None:
    stay = [watch(), join(1, 20), leave(1, 30)]
    assert verdict(*stay, run(40)) is HELD
    assert verdict(*stay, run(40, joined(1), left(1))) is HELD
    assert verdict(*stay, run(40, joined(1))) is FALSIFIED
    assert verdict(*stay, run(40, left(1))) is FALSIFIED
    assert verdict(*stay, run(40, *[joined(1), left(1)] * 2)) is FALSIFIED


def test_who_left_and_came_back_is_reported_as_left_and_joined() -> None:
    back = [join(1, 0), watch(), leave(1, 20), join(1, 30)]
    assert verdict(*back, run(40, left(1), joined(1))) is HELD
    assert verdict(*back, run(40)) is FALSIFIED
    assert verdict(*back, run(40, joined(1), left(1))) is FALSIFIED
    assert verdict(*back, run(40, joined(1))) is FALSIFIED


# -- in order ------------------------------------------------------------------------------------


def test_joins_are_reported_in_their_order() -> None:
    joins = [watch(), join(1, 20), join(2, 30)]
    assert verdict(*joins, run(40, joined(1), joined(2))) is HELD
    assert verdict(*joins, run(40, joined(2), joined(1))) is FALSIFIED


def test_joins_at_the_same_time_have_no_order() -> None:
    joins = [watch(), join(1, 20, 35), join(2, 22, 33)]
    assert verdict(*joins, run(40, joined(2), joined(1))) is HELD


def test_an_earlier_join_is_not_reported_by_a_later_run() -> None:
    joins = [watch(), join(1, 22, 24), join(2, 25, 28)]
    assert verdict(*joins, run(20, joined(2), end=30), run(40, joined(1))) is FALSIFIED
    assert verdict(*joins, run(20, joined(1), end=30), run(40, joined(2))) is HELD


# -- to who watches ------------------------------------------------------------------------------


def test_another_groups_events_are_not_reported() -> None:
    assert verdict(watch(), run(30, joined(1), group=b"y")) is FALSIFIED


def test_who_does_not_watch_is_told_nothing() -> None:
    assert verdict(join(1, 0), run(30, joined(1))) is FALSIFIED
    assert verdict(join(1, 0), run(30)) is HELD


def test_who_watches_no_more_is_told_nothing_more() -> None:
    unwatch = ok(WATCHER, "unwatch", 20, 25)
    assert verdict(watch(), unwatch, join(1, 30), run(40)) is HELD
    assert verdict(watch(), unwatch, run(35), join(1, 37), run(50, joined(1))) is FALSIFIED


def test_other_watchers_are_told_on_their_own() -> None:
    other = [ok(8, "watch", 10, 15), ok(8, "run_watchers", 50, 55, [], target=b"")]
    mine = [watch(), join(1, 20), run(30, joined(1))]
    assert verdict(*mine) is HELD
    assert verdict(*mine, *other) is FALSIFIED


def test_a_client_goes_on_watching_after_an_unknown_outcome() -> None:
    lost = info(WATCHER, "run_watchers", 30, 35, target=b"")
    later = ok(WATCHER + 100, "run_watchers", 50, 55, [["join", b"x", b"m1"]], target=b"")
    assert verdict(watch(), join(1, 20), lost, later) is HELD
    silent = ok(WATCHER + 100, "run_watchers", 50, 55, [], target=b"")
    assert verdict(watch(), join(1, 20), lost, silent) is FALSIFIED


def test_watching_twice_at_a_time_is_inconclusive() -> None:
    finding = check_watches(history(watch(), watch(20), join(1, 30), run(40, joined(1))))
    assert finding.verdict is Verdict.INCONCLUSIVE


def test_a_group_may_be_watched_again() -> None:
    unwatch = ok(WATCHER, "unwatch", 20, 25)
    again = [watch(), unwatch, join(1, 30), watch(40), run(50), leave(1, 60)]
    assert verdict(*again, run(70, left(1))) is HELD
    assert verdict(*again, run(70)) is FALSIFIED


# -- members that go without leaving -------------------------------------------------------------


def test_a_killed_member_is_reported_once_it_is_gone() -> None:
    stay = [join(1, 0), watch()]
    killed = [Fault("kill", 1, 50)]
    for events in ((), (left(1),)):
        given = history(*stay, run(60, *events), faults=killed)
        assert check_watches(given).verdict is HELD
    early = history(*stay, run(30, left(1)), faults=killed)
    assert check_watches(early).verdict is FALSIFIED


def test_a_stopped_member_is_reported_as_left() -> None:
    stopped = [join(1, 0), watch(), ok(1, "stop", 20, 25, target=b"")]
    assert verdict(*stopped, run(30, left(1))) is HELD
    assert verdict(*stopped, run(30)) is FALSIFIED


def test_a_member_may_expire() -> None:
    stay = [join(1, 0), watch()]
    assert verdict(*stay, run(120, left(1)), ttl=100 / 1e9) is HELD
    assert verdict(*stay, run(80, left(1)), ttl=100 / 1e9) is FALSIFIED
    assert verdict(*stay, run(120, left(1))) is FALSIFIED


def test_a_join_of_unknown_outcome_may_be_reported_or_not() -> None:
    unknown = info(1, "join_group", 20, 25)
    assert verdict(watch(), unknown, run(30)) is HELD
    assert verdict(watch(), unknown, run(30), run(60, joined(1))) is HELD
    assert verdict(watch(), unknown, run(30, joined(1)), run(60, joined(1))) is FALSIFIED


def test_a_malformed_history_is_refused() -> None:
    with pytest.raises(MalformedHistory):
        check_watches(History([run(10), watch(12)]))


# -- the same verdict as trying everything -------------------------------------------------------


def _watched(random: Random) -> History:
    """Return a history of one watched member, in which a report may be wrong."""
    moment, operations, member = 0, [], False
    known = False
    operations.append(watch(1))
    moment = 10
    free = {1: 0, WATCHER: 6}
    for _ in range(random.randint(2, 7)):
        moment += 10
        client = random.choice([1, WATCHER])
        call = random.randint(max(free[client], moment - 12), moment)
        end = random.randint(moment, moment + 4)
        free[client] = end + 1
        if client == 1:
            operations.append(leave(1, call, end) if member else join(1, call, end))
            member = not member
        else:
            events = [left(1)] if known and not member else []
            events += [joined(1)] if member and not known else []
            known = member
            if random.random() < 0.3:
                events = random.choice([[], [joined(1)], [left(1)], [left(1), joined(1)]])
            operations.append(run(call, *events, end=end))
    return history(*operations)


def _right(given: History) -> bool:
    """Whether some moments for all calls make every report what changed since the last."""
    changes = [o for o in given.operations if o.client == 1]
    looks = [o for o in given.operations if o.client == WATCHER]
    spans = [range(o.call, (o.end or 0) + 1) for o in looks]
    assert all(spans)
    return any(
        _told(looks, places) for places in product(*[_seen(changes, look) for look in looks])
    )


def _seen(changes: list[Operation], look: Operation) -> list[int]:
    """Return how many changes a look may have seen."""
    return [
        count
        for count in range(len(changes) + 1)
        if all(change.call <= (look.end or 0) for change in changes[:count])
        and all((change.end or 0) >= look.call for change in changes[count:])
    ]


def _told(looks: list[Operation], places: tuple[int, ...]) -> bool:
    for look, before, after in zip(looks[1:], places, places[1:], strict=False):
        if after < before:
            return False
        reports: set[tuple[str, ...]] = {()}
        if before % 2 == 1 and after != before:
            reports = {("leave",)}
        first = before + before % 2  # from where the member was absent
        whole = (after - first) // 2 if after >= first else 0
        reports = {r + ("join", "leave") * n for r in reports for n in range(whole + 1)}
        if after % 2 == 1 and after != before:
            reports = {(*report, "join") for report in reports}
        if tuple(kind for kind, _, _ in look.value) not in reports:
            return False
    return True


@pytest.mark.parametrize("seed", range(10))
def test_verdicts_are_those_of_brute_force(seed: int) -> None:
    random = Random(f"watches {seed}")
    found = set()
    for _ in range(200):
        given = _watched(random)
        right = _right(given)
        found.add(right)
        assert check_watches(given).verdict is (HELD if right else FALSIFIED), given
    assert found == {True, False}
