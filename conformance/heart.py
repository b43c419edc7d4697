"""The thread that keeps calling a coordinator's ``heartbeat()``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from conformance.errors import ToozError

__all__ = ["Heart"]

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
"""The longest wait before another beat when one failed."""


class Heart:
    """Beats from a thread of its own, in time.

    :param beat: sends one heartbeat and returns the seconds until the next is due
    """

    def __init__(self, beat: Callable[[], float]) -> None:
        self._beat = beat
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.beats = 0
        """How many beats succeeded since the last start."""

    def is_alive(self) -> bool:
        """Whether the heart is beating."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to beat; does nothing when it beats already."""
        if self.is_alive():
            return
        self._stopping.clear()
        self.beats = 0
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End beating, and wait for a beat that is under way."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        interval = _RETRY_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                interval = self._beat()
                self.beats += 1
                pause = interval - (time.monotonic() - began)
            except ToozError as error:
                if self._stopping.is_set():
                    return
                pause = min(_RETRY_SECONDS, interval / 4)
                _log.warning("a heartbeat failed, again in %.2f s: %s", pause, error)
            self._stopping.wait(max(0.0, pause))
