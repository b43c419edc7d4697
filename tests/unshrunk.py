"""A plugin for runs of which only the verdict matters: they look for no smaller plan.

Plans and their number are those of the gate, so what it finds is found.
"""

from __future__ import annotations

import msgspec

from conformance.profiles import PROFILES

PROFILES["gate"] = msgspec.structs.replace(PROFILES["gate"], shrinks=0)
