"""Histories that several scenarios judge: a plan is carried out once, whoever comes first.

What distinguishes such scenarios is their judge alone. Judging the same histories they
contradict each other only where the judges do: no weaker order falls by bad luck where a
stronger one stands.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable
from pathlib import Path

from conformance.history import History, load_history, save_history
from conformance.workload.plan import Plan

__all__ = ["Archive"]


class Archive:
    """The histories of one place, shared by the processes of a run.

    :param directory: where they are kept; made where it is missing
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def history(self, plan: Plan, number: int, carry_out: Callable[[], History]) -> History:
        """Return the history of a plan, which is carried out if nobody has done that yet.

        Who asks for a history that somebody else is just making waits for it. What
        ``carry_out`` raises is raised, and nothing kept.

        :param number: which of the plan's runs is meant, as no two are alike
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(plan.key).hexdigest()
        path = self._directory / f"{key}-{number}"
        with path.with_suffix(".turn").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if path.exists():
                return load_history(path)
            history = carry_out()
            unfinished = path.with_suffix(".unfinished")
            save_history(history, unfinished)
            unfinished.rename(path)
            return history
