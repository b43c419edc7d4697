"""The timeline: holds, the window around a witness, and where everything stands."""

from __future__ import annotations

import itertools

import pytest

from conformance.history import History, Outcome
from conformance.reporting import wording
from conformance.reporting.drawing import Rectangle
from conformance.reporting.holds import find_holds, find_overlaps
from conformance.reporting.timeline import LEFT, MOST_BARS, RIGHT, WIDTH, lay_out
from conformance.reporting.view import Window, extent, nearest, window
from tests import sample_runs as sample

# -- holds and the view -----------------------------------------------------------


def test_a_hold_lasts_from_the_end_of_acquire_to_the_call_of_release() -> None:
    acquire = sample.operation(0, "acquire", 0, 1, True)
    release = sample.operation(0, "release", 5, 6, True)
    (hold,) = find_holds(History.of([acquire, release]))
    assert (hold.begin, hold.end, hold.closing) == (acquire.end, release.call, release)


def test_a_refused_acquire_is_no_hold() -> None:
    assert not find_holds(History.of([sample.operation(0, "acquire", 0, 1, False)]))


def test_a_hold_that_was_never_given_up_has_no_end() -> None:
    (hold,) = find_holds(History.of([sample.operation(0, "acquire", 0, 1, True)]))
    assert hold.end is None


@pytest.mark.parametrize(
    ("name", "value", "client"), [("stop", None, 0), ("break_", True, 1), ("acquire", True, 0)]
)
def test_a_hold_ends_with(name: str, value: object, client: int) -> None:
    acquire = sample.operation(0, "acquire", 0, 1, True)
    ending = sample.operation(client, name, 4, 5, value)
    hold = find_holds(History.of([acquire, ending]))[0]
    assert hold.closing == ending


def test_a_hold_ends_when_its_client_is_killed() -> None:
    acquire = sample.operation(0, "acquire", 0, 1, True)
    kill = sample.fault("kill", 0, 3)
    (hold,) = find_holds(History.of([acquire], [kill]))
    assert (hold.end, hold.closing) == (kill.begin, None)


def test_a_shared_lock_object_is_released_by_any_of_its_clients() -> None:
    acquire = sample.operation(0, "acquire", 0, 1, True, member=b"m", object=1)
    release = sample.operation(1, "release", 2, 3, True, member=b"m", object=1)
    (hold,) = find_holds(History.of([acquire, release]))
    assert (hold.opening, hold.closing) == (acquire, release)


def test_a_term_lasts_from_the_election_to_standing_down() -> None:
    elected = sample.operation(0, "campaign", 0, 1, True)
    down = sample.operation(0, "stand_down", 5, 6, None)
    (term,) = find_holds(History.of([elected, down]))
    assert (term.what, term.end) == ("leads", down.call)


def test_only_overlaps_that_the_witness_shows_are_marked() -> None:
    operations = [
        sample.operation(0, "acquire", 0, 1, True),
        sample.operation(1, "acquire", 2, 3, True),
        sample.operation(2, "acquire", 4, 5, True),
    ]
    (overlap,) = find_overlaps(find_holds(History.of(operations)), operations[:2])
    assert (overlap.begin, overlap.end) == (operations[1].end, None)


def test_shared_holds_do_not_exclude_each_other() -> None:
    operations = [sample.operation(c, "acquire", c, c + 0.5, True, shared=True) for c in (0, 1)]
    assert not find_overlaps(find_holds(History.of(operations)), operations)


def test_the_window_shows_the_witness_with_context_and_not_all() -> None:
    evidence = sample.crowded()
    witness = evidence.finding.witness
    seen = window(evidence.history, witness)
    whole = extent(evidence.history)
    assert whole.begin < seen.begin < min(o.call for o in witness)
    assert max(o.end or 0 for o in witness) < seen.end < whole.end


def test_a_witness_as_long_as_the_history_is_shown_with_all_of_it() -> None:
    evidence = sample.paused_holder()
    assert window(evidence.history, evidence.finding.witness) == extent(evidence.history)


def test_the_operations_nearest_to_the_witness_are_kept_in_their_order() -> None:
    operations = [sample.operation(0, "acquire", n, n + 0.5, False) for n in range(100)]
    kept = nearest(operations, [operations[50], operations[90]], 6)
    assert [o.call for o in kept] == sorted(o.call for o in kept)
    assert {operations[50].call, operations[90].call} < {o.call for o in kept}
    assert len(kept) == 6


# -- the timeline -----------------------------------------------------------------


def test_lengths_on_the_timeline_compare_as_the_times_do() -> None:
    operations = [
        sample.operation(0, "acquire", 0, 10, True),
        sample.operation(1, "acquire", 20, 50, False),
        sample.operation(0, "release", 90, 100, True),
    ]
    bars = lay_out(History.of(operations)).bars
    assert [bar.place.width / bars[0].place.width for bar in bars] == pytest.approx([1, 3, 1])
    assert bars[0].place.x == LEFT
    assert bars[-1].place.right == pytest.approx(WIDTH - RIGHT)


def test_everything_stands_inside_the_drawing() -> None:
    for evidence in sample.EVIDENCE.values():
        line = lay_out(evidence.history, evidence.finding.witness)
        places: list[Rectangle] = [bar.place for bar in line.bars]
        places += [band.place for band in line.bands]
        places += [shade.place for shade in line.shades]
        places += [frame for mark in line.marks for frame in mark.frames]
        labels = [bar.label for bar in line.bars] + [shade.label for shade in line.shades]
        assert all(p.x >= LEFT and p.right <= WIDTH - RIGHT + 0.01 for p in places)
        assert all(p.y > 0 and p.bottom <= line.height for p in places)
        assert all(label.x >= LEFT for label in labels if label)


def test_an_unknown_outcome_goes_on_to_the_edge() -> None:
    unknown = sample.operation(0, "acquire", 1, 2, outcome=Outcome.INFO, error="OperationTimedOut")
    line = lay_out(History.of([unknown, sample.operation(1, "acquire", 8, 9, True)]))
    (bar,) = [bar for bar in line.bars if bar.look == "info"]
    assert bar.place.right == pytest.approx(WIDTH - RIGHT)


def test_the_witness_is_numbered_as_in_its_table() -> None:
    evidence = sample.stale_read()
    numbered = {bar.number: bar for bar in lay_out(evidence.history, evidence.finding.witness).bars}
    for number, operation in enumerate(evidence.finding.witness, 1):
        assert wording.call(operation) in numbered[number].tooltip


def test_numbers_of_the_witness_do_not_cover_each_other() -> None:
    witness = [sample.operation(0, "acquire", n / 1000, n / 1000 + 0.0005, False) for n in range(4)]
    bars = lay_out(History.of([*witness, sample.operation(1, "acquire", 0, 500, True)]), witness)
    xs = sorted(bar.marker_x for bar in bars.bars if bar.number)
    assert all(right - left >= 16 for left, right in itertools.pairwise(xs))


def test_labels_of_a_lane_do_not_cover_each_other() -> None:
    evidence = sample.crowded()
    line = lay_out(evidence.history, evidence.finding.witness)
    rows: dict[float, list[tuple[float, float]]] = {}
    for bar in line.bars:
        if bar.label and bar.label.y > bar.place.bottom:
            end = bar.label.x + 6.7 * len(bar.label.text)
            rows.setdefault(bar.label.y, []).append((bar.label.x, end))
    for spans in rows.values():
        spans.sort()
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


def test_the_overlap_is_framed_in_both_lanes_and_named() -> None:
    evidence = sample.paused_holder()
    line = lay_out(evidence.history, evidence.finding.witness)
    (mark,) = line.marks
    assert mark.caption is not None
    assert mark.caption.text == "clients 0 and 1 both hold ledger for 447 ms"
    assert {frame.y for frame in mark.frames} == {lane.place.y for lane in line.lanes[:2]}


def test_a_fault_of_a_client_shades_all_lanes_of_its_process() -> None:
    operations = [
        sample.operation(0, "acquire", 0, 9, True, member=b"m0"),
        sample.operation(100, "acquire", 0, 9, False, member=b"m0"),
        sample.operation(1, "acquire", 0, 9, False, member=b"m1"),
    ]
    line = lay_out(History.of(operations, [sample.fault("pause", 0, 2, 4)]))
    shaded = {shade.place.y for shade in line.shades}
    assert shaded == {lane.place.y for lane in line.lanes if lane.subtitle == "m0"}


def test_a_fault_of_no_client_shades_the_whole_height() -> None:
    evidence = sample.stale_read()
    line = lay_out(evidence.history)
    tallest = max(shade.place.height for shade in line.shades)
    assert tallest > sum(lane.place.height for lane in line.lanes)


def test_a_successor_stands_beside_the_client_it_took_over_from() -> None:
    operations = [
        sample.operation(client, "acquire", 0, 1, False, member=member)
        for client, member in ((0, b"m0"), (1, b"m1"), (100, b"m0"))
    ]
    titles = [lane.title for lane in lay_out(History.of(operations)).lanes]
    assert titles == ["client 0", "client 100", "client 1"]


def test_a_holder_that_does_nothing_in_the_window_has_a_lane_there() -> None:
    operations = [
        sample.operation(0, "acquire", 0, 1, True),
        sample.operation(1, "acquire", 50, 51, False),
        sample.operation(0, "release", 99, 100, True),
    ]
    seen = Window(sample.START + 40 * sample.MS, sample.START + 60 * sample.MS)
    line = lay_out(History.of(operations), seen=seen)
    assert [lane.title for lane in line.lanes] == ["client 0", "client 1"]
    assert line.bands[0].edges == []


def test_a_long_history_is_thinned_out_around_the_witness() -> None:
    operations = [sample.operation(0, "acquire", n, n + 0.5, False) for n in range(2000)]
    line = lay_out(History.of(operations), operations[1000:1001])
    assert (line.shown, line.total) == (MOST_BARS, 2000)
    assert [bar.number for bar in line.bars if bar.number] == [1]


def test_ticks_are_round_numbers_of_milliseconds_from_the_first_operation() -> None:
    operations = [sample.operation(0, "acquire", 0, 1, True), sample.operation(0, "release", 9, 10)]
    labels = [tick.label for tick in lay_out(History.of(operations)).ticks]
    assert labels == [str(n) for n in range(11)]


def test_a_history_without_operations_can_be_laid_out() -> None:
    assert lay_out(History([])).bars == []
