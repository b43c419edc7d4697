"""Fresh processes for tests, forked from one that has imported what most of them need."""

from __future__ import annotations

import multiprocessing

__all__ = ["PROCESSES"]

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["conformance.gate", "conformance.reporting.terminal", "posix_ipc", "pytest"]
)
