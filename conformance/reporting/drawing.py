"""What a timeline is drawn of: shapes and labels at places, in units of the drawing.

Plain data, made by ``timeline`` and drawn by ``templates/timeline.svg``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Band", "Bar", "Label", "Lane", "Mark", "Rectangle", "Shade", "Tick", "Timeline"]


@dataclass(frozen=True)
class Rectangle:
    """A place in the drawing."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Where it ends below."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """Half way from its left to its right."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Label:
    """Text at a place: left, and base line."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Lane:
    """The lane of one client."""

    place: Rectangle
    title: str
    subtitle: str


@dataclass(frozen=True)
class Tick:
    """A moment on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Band:
    """A hold or a term behind the bars of its lane; ``edges`` is where it begins and ends.

    What began before the window or ended after it has no edge there.
    """

    place: Rectangle
    edges: list[float]
    tooltip: str


@dataclass(frozen=True)
class Bar:
    """An operation from its call to its end.

    ``look`` is ``ok``, ``refused`` (it returned False), ``fail`` or ``info``. ``number``
    is its place in the witness, None for an operation that is not part of it.
    """

    place: Rectangle
    look: str
    tooltip: str
    label: Label | None
    number: int | None
    marker_x: float


@dataclass(frozen=True)
class Shade:
    """A fault: over one lane, or over all when ``place`` is as high as the drawing."""

    place: Rectangle
    tooltip: str
    label: Label | None


@dataclass(frozen=True)
class Mark:
    """An overlap of holds: a frame in each of the two lanes, and what it says."""

    frames: tuple[Rectangle, Rectangle]
    top: float
    bottom: float
    caption: Label | None


@dataclass(frozen=True)
class Timeline:
    """A drawing, ready to be drawn."""

    width: float
    height: float
    axis_y: float
    plot: Rectangle
    lanes: list[Lane]
    ticks: list[Tick]
    bands: list[Band]
    shades: list[Shade]
    bars: list[Bar]
    marks: list[Mark]
    shown: int
    total: int
    summary: str

    @property
    def looks(self) -> set[str]:
        """The looks of its bars, for the legend."""
        return {bar.look for bar in self.bars}

    @property
    def has_witness(self) -> bool:
        """Whether any of its bars is numbered."""
        return any(bar.number for bar in self.bars)
