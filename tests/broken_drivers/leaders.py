"""Leaders: two of them, none to be had, or one that does not go."""

from __future__ import annotations

import time

import msgspec

from conformance.drivers import registry
from conformance.drivers.file import FileDriver
from conformance.drivers.registry import Registry

from .broken import THREADS, WINDOW, meant_for


class _TakesTheLead(FileDriver):
    """A driver that begins a term whoever leads."""

    def _begin_term(self, group_id: bytes) -> int:
        session = self.session

        def begin(before: Registry) -> Registry:
            leaders = {g: led for g, led in before.leaders.items() if g != group_id}
            without = msgspec.structs.replace(before, leaders=leaders)
            return registry.campaign(without, group_id, self._member_id, session.token)

        _, after = session.step(begin)
        return after.leaders[group_id].term


@meant_for(
    {
        "test_there_is_one_leader": THREADS,
        "test_some_order_explains_everything": "SERIALIZABLE",
    }
)
class ElectsTwo(_TakesTheLead):
    """Looks whether somebody leads, and if not, leads: a leader's key that is SET."""

    def _campaign(self, group_id: bytes) -> object | None:
        led = self._leadership(group_id)
        if led is not None:
            return led.term if led.session == self.session.token else None
        time.sleep(2 * WINDOW)
        return self._begin_term(group_id)


@meant_for({"test_a_leader_steps_down": THREADS})
class NeverStandsDown(FileDriver):
    """Says that it stood down and leads on: drivers that forget the lock of their leader."""

    def _stand_down(self, group_id: bytes) -> bool:
        return self._get_leader(group_id) == self._member_id


@meant_for({"test_a_killed_candidate_harms_no_election": "crashes"}, level="processes")
class SucceedsTwice(_TakesTheLead):
    """Looks whether the leader is dead, then takes the lead: so do all others who looked."""

    def _campaign(self, group_id: bytes) -> object | None:
        led = self.session.read().leaders.get(group_id)
        if led is None or self._leadership(group_id) is not None:
            return super()._campaign(group_id)
        time.sleep(WINDOW)
        return self._begin_term(group_id)
