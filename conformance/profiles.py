"""How much is run: profiles, from a look to a night."""

from __future__ import annotations

import msgspec

__all__ = ["PROFILES", "Profile"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How hard every scenario is tried.

    ``trials`` are runs of a plan in each exploration; ``clients`` and ``steps`` the most
    of them in a plan; ``shrinks`` how many further runs may look for a smaller plan once
    one falsified a claim; ``budget`` the search steps a checker may take on a history;
    ``silence`` the seconds for which a holder is paused now and then, where not only for
    the driver's time-outs: a library may have times of its own; ``random`` whether the seed
    differs from run to run when none is given.
    """

    name: str
    trials: int
    clients: int
    steps: int
    shrinks: int
    budget: int
    silence: float | None = None
    random: bool = False


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="smoke", trials=6, clients=5, steps=16, shrinks=0, budget=200_000),
        Profile(name="gate", trials=16, clients=8, steps=16, shrinks=12, budget=500_000),
        Profile(
            name="nightly",
            trials=300,
            clients=8,
            steps=40,
            shrinks=60,
            budget=5_000_000,
            silence=40.0,
            random=True,
        ),
    )
}
