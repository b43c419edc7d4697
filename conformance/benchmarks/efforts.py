"""How much is measured in each profile."""

from __future__ import annotations

import math

import msgspec

__all__ = ["EFFORTS", "ONCE", "Effort"]


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    ``rounds`` is how often a call is timed, ``seconds`` the time for each of those that take
    turns after which timing ends even so, ``batch`` how many of these come in a row at most
    before the next has its turn, ``lives`` among how many coordinators of each implementation,
    one after another, all this is divided: which processor serves a connection is luck that
    lasts as long as it does. ``contended`` are the seconds for which clients contend, and
    ``turns`` how often they do where implementations take turns.
    """

    rounds: int
    seconds: float
    contended: float
    batch: int = 50
    lives: int = 8
    turns: int = 4

    @property
    def of_one_life(self) -> Effort:
        """What of it falls to one of the lives."""
        return msgspec.structs.replace(
            self,
            rounds=math.ceil(self.rounds / self.lives),
            seconds=self.seconds / self.lives,
            lives=1,
        )


EFFORTS = {
    "smoke": Effort(rounds=400, seconds=0.15, contended=0.3, lives=2),
    "gate": Effort(rounds=5_000, seconds=1.0, contended=2.0),
    "nightly": Effort(rounds=50_000, seconds=10.0, contended=10.0),
}
"""The effort of each profile, by its name."""

ONCE = Effort(rounds=1, seconds=0.0, contended=0.1, batch=1, lives=1)
"""As little as shows that it works: for when pytest-benchmark is disabled."""
