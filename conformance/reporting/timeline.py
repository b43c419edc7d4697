"""The timeline of a history: clients as lanes in true time, laid out to be drawn.

Computes where everything of a ``drawing`` stands. The time axis is linear, so that
lengths compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from conformance.history import Fault, History, Operation
from conformance.reporting import wording
from conformance.reporting.drawing import (
    Band,
    Bar,
    Label,
    Lane,
    Mark,
    Rectangle,
    Shade,
    Tick,
    Timeline,
)
from conformance.reporting.holds import Hold, Overlap, find_holds, find_overlaps, key_of
from conformance.reporting.view import Window, extent, hit_clients, lanes, nearest, origin

__all__ = ["MOST_BARS", "lay_out"]

WIDTH = 1160.0
LEFT = 104.0
RIGHT = 16.0
CAPTION_HEIGHT = 22.0
AXIS_HEIGHT = 34.0
LANE_HEIGHT = 64.0
LANE_GAP = 8.0
BAR_TOP = 20.0
BAR_HEIGHT = 18.0
BAR_LEAST = 3.0
MARKER_SIZE = 17.0
CHARACTER = 6.7
"""The width of a character of the labels' 11-unit monospaced type."""

MOST_BARS = 400
"""How many operations a timeline shows; more would not be told apart."""

_MOST_LABELLED = 60
"""From how many operations on only the witness has labels beside its bars."""

_MOST_SHIFT = 0.6
"""How much of its width a label may stand to the left of where it belongs."""

_LABEL_GAP = 12
_LABEL_NAME = 20
_LABEL_RESULT = 28


def lay_out(
    history: History, witness: Sequence[Operation] = (), seen: Window | None = None
) -> Timeline:
    """Lay out what happened in a window, None for all of it.

    :param witness: operations to number and to bring out
    """
    return _Layout(history, witness, seen or extent(history)).timeline()


class _Layout:
    """The scales of one drawing, and what stands where on them."""

    def __init__(self, history: History, witness: Sequence[Operation], seen: Window) -> None:
        self.history = history
        self.seen = seen
        self.witness = witness
        self.numbers = {key_of(o): n for n, o in enumerate(witness, 1)}
        self.origin = origin(history)
        holds = find_holds(history)
        self.clients = lanes(history, holds, seen)
        self.targets = len({o.target for o in history.operations if o.target})
        visible = [o for o in history.operations if seen.shows(o.call, o.end)]
        self.operations = nearest(visible, witness, MOST_BARS)
        self.visible = len(visible)
        self.is_dense = len(self.operations) > _MOST_LABELLED
        self.overlaps = [o for o in find_overlaps(holds, witness) if seen.shows(o.begin, o.end)]
        drawn = {key_of(o) for o in self.operations}
        whole = len(drawn) == len(visible)
        self.holds = [
            h for h in holds if seen.shows(h.begin, h.end) and (whole or key_of(h.opening) in drawn)
        ]
        self.top = AXIS_HEIGHT + CAPTION_HEIGHT * (bool(self.overlaps) + bool(self._global()))
        self.tops = {
            client: self.top + number * (LANE_HEIGHT + LANE_GAP)
            for number, (client, _) in enumerate(self.clients)
        }
        self.bottom = self.top + len(self.clients) * (LANE_HEIGHT + LANE_GAP)
        self.taken: dict[tuple[int, str], list[tuple[float, float]]] = {}

    def timeline(self) -> Timeline:
        shades = self._shades()
        return Timeline(
            width=WIDTH,
            height=self.bottom,
            axis_y=AXIS_HEIGHT,
            plot=Rectangle(LEFT, self.top, WIDTH - LEFT - RIGHT, self.bottom - self.top),
            lanes=self._lanes(),
            ticks=_ticks(self.seen, self.origin, self._x),
            bands=[self._band(hold) for hold in self.holds],
            shades=shades,
            bars=self._bars(),
            marks=self._marks(),
            shown=len(self.operations),
            total=self.visible,
            summary=self._summary(),
        )

    def _x(self, moment: float) -> float:
        """Return where a moment stands, no further than the edges of the plot."""
        inside = min(max(moment, self.seen.begin), self.seen.end)
        share = (inside - self.seen.begin) / self.seen.span
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)

    def _stretch(
        self, begin: int, end: int | None, y: float, height: float, least: float
    ) -> Rectangle:
        """Return the place of something that lasts, wide enough to be seen."""
        x, right = self._x(begin), self._x(self.seen.end if end is None else end)
        width = max(right - x, least)
        return Rectangle(min(x, WIDTH - RIGHT - width), y, round(width, 2), height)

    def _global(self) -> list[Fault]:
        return [
            f for f in self.history.faults if f.client is None and self.seen.shows(f.begin, f.end)
        ]

    def _lanes(self) -> list[Lane]:
        return [
            Lane(
                Rectangle(0, self.tops[client], WIDTH - RIGHT, LANE_HEIGHT),
                f"client {client}",
                wording.name(member, 14),
            )
            for client, member in self.clients
        ]

    def _band(self, hold: Hold) -> Band:
        top = self.tops[hold.opening.client]
        end = "never given up" if hold.end is None else f"to {self._ms(hold.end)} ms"
        shared = " (shared)" if hold.is_shared else ""
        place = self._stretch(hold.begin, hold.end, top + 2, LANE_HEIGHT - 4, BAR_LEAST)
        begins = [place.x] if hold.begin >= self.seen.begin else []
        ends = [place.right] if hold.end is not None and hold.end <= self.seen.end else []
        return Band(
            place,
            begins + ends,
            f"client {hold.opening.client} {hold.what} {wording.name(hold.opening.target)}{shared}"
            f" from {self._ms(hold.begin)} ms {end}",
        )

    def _shades(self) -> list[Shade]:
        shades = []
        for fault in self.history.faults:
            if not self.seen.shows(fault.begin, fault.end):
                continue
            if fault.client is None:
                y = self.top - CAPTION_HEIGHT
                place = self._stretch(fault.begin, fault.end, y, self.bottom - y, BAR_LEAST)
                shades.append(self._shade(fault, place, place.y + 14, (-1, "faults")))
                continue
            for client in sorted(hit_clients(self.history, fault) & self.tops.keys()):
                y = self.tops[client]
                place = self._stretch(fault.begin, fault.end, y, LANE_HEIGHT, BAR_LEAST)
                shades.append(self._shade(fault, place, place.bottom - 7, (client, "below")))
        return shades

    def _shade(self, fault: Fault, place: Rectangle, base: float, row: tuple[int, str]) -> Shade:
        kind = wording.printable(fault.kind)
        until = "" if fault.end is None else f" to {self._ms(fault.end)} ms"
        lasting = "" if fault.end is None else f" {wording.duration(fault.end - fault.begin)}"
        label = self._place_label([f"{kind}{lasting}", kind], place.x + 4, base, row)
        whom = "" if fault.client is None else f" of client {fault.client}"
        return Shade(place, f"{kind}{whom} from {self._ms(fault.begin)} ms{until}", label)

    def _bars(self) -> list[Bar]:
        """Return the bars; the witness's labels are placed first."""
        markers = self._marker_places()
        ordered = sorted(self.operations, key=lambda o: key_of(o) not in self.numbers)
        bars = [self._bar(operation, markers) for operation in ordered]
        return sorted(bars, key=lambda bar: (bar.number is not None, bar.place.x))

    def _bar(self, operation: Operation, markers: dict[tuple[int, int, str], float]) -> Bar:
        place = self._bar_place(operation)
        end = "never returned" if operation.end is None else f"{self._ms(operation.end)} ms"
        return Bar(
            place=place,
            look=_look(operation),
            tooltip=f"client {operation.client}: {wording.call(operation)} → "
            f"{wording.result(operation)} · {self._ms(operation.call)} ms to {end}",
            label=self._bar_label(operation, place),
            number=self.numbers.get(key_of(operation)),
            marker_x=markers.get(key_of(operation), 0.0),
        )

    def _bar_place(self, operation: Operation) -> Rectangle:
        """Return the place of a bar; one whose outcome is unknown goes on to the edge."""
        end = None if operation.is_info else operation.end
        y = self.tops[operation.client] + BAR_TOP
        return self._stretch(operation.call, end, y, BAR_HEIGHT, BAR_LEAST)

    def _bar_label(self, operation: Operation, place: Rectangle) -> Label | None:
        """Return a label that tells the result, in the bar or below it; else just the name."""
        base = self.tops[operation.client] + LANE_HEIGHT - 8
        for texts in self._texts(operation):
            for text in texts:
                if len(text) * CHARACTER + 9 <= place.width:
                    return Label(place.x + 5, place.y + 13, text)
            if not self.is_dense or key_of(operation) in self.numbers:
                row = (operation.client, "below")
                if label := self._place_label(texts, place.x, base, row):
                    return label
        return None

    def _texts(self, operation: Operation) -> list[list[str]]:
        """Return what a label could say: with the result, longest first, and without."""
        name = wording.printable(operation.name)
        result = wording.result(operation, _LABEL_RESULT)
        texts = [f"{name} → {result}"]
        if operation.target and self.targets > 1:
            texts.insert(0, f"{name} {wording.name(operation.target, _LABEL_NAME)} → {result}")
        return [texts, [name]]

    def _place_label(
        self, texts: Iterable[str], x: float, base: float, row: tuple[int, str]
    ) -> Label | None:
        """Return the longest text that stands free in its row, None when none does."""
        taken = self.taken.setdefault(row, [])
        for text in texts:
            width = len(text) * CHARACTER
            left = max(LEFT, min(x, WIDTH - RIGHT - width))
            if x - left > width * _MOST_SHIFT:
                continue
            if all(
                left + width + _LABEL_GAP < begin or left > end + _LABEL_GAP for begin, end in taken
            ):
                taken.append((left, left + width))
                return Label(round(left, 2), base, text)
        return None

    def _marker_places(self) -> dict[tuple[int, int, str], float]:
        """Return where the numbers of the witness stand, moved apart in each lane."""
        places: dict[tuple[int, int, str], float] = {}
        last: dict[int, float] = {}
        for operation in sorted(self.witness, key=lambda o: o.call):
            if operation.client not in self.tops:
                continue
            bar = self._bar_place(operation)
            wanted = min(bar.middle, bar.x + MARKER_SIZE) if bar.width > MARKER_SIZE else bar.middle
            x = max(wanted, last.get(operation.client, 0.0) + MARKER_SIZE)
            last[operation.client] = places[key_of(operation)] = round(x, 2)
        return places

    def _marks(self) -> list[Mark]:
        return [self._mark(overlap) for overlap in self.overlaps]

    def _mark(self, overlap: Overlap) -> Mark:
        tops = [self.tops[hold.opening.client] for hold in (overlap.first, overlap.second)]
        frames = [self._stretch(overlap.begin, overlap.end, top, LANE_HEIGHT, 5.0) for top in tops]
        text = self._overlap_text(overlap)
        base = AXIS_HEIGHT + CAPTION_HEIGHT - 8
        left = frames[0].middle - len(text) * CHARACTER / 2
        return Mark(
            frames=(frames[0], frames[1]),
            top=AXIS_HEIGHT + CAPTION_HEIGHT - 4,
            bottom=max(tops) + LANE_HEIGHT,
            caption=self._place_label([text], left, base, (-1, "overlaps")),
        )

    def _overlap_text(self, overlap: Overlap) -> str:
        first, second = overlap.first, overlap.second
        target = wording.name(first.opening.target, _LABEL_NAME)
        verb = "hold" if first.what == "holds" else "lead"
        lasting = (
            "to the end"
            if overlap.end is None
            else f"for {wording.duration(overlap.end - overlap.begin)}"
        )
        return (
            f"clients {first.opening.client} and {second.opening.client} both {verb} {target} "
            f"{lasting}"
        )

    def _summary(self) -> str:
        shown = [f"{wording.plural(len(self.operations), 'operation')} of "]
        shown.append(f"{wording.plural(len(self.clients), 'client')}")
        shown.append(f" from {self._ms(self.seen.begin)} ms to {self._ms(self.seen.end)} ms")
        marks = [f"; {self._overlap_text(overlap)}" for overlap in self.overlaps]
        return "".join(shown + marks)

    def _ms(self, moment: int) -> str:
        return wording.milliseconds(moment - self.origin)


def _look(operation: Operation) -> str:
    if operation.is_ok and operation.value is False:
        return "refused"
    return operation.outcome.value


def _ticks(seen: Window, start: int, x: Callable[[float], float]) -> list[Tick]:
    """Return five to ten moments at round numbers of milliseconds."""
    span = seen.span / 1e6
    rough = span / 10
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil((seen.begin - start) / 1e6 / step - 1e-9)
    last = math.floor((seen.end - start) / 1e6 / step + 1e-9)
    return [
        Tick(x(start + n * step * 1e6), f"{n * step:,.{decimals}f}") for n in range(first, last + 1)
    ]
