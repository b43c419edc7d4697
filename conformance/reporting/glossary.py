"""What the words of a report mean: verdicts, and the ten characteristics, in short.

What exactly is tested for each characteristic stands in docs/characteristics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from conformance.verdict import Verdict

__all__ = ["CLAIMS", "MEANINGS", "PROMISES", "SYMBOLS"]

SYMBOLS: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.HELD: "✓",
        Verdict.FALSIFIED: "✗",
        Verdict.INCONCLUSIVE: "?",
        Verdict.NOT_EXERCISED: "–",
        Verdict.ERROR: "!",
    }
)
"""One character for each verdict, always shown beside its word."""

MEANINGS: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.HELD: "Not falsified in the trials and operations given. That is no proof: "
        "more trials, or others, may still falsify it.",
        Verdict.FALSIFIED: "A history was seen that is not allowed. It is kept as evidence, "
        "whether or not it shows again.",
        Verdict.INCONCLUSIVE: "The check ran out of its budget, or too little happened for "
        "the run to mean anything.",
        Verdict.NOT_EXERCISED: "Nothing was run that could have falsified it; the reason is given.",
        Verdict.ERROR: "The suite or its environment failed; this says nothing about the driver.",
    }
)
"""What each verdict says."""

CLAIMS: Mapping[str, str] = MappingProxyType(
    {
        "claimed": "The driver promises it, so the verdict is a verdict on the driver.",
        "not claimed": "The driver does not promise it, and is tested all the same: falsified "
        "shows that the experiment can fail, held shows what might be claimed.",
    }
)
"""What it says that something is claimed, or not."""

PROMISES: Mapping[str, str] = MappingProxyType(
    {
        "DISTRIBUTED_ACROSS_THREADS": "Several threads work as one would.",
        "DISTRIBUTED_ACROSS_PROCESSES": "Several processes work as one would.",
        "DISTRIBUTED_ACROSS_HOSTS": "Several hosts work as one would.",
        "NON_TIMEOUT_BASED": "Nobody loses anything for being slow; what the dead held is free "
        "without a time-out.",
        "LINEARIZABLE": "Each operation takes effect at one moment between its call and its "
        "return.",
        "SEQUENTIAL": "All take effect in one order, which keeps each client's own.",
        "CAUSAL": "Nobody sees an effect without its cause.",
        "SERIALIZABLE": "All take effect one at a time, in some order.",
        "SAME_VIEW_UNDER_PARTITIONS": "Both sides of a partition see the same data.",
        "SAME_VIEW_ACROSS_CLIENTS": "Clients of different servers see the same data.",
    }
)
"""What each characteristic promises, in a line."""
