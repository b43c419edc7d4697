"""The temporary directory of a run, and the sweeping of those that killed runs left.

Every run has a directory of its own, whose ``owner`` file it keeps locked (flock) while
it lives. A directory whose owner can be locked belongs to nobody any more: its backends
are asked to sweep what the run left outside of it, and it is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Workplace", "new_run_id"]


def new_run_id() -> str:
    """Return a name for a run: sortable by start, and unlike any other's."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


class Workplace:
    """The temporary directory of one run.

    :param run_id: the run's name, which becomes the directory's
    :param sweep: called with the run id of each dead run before its directory goes
    """

    def __init__(self, run_id: str, sweep: Callable[[str], None]) -> None:
        self._base = Path(tempfile.gettempdir()) / f"coordination-conformance-{os.getuid()}"
        self._base.mkdir(mode=0o700, exist_ok=True)
        self.directory = self._base / run_id
        with self._guard():
            for dead in self._dead():
                sweep(dead.name)
                shutil.rmtree(dead)
            self.directory.mkdir()
            self._owner = os.open(self.directory / "owner", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._owner, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the directory."""
        with self._guard():
            shutil.rmtree(self.directory)
            os.close(self._owner)

    def _dead(self) -> Iterator[Path]:
        for directory in self._base.iterdir():
            if not directory.is_dir():
                continue
            with contextlib.ExitStack() as stack:
                try:
                    owner = os.open(directory / "owner", os.O_RDWR)
                except FileNotFoundError:  # killed between making and owning it
                    yield directory
                    continue
                stack.callback(os.close, owner)
                try:
                    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield directory

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Keep other runs from sweeping a directory that is being made or removed."""
        with (self._base / "guard").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield
