"""A plugin for runs of which only the verdict matters: they look for no smaller plan.

Plans and their number are those of the profile, so what it finds is found.
"""

from __future__ import annotations

import msgspec

from conformance.profiles import PROFILES

for _profile in PROFILES.values():
    PROFILES[_profile.name] = msgspec.structs.replace(_profile, shrinks=0)
