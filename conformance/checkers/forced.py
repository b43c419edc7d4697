"""Orders that a history forces: what must come before what, whatever else is true.

Every register (see ``facts``) is read after the write whose value it gives, if only one
write can have been that; no other write to the register comes in between. From the
clients' own orders this yields further orders, and from these more, until nothing new
comes or something must come before itself: then no explanation exists. What is found is
true of every explanation, so a search may rely on it.

Without writes of unknown effect and with distinct values these are the bad patterns of
A. Bouajjani, C. Enea, R. Guerraoui, J. Hamza: "On verifying causal consistency", 2017,
and, for one order for all, the saturation of R. Biswas, C. Enea: "On the complexity of
checking transactional consistency", 2019.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from conformance.checkers.facts import Facts, Key, Read, initial
from conformance.checkers.moves import Move

__all__ = ["Contradiction", "Forced"]

_MOST = 4_000
"""The most moves for which orders are worked out: the effort grows with their square."""


class Contradiction(Exception):
    """No order of the required kind explains the history.

    ``moves`` show it; ``odd`` is the one that cannot be placed, None when they form a
    circle, each of which must come before the next.
    """

    def __init__(self, moves: Sequence[Move], odd: Move | None) -> None:
        super().__init__("no order explains these moves")
        self.moves = list(moves)
        self.odd = odd


class Forced:
    """What must come before what in every explanation of a history.

    :param moves: the history
    :param facts: what each move reads and writes
    :param total: whether one order must explain it for all clients; otherwise each may
        have its own, and only what one read of the other is ordered
    :raises Contradiction: there is no explanation
    """

    def __init__(self, moves: Sequence[Move], facts: Sequence[Facts], *, total: bool) -> None:
        self._moves = list(moves)
        self._facts = facts
        self._total = total
        self._before: list[set[int]] = [set() for _ in moves]
        self._found: list[tuple[int, int]] = []
        if len(moves) > _MOST:
            return
        self._keep_programs()
        self._writers: dict[Key, list[tuple[int, object]]] = defaultdict(list)
        self._sure: dict[Key, int] = defaultdict(int)
        for index, its in enumerate(facts):
            for write in its.writes:
                self._writers[write.key].append((index, write.value))
                if write.sure:
                    self._sure[write.key] |= 1 << index
        self._close()
        while self._infer():
            self._close()

    @property
    def after(self) -> dict[Move, list[Move]]:
        """What was found beyond the clients' orders: for moves, what must come before."""
        after: dict[Move, list[Move]] = defaultdict(list)
        for first, second in self._found:
            if self._moves[first].required:
                after[self._moves[second]].append(self._moves[first])
        return after

    def _keep_programs(self) -> None:
        """Order the moves of each client by rank."""
        programs: dict[int, list[int]] = defaultdict(list)
        for index, move in enumerate(self._moves):
            if move.client is not None:
                programs[move.client].append(index)
        for indexes in programs.values():
            stages: dict[tuple[int, int], list[int]] = defaultdict(list)
            for index in indexes:
                stages[self._moves[index].rank].append(index)
            former: list[int] = []
            for rank in sorted(stages):
                for index in stages[rank]:
                    self._before[index].update(former)
                certain = [index for index in stages[rank] if self._moves[index].required]
                former = certain or former

    def _close(self) -> None:
        """Work out everything that comes before and after each move.

        :raises Contradiction: something would come before itself
        """
        waiting = [len(before) for before in self._before]
        following: list[list[int]] = [[] for _ in self._moves]
        for index, before in enumerate(self._before):
            for other in before:
                following[other].append(index)
        ready = deque(index for index, count in enumerate(waiting) if not count)
        self._past = [0] * len(self._moves)
        order = []
        while ready:
            index = ready.popleft()
            order.append(index)
            for other in following[index]:
                self._past[other] |= self._past[index] | 1 << index
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
        if len(order) < len(self._moves):
            raise self._circle({index for index, count in enumerate(waiting) if count})
        self._future = [0] * len(self._moves)
        for index in reversed(order):
            for other in self._before[index]:
                self._future[other] |= self._future[index] | 1 << index

    def _infer(self) -> bool:
        """Add the orders that the reads force; return whether there were any.

        :raises Contradiction: a read can have no source
        """
        known = len(self._found)
        for index, facts in enumerate(self._facts):
            for read in facts.reads:
                sources, untouched = self._sources(index, read)
                if not sources and not untouched:
                    raise self._unexplained(index, read)
                if not sources:
                    self._separate(index, read.key, None)
                elif len(sources) == 1 and not untouched:
                    self._order(sources[0], index)
                    self._separate(index, read.key, sources[0])
        return len(self._found) > known

    def _sources(self, index: int, read: Read) -> tuple[list[int], bool]:
        """Return which writes a read may come from, and whether from none at all."""
        past = self._past[index]
        over = self._sure[read.key] & past & ~(1 << index)
        sources = []
        for writer, value in self._writers[read.key]:
            if writer == index or not read.allows(value):
                continue
            if not (self._future[index] >> writer & 1 or over & self._future[writer]):
                sources.append(writer)
        return sources, read.allows(initial(read.key)) and not over

    def _separate(self, index: int, key: Key, source: int | None) -> None:
        """Keep other writes from coming between a read and its source."""
        if not self._total:
            return
        others = self._sure[key] & ~(1 << index)
        if source is None:
            for other in _bits(others & ~self._future[index]):
                self._order(index, other)
            return
        others &= ~(1 << source)
        for other in _bits(others & self._future[source] & ~self._future[index]):
            self._order(index, other)
        for other in _bits(others & self._past[index] & ~self._past[source]):
            self._order(other, source)

    def _order(self, first: int, second: int) -> None:
        if first not in self._before[second]:
            self._before[second].add(first)
            self._found.append((first, second))

    # -- what to show ------------------------------------------------------------------

    def _unexplained(self, index: int, read: Read) -> Contradiction:
        """Return why a read has no source: every write of its value is hidden from it."""
        shown = {index}
        over = self._sure[read.key] & self._past[index] & ~(1 << index)
        for writer, value in self._writers[read.key]:
            if writer == index or not read.allows(value):
                continue
            if self._future[index] >> writer & 1:
                shown.update(self._path(index, writer))
            else:
                hiding = next(_bits(over & self._future[writer]))
                shown.update(self._path(writer, hiding), self._path(hiding, index))
        if read.allows(initial(read.key)):
            shown.update(self._path(next(_bits(over)), index))
        return Contradiction([self._moves[n] for n in sorted(shown)], self._moves[index])

    def _circle(self, among: set[int]) -> Contradiction:
        """Return a circle among moves that have one."""
        index = min(among)
        walked: list[int] = []
        while index not in walked:
            walked.append(index)
            index = min(self._before[index] & among)
        circle = walked[walked.index(index) :]
        return Contradiction([self._moves[n] for n in reversed(circle)], None)

    def _path(self, first: int, last: int) -> list[int]:
        """Return moves that lead from one to another, each before the next."""
        came: dict[int, int] = {last: last}
        queue = deque([last])
        while queue and first not in came:
            index = queue.popleft()
            for before in self._before[index]:
                if before not in came:
                    came[before] = index
                    queue.append(before)
        path = [first]
        while path[-1] != last:
            path.append(came[path[-1]])
        return path


def _bits(mask: int) -> Iterator[int]:
    """Return the numbers of the bits that are set, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
