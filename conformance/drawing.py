"""How Hypothesis draws plans: by the seed and by nothing else.

A seed that is named in a report has to draw the same plans elsewhere: in another
directory, with other settings in the environment, beside other modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.internal.conjecture import providers

__all__ = ["drawing", "seeing_no_modules"]


def drawing(trials: int, *, shrink: bool, steps: int = 1) -> hypothesis.settings:
    """Return Hypothesis' settings, every one of them, so that no environment does.

    :param trials: how many examples to draw
    :param shrink: whether to look for a smaller example once one has failed
    :param steps: the most rules that a state machine, if it is one, goes through in an example
    """
    return hypothesis.settings(
        max_examples=trials,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
        stateful_step_count=steps,
        backend="hypothesis",
    )


@contextmanager
def seeing_no_modules() -> Iterator[None]:
    """Keep Hypothesis from drawing constants out of the modules that happen to be loaded.

    It looks for literals in the code of all loaded modules that are not installed as
    packages, and draws one of them for about one value in twenty (Hypothesis 6.131 and
    later). Which those are depends on the other backends of a run and on whether this
    package is installed or checked out, so one seed would draw other plans there. No
    setting turns it off; its own list of difficult values stays in use.
    """
    if not hasattr(providers, "_get_local_constants"):
        yield
        return
    no_constants = type(providers.GLOBAL_CONSTANTS)  # made without arguments, it is empty
    with (
        mock.patch.object(providers, "_get_local_constants", no_constants),
        mock.patch.object(providers, "CONSTANTS_CACHE", {}),
    ):
        yield
