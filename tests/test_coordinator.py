"""What every driver's coordinator does, whatever the driver has."""

from __future__ import annotations

import pytest

from conformance.coordination import NotImplemented as Lacking
from tests import featureless


def test_what_a_driver_lacks_is_said_by_the_apis_own_error() -> None:
    bare = featureless.coordinator("bare://", b"member")
    bare.start()
    with pytest.raises(Lacking, match="Featureless does not have GROUPS"):
        bare.create_group(b"group").get()
    with pytest.raises(Lacking, match="Featureless does not have LEADERSHIP"):
        bare.stand_down_group_leader(b"group")
    bare.stop()
