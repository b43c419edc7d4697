"""Search for an order that explains a history: Wing, Gong and Lowe's, over integers.

A depth-first search over configurations: how far each client's program has got, which
moves of unknown outcome were used, and the state of the model. A configuration that was
seen once is not entered again. The model is asked once for each state and each distinct
move; from then on a step is a look into a table of integers.

Three things keep it small. A move that only observes is placed as soon as it fits, for
placing it can do no harm. A configuration in which fewer unknown moves were used covers
those in which more were, all else being equal. And of unknown moves that do the same,
the first is used first.

J. Wing, C. Gong: "Testing and verifying concurrent objects", 1993; G. Lowe: "Testing for
linearizability", 2017.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import msgspec

from conformance.checkers.moves import Move
from conformance.checkers.order import Order
from conformance.history import NEVER
from conformance.models import Model, follow

__all__ = ["Search"]

_STATE_BITS = 32
"""Bits that the number of a state takes in that of a configuration."""

_ILLEGAL = -1
"""What a table of transitions holds in place of a state."""


class _Chain:
    """Moves that have to be placed one after the other, with a mark at the end."""

    __slots__ = ("moves", "weight")

    def __init__(self) -> None:
        self.moves: list[int] = []
        self.weight = 0


class _Choice(NamedTuple):
    """A place at which the search can come back to try something else."""

    options: list[tuple[int, int]]
    """What is left to try: the number of a chain, or of an unknown move from -1 down, and
    the state that it leads to; the next one last."""
    trail: int
    state: int
    used: int


class Search:
    """One search, which can be continued until it is decided.

    :param model: the specification
    :param moves: what is to be explained
    :param order: REAL_TIME, PROGRAM or NONE
    :param goal: which of the required moves have to be placed at last; all when None.
        The others are placed only as far as that takes.
    :param after: for some moves, others that must be placed before, besides the order
    """

    def __init__(
        self,
        model: Model,
        moves: Sequence[Move],
        order: Order,
        *,
        goal: Callable[[Move], bool] | None = None,
        after: dict[Move, list[Move]] | None = None,
    ) -> None:
        if order is Order.CAUSAL:
            raise ValueError("causal order is searched client by client: see causal.py")
        self.model = model
        self.moves = list(moves)
        self.order = order
        self.explained: bool | None = None
        self.steps = 0
        """Steps taken so far: one for a configuration, one more for each further handful of
        chains to be looked at there, and one for each time that the model was asked."""
        self._is_goal = goal
        self._after = after or {}
        self._goal = [move.required and self.is_goal(move) for move in self.moves]
        self._remaining = sum(self._goal)
        self._arrange()
        self._number()
        self._begun = False
        self._effort = 1 + len(self._chains) // 16
        self._key = 0
        self._trail: list[int] = []
        self._visited: set[int] = set()
        self._seen: dict[int, list[int]] = {}
        self._choices: list[_Choice] = []

    def is_goal(self, move: Move) -> bool:
        """Whether a required move has to be placed for the history to be explained."""
        return self._is_goal is None or self._is_goal(move)

    def again(self, moves: Sequence[Move]) -> Search:
        """Return a new search for an explanation of other moves, all else being the same."""
        return Search(self.model, moves, self.order, goal=self._is_goal, after=self._after)

    # -- preparation ----------------------------------------------------------------

    def _arrange(self) -> None:
        """Lay the required moves out in chains; note what else each move has to wait for."""
        self._chains: list[_Chain] = []
        self._place: dict[int, tuple[int, int]] = {}
        self._waits: list[list[tuple[int, int]]] = [[] for _ in self.moves]
        number = {id(move): index for index, move in enumerate(self.moves)}
        if self.order is Order.NONE:
            self._arrange_freely()
        else:
            self._arrange_programs()
        for move, others in self._after.items():
            if id(move) in number:
                known = [number[id(other)] for other in others if id(other) in number]
                self._waits[number[id(move)]] += [self._place[other] for other in known]
        shift = 0
        for chain in self._chains:
            chain.weight = 1 << shift
            shift += len(chain.moves).bit_length()

    def _arrange_freely(self) -> None:
        """Put moves that are the same into one chain: which comes first does not matter."""
        chains: dict[Hashable, int] = {}
        for index, move in enumerate(self.moves):
            if move.required:
                kind = _kind(move)
                if kind not in chains:
                    chains[kind] = self._new_chain()
                self._append(chains[kind], index)

    def _arrange_programs(self) -> None:
        """Give each client a chain; moves of the same rank beyond the first get their own."""
        programs: dict[int | None, list[int]] = defaultdict(list)
        for index, move in enumerate(self.moves):
            programs[move.client].append(index)
        for client, indexes in programs.items():
            if client is None:
                for index in indexes:
                    if self.moves[index].required:
                        self._append(self._new_chain(), index)
                continue
            self._arrange_program(sorted(indexes, key=lambda index: self.moves[index].rank))

    def _arrange_program(self, indexes: list[int]) -> None:
        main = self._new_chain()
        rank: tuple[int, int] | None = None
        before: list[int] = []
        stage: list[int] = []
        for index in indexes:
            move = self.moves[index]
            if move.rank != rank:
                before, stage, rank = stage or before, [], move.rank
            if not move.required:
                self._waits[index] = [self._place[other] for other in before]
                continue
            chain = self._new_chain() if stage else main
            self._append(chain, index)
            stage.append(index)
            self._waits[index] = [
                self._place[other] for other in before if self._place[other][0] != chain
            ]

    def _new_chain(self) -> int:
        self._chains.append(_Chain())
        return len(self._chains) - 1

    def _append(self, chain: int, index: int) -> None:
        self._place[index] = (chain, len(self._chains[chain].moves))
        self._chains[chain].moves.append(index)

    def _number(self) -> None:
        """Number the distinct moves, and lay out what the search looks at of each."""
        numbers: dict[Hashable, int] = {}
        self._kinds: list[Move] = []
        self._kind_of: list[int] = []
        for move in self.moves:
            kind = _kind(move)
            if kind not in numbers:
                numbers[kind] = len(numbers)
                self._kinds.append(move)
            self._kind_of.append(numbers[kind])
        self._states: dict[Any, int] = {self.model.initial: 0}
        self._values: list[Any] = [self.model.initial]
        self._table: list[dict[int, int]] = [{}]
        self._observes = [
            move.answer is not None and self.model.observes(move.call, move.answer)
            for move in self._kinds
        ]
        self._position = [0] * len(self._chains)
        self._head = [self._at(chain, 0) for chain in range(len(self._chains))]
        self._state, self._used = 0, 0
        self._unknown = self._unknown_moves()

    def _unknown_moves(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """Return the unknown moves by kind: (kind, [(move, its bit in ``used``)])."""
        by_kind: dict[int, list[int]] = defaultdict(list)
        for index, move in enumerate(self.moves):
            if not move.required:
                by_kind[self._kind_of[index]].append(index)
        self._copies: list[tuple[int, int]] = []
        groups = []
        for kind, indexes in by_kind.items():
            copies = []
            for index in sorted(indexes, key=lambda index: self.moves[index].start):
                copies.append((index, len(self._copies)))
                self._copies.append((index, 1 << len(self._copies)))
            groups.append((kind, copies))
        return groups

    def _at(self, chain: int, position: int) -> tuple[int, float, float, int, bool]:
        """Return (move, start, end, kind, observes) of a place in a chain; -1 at its end."""
        moves = self._chains[chain].moves
        if position == len(moves):
            return (-1, NEVER, NEVER, -1, False)
        index = moves[position]
        move, kind = self.moves[index], self._kind_of[index]
        timed = self.order is Order.REAL_TIME
        start = move.start if timed else -NEVER
        return (index, start, move.end, kind, self._observes[kind])

    # -- search ---------------------------------------------------------------------

    def run(self, budget: int) -> bool | None:
        """Search on; return whether the history is explained, None when it is not known yet.

        :param budget: how many steps to take, give or take one configuration
        """
        if self.explained is not None:
            return self.explained
        end = self.steps + budget
        if not self._begun:
            self._begun = True
            self._enter()
        while self.explained is None and self.steps < end:
            if not self._choices:
                self.explained = False
                break
            choice = self._choices[-1]
            self._undo(choice)
            if not choice.options:
                self._choices.pop()
                continue
            option, state = choice.options.pop()
            self._state = state
            if option >= 0:
                self._advance(option)
            else:
                self._used |= self._copies[-1 - option][1]
            self._enter()
        return self.explained

    def _enter(self) -> None:
        """Look at the configuration that the search has come to."""
        self.steps += self._effort
        limit = self._observe()
        if self._remaining == 0:
            self.explained = True
            return
        if self._covered():
            return
        options = self._options(limit)
        if options:
            self._choices.append(_Choice(options, len(self._trail), self._state, self._used))

    def _observe(self) -> float:
        """Place every observation that fits now; return until when moves may start."""
        timed = self.order is Order.REAL_TIME
        heads, row, state = self._head, self._table[self._state], self._state
        while True:
            limit = min((head[2] for head in heads), default=NEVER) if timed else NEVER
            placed = False
            for chain, head in enumerate(heads):
                while head[4] and head[1] <= limit and self._ready(head[0]):
                    after = row.get(head[3])
                    if after is None:
                        after = self._look_up(state, head[3])
                    if after != state:
                        break
                    self._advance(chain)
                    placed = True
                    head = heads[chain]
            if not placed:
                return limit

    def _covered(self) -> bool:
        """Whether a configuration was seen that could do all that this one can."""
        configuration, used = self._key << _STATE_BITS | self._state, self._used
        if not self._copies:
            if configuration in self._visited:
                return True
            self._visited.add(configuration)
            return False
        masks = self._seen.get(configuration)
        if masks is None:
            self._seen[configuration] = [used]
            return False
        if any(mask & used == mask for mask in masks):
            return True
        masks.append(used)
        return False

    def _options(self, limit: float) -> list[tuple[int, int]]:
        """Return what can be placed next, what is to be tried first last."""
        state = self._state
        required = []
        for chain, (index, start, end, kind, observes) in enumerate(self._head):
            if index >= 0 and not observes and start <= limit and self._ready(index):
                after = self._look_up(state, kind)
                if after != _ILLEGAL:
                    required.append((not self._goal[index], end, chain, after))
        required.sort(reverse=True)  # what is to be explained first, and what ended first
        options = [(chain, after) for _, _, chain, after in required]
        timed = self.order is Order.REAL_TIME
        unknown = []
        for kind, copies in self._unknown:
            after = self._look_up(state, kind)
            if after in (_ILLEGAL, state):
                continue
            for index, copy in copies:
                if self._used >> copy & 1 or not self._ready(index):
                    continue
                if not timed or self.moves[index].start <= limit:
                    unknown.append((-1 - copy, after))
                break
        return unknown + options

    def _ready(self, index: int) -> bool:
        """Whether all that a move has to wait for is placed."""
        waits = self._waits[index]
        return not waits or all(self._position[chain] > place for chain, place in waits)

    def _look_up(self, state: int, kind: int) -> int:
        after = self._table[state].get(kind)
        if after is None:
            self.steps += 1
            after = self._table[state][kind] = self._transition(state, kind)
        return after

    def _transition(self, state: int, kind: int) -> int:
        move = self._kinds[kind]
        for after in follow(self.model, self._values[state], move.call, move.answer):
            if after not in self._states:
                self._states[after] = len(self._values)
                self._values.append(after)
                self._table.append({})
            return self._states[after]
        return _ILLEGAL

    def _advance(self, chain: int) -> None:
        self._remaining -= self._goal[self._head[chain][0]]
        self._position[chain] += 1
        self._key += self._chains[chain].weight
        self._head[chain] = self._at(chain, self._position[chain])
        self._trail.append(chain)

    def _undo(self, choice: _Choice) -> None:
        """Return to the configuration at which a choice was met."""
        while len(self._trail) > choice.trail:
            chain = self._trail.pop()
            self._position[chain] -= 1
            self._key -= self._chains[chain].weight
            self._head[chain] = self._at(chain, self._position[chain])
            self._remaining += self._goal[self._head[chain][0]]
        self._state, self._used = choice.state, choice.used


def _kind(move: Move) -> Hashable:
    """Return what is the same of two moves that do the same."""
    if move.answer is None:
        return (move.call, None)
    return (move.call, msgspec.msgpack.encode(move.answer.value), move.answer.error)
