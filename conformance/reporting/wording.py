"""How reports spell things: names of any bytes, values, counts, durations.

Names and values come from clients and servers under test and are not to be trusted: what
leaves here has no control characters and a bounded length. Escaping for HTML or Markdown
is the business of whoever writes it.
"""

from __future__ import annotations

import math

from conformance.history import Operation

__all__ = [
    "call",
    "count",
    "duration",
    "ending",
    "figure",
    "memory",
    "milliseconds",
    "name",
    "plural",
    "printable",
    "printable_lines",
    "ratio",
    "result",
    "seconds",
    "share",
    "shorten",
    "value",
]

_NAME_LENGTH = 60
"""Characters of a name that are shown; names of a megabyte are legal."""

_VALUE_LENGTH = 200
"""Characters of a value that are shown."""


def printable(text: str) -> str:
    """Return the text in one line, with what does not print as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def printable_lines(text: str) -> str:
    """Return the text with its line breaks, everything else that does not print escaped."""
    return "\n".join(printable(line) for line in text.split("\n"))


def shorten(text: str, length: int) -> str:
    """Return at most ``length`` characters, with an ellipsis for the middle."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"


def name(raw: bytes, length: int = _NAME_LENGTH) -> str:
    """Spell a name of any bytes: as text where it is UTF-8, with escapes elsewhere.

    Different names look different, unless they had to be shortened; then their size is
    given.
    """
    if len(raw) > 4 * length:
        kept = raw[: 2 * length]
        text = shorten(_spell(kept) + "…", length)
        return f"{text} ({count(len(raw))} bytes)"
    return shorten(_spell(raw), length)


def _spell(raw: bytes) -> str:
    return printable(raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace"))


def value(found: object, length: int = _VALUE_LENGTH) -> str:
    """Spell a result or an argument as Python does, bytes apart from text."""
    return printable(shorten(repr(found), length))


def call(operation: Operation, length: int = _VALUE_LENGTH) -> str:
    """Spell what was called: ``acquire(lock-1, blocking=False)``."""
    arguments = [name(operation.target)] if operation.target else []
    arguments += [f"{printable(k)}={value(v)}" for k, v in operation.arguments.items()]
    return shorten(f"{printable(operation.name)}({', '.join(arguments)})", length)


def result(operation: Operation, length: int = _VALUE_LENGTH) -> str:
    """Spell what came back: the value, ``! error`` or ``? why it is not known``."""
    if operation.is_ok:
        return value(operation.value, length)
    mark = "!" if operation.is_fail else "?"
    return f"{mark} {shorten(printable(operation.error or 'no answer'), length)}"


def count(number: float) -> str:
    """Spell a count with thousands separated: ``12,480``."""
    return f"{number:,.0f}"


def plural(number: int, thing: str) -> str:
    """Spell a count of things: ``1 trial``, ``12,480 operations``."""
    return f"{count(number)} {thing}{'' if number == 1 else 's'}"


def duration(nanoseconds: float) -> str:
    """Spell a duration with three significant digits in the unit that fits."""
    size = abs(nanoseconds)
    for unit, factor in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if size < 999.5 * factor:
            return f"{_three_digits(nanoseconds / factor)} {unit}"
    return f"{_three_digits(nanoseconds / 1e9)} s"


def seconds(number: float) -> str:
    """Spell a number of seconds that a test took: ``3.1 s``."""
    return f"{number:,.1f} s"


def milliseconds(nanoseconds: int) -> str:
    """Spell a moment or a span in milliseconds to the microsecond: ``1,204.250``."""
    return f"{nanoseconds / 1e6:,.3f}"


def ending(early: str, status: int) -> str:
    """Spell how a run ended: ``ended early (interrupted), exit status 2``."""
    how = f"ended early ({early})" if early else "ended"
    return f"{how}, exit status {status}"


def ratio(number: float) -> str:
    """Spell how many times the floor something took: ``3.2 ×``."""
    return f"{_three_digits(number)} ×"


def share(number: float) -> str:
    """Spell a part of a whole, from 0 to 1, in hundredths: ``85 %``."""
    return f"{100 * number:.0f} %"


def figure(number: float) -> str:
    """Spell a figure without a unit of its own, such as grants per second."""
    return _three_digits(number)


def memory(size: int) -> str:
    """Spell a size in bytes as GiB: ``7.8 GiB``."""
    return f"{size / 2**30:.1f} GiB"


def _three_digits(number: float) -> str:
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    rounded = float(f"{number:.2e}")
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{number:,.{min(decimals, 6)}f}"
