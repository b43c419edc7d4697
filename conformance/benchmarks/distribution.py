"""What is made of samples: their distribution, their file, Jain's index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conformance.results import Measure

__all__ = ["Samples", "jain_index", "measure", "nanoseconds", "save_samples"]

Samples = npt.NDArray[np.int64]
"""Durations in nanoseconds, in the order in which they were taken."""


def nanoseconds(durations: Iterable[int]) -> Samples:
    """Return durations as samples."""
    return np.fromiter(durations, dtype=np.int64)


def measure(samples: Samples) -> Measure:
    """Return the distribution of samples; percentiles are interpolated linearly.

    :raises ValueError: there are none
    """
    if not samples.size:
        raise ValueError("no samples: there is no distribution of nothing")
    median, p90, p99 = np.percentile(samples, [50, 90, 99])
    return Measure(
        count=int(samples.size),
        minimum=float(samples.min()),
        median=float(median),
        p90=float(p90),
        p99=float(p99),
        maximum=float(samples.max()),
        mean=float(samples.mean()),
    )


def jain_index(shares: Sequence[float]) -> float:
    """Return how evenly something is shared out: 1 is evenly, 1/n is all to one of n.

    Source: R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and
    Discrimination for Resource Allocation in Shared Computer Systems", DEC-TR-301, 1984.

    :raises ValueError: there is nobody, or nothing was shared out
    """
    if not any(shares):
        raise ValueError(f"nothing was shared out among {len(shares)}: no index")
    values = np.asarray(shares, dtype=np.float64)
    return float(values.sum() ** 2 / (values.size * (values**2).sum()))


def save_samples(samples: Samples, run_directory: Path, name: str) -> str:
    """Write samples as ``samples/NAME.npy``; return that path, relative to the run's.

    :param name: any text that no other samples of the run have
    """
    path = Path("samples") / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.npy"
    (run_directory / path).parent.mkdir(parents=True, exist_ok=True)
    np.save(run_directory / path, samples, allow_pickle=False)
    return str(path)
