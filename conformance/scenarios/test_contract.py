"""The contract: every method answers, for a lone caller, as it is documented to.

A state machine has two members call methods in any sequence, one call at a time, and
compares each answer with that of the models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from conformance.characteristics import Feature
from conformance.history import Operation
from conformance.models import Answer, Coordination, answer_of, asked, predict
from conformance.trial import Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.runner import Session

pytestmark = pytest.mark.scenario("contract")

CLIENTS = st.sampled_from([0, 1])
LOCKS = st.sampled_from([b"lock-a", b"lock-b"])
GROUPS = st.sampled_from([b"group-a", b"group-b"])
MEMBERS = st.sampled_from([b"m0", b"m1", b"nobody"])
CAPABILITIES = st.sampled_from([None, True, 7, "text", b"bytes", [1, "two"], {"k": [b"v"]}])

_STOPPED = Answer(None, "ToozError")
"""What a coordinator that is not started answers."""

_QUIET = {"release": False, "is_still_owner": False, "acquired": False, "lock_heartbeat": False}
"""What a lock answers while its coordinator is not started: it holds nothing."""


class _Contract(RuleBasedStateMachine):
    """Calls and their answers, beside the model's."""

    def __init__(self, session: Session, complain: Callable[[str], None]) -> None:
        super().__init__()
        self.session = session
        self.complain = complain
        self.model = Coordination()
        self.state: Any = self.model.initial
        self.started = {0: True, 1: True}
        self.watched: Counter[tuple[int, bytes]] = Counter()

    def has(self, *names: str) -> bool:
        """Whether the driver has the methods behind these steps."""
        return self.session.lacks.isdisjoint(names)

    # -- locks --------------------------------------------------------------------

    @rule(client=CLIENTS, lock=LOCKS, waiting=st.sampled_from([False, 0.0, 0.01]))
    def acquire(self, client: int, lock: bytes, waiting: Any) -> None:
        """Acquire without, or hardly, waiting."""
        self.modelled(client, Step("acquire", lock, {"blocking": waiting}))

    @rule(
        client=CLIENTS,
        lock=LOCKS,
        name=st.sampled_from(["release", "is_still_owner", "acquired", "lock_heartbeat", "enter"]),
    )
    def use_lock(self, client: int, lock: bytes, name: str) -> None:
        """Release, ask about the hold, or use the lock as a context manager."""
        self.modelled(client, Step(name, lock))

    # -- groups -------------------------------------------------------------------

    @rule(
        client=CLIENTS,
        group=GROUPS,
        name=st.sampled_from(["create_group", "create_group", "delete_group", "leave_group"]),
    )
    def change_group(self, client: int, group: bytes, name: str) -> None:
        """Create, delete or leave a group."""
        self.modelled(client, Step(name, group))

    @rule(
        client=CLIENTS,
        group=GROUPS,
        name=st.sampled_from(["get_groups", "get_members", "get_members_with_capabilities"]),
    )
    def read_group(self, client: int, group: bytes, name: str) -> None:
        """List the groups, or the members of one."""
        self.modelled(client, Step(name, b"" if name == "get_groups" else group))

    @rule(
        client=CLIENTS,
        group=GROUPS,
        name=st.sampled_from(["join_group", "join_group", "update_capabilities"]),
        capabilities=CAPABILITIES,
    )
    def write(self, client: int, group: bytes, name: str, capabilities: Any) -> None:
        """Join, or update capabilities."""
        self.modelled(client, Step(name, group, {"capabilities": capabilities}))

    @precondition(lambda self: self.has("get_member_capabilities", "get_member_info"))
    @rule(client=CLIENTS, group=GROUPS, member=MEMBERS)
    def read_member(self, client: int, group: bytes, member: bytes) -> None:
        """Read a member's capabilities, and its information, which has them too."""
        step = Step("get_member_capabilities", group, {"member": member})
        capabilities = self.judged(client, step)
        info = self.call(client, Step("get_member_info", group, {"member": member}))
        if capabilities.error != info.error:
            self.complain(f"{info}, but {capabilities}")
        if info.error is None:
            if info.value["capabilities"] != capabilities.value:
                self.complain(f"{info}, but {capabilities}")
            if not info.value["created_at"] <= info.value["updated_at"]:
                self.complain(f"updated before it was created: {info}")

    @precondition(lambda self: self.has("join_oddly", "join_group_create"))
    @rule(client=CLIENTS, group=GROUPS, oddly=st.booleans())
    def join_otherwise(self, client: int, group: bytes, oddly: bool) -> None:
        """Join, creating the group if need be, or with what cannot be stored."""
        if oddly:
            operation = self.call(client, Step("join_oddly", group))
            unstored = Answer(None, "SerializationError")
            refused = self.foreseen(client, Step("join_group", group))[0]
            refused = refused if self.started[client] else _STOPPED
            # Of two errors either may be told.
            told_refusal = refused.error is not None and refused.error == operation.error
            self.compare(operation, refused if told_refusal else unstored)
        else:
            self.modelled(client, Step("join_group_create", group))

    # -- leadership and watches ---------------------------------------------------

    @rule(
        client=CLIENTS,
        group=GROUPS,
        name=st.sampled_from(["campaign", "stand_down", "get_leader"]),
    )
    def lead(self, client: int, group: bytes, name: str) -> None:
        """Campaign, stand down, ask for the leader."""
        self.modelled(client, Step(name, group))

    @precondition(lambda self: self.has("watch", "unwatch"))
    @rule(client=CLIENTS, group=GROUPS, name=st.sampled_from(["watch", "unwatch"]))
    def watch_or_not(self, client: int, group: bytes, name: str) -> None:
        """Watch a group's members, or stop it."""
        operation = self.call(client, Step(name, group))
        if name == "unwatch":
            watched = self.watched[client, group]
            self.compare(operation, Answer(None, None if watched else "WatchCallbackNotFound"))
            self.watched[client, group] = max(0, watched - 1)
        elif not self.started[client]:
            self.compare(operation, _STOPPED)
        else:
            exists = self.advance(client, Step("get_members", group)).error is None
            self.compare(operation, Answer(None, None if exists else "GroupNotCreated"))
            if exists:
                self.watched[client, group] += 1

    # -- life ---------------------------------------------------------------------

    @precondition(lambda self: self.has("heartbeat"))
    @rule(client=CLIENTS)
    def heartbeat(self, client: int) -> None:
        """Beat; the answer is when to beat again."""
        operation = self.call(client, Step("heartbeat"))
        if not self.started[client]:
            self.compare(operation, _STOPPED)
        elif not isinstance(operation.value, int | float) or operation.value <= 0:
            self.complain(f"no number of seconds: {operation}")

    @precondition(lambda self: all(self.started.values()))
    @rule(client=CLIENTS, seldom=st.sampled_from([False, False, True]))
    def stop(self, client: int, seldom: bool) -> None:
        """Stop, or ask whether the coordinator is started: one that is not answers little."""
        if seldom:
            self.compare(self.call(client, Step("stop")), Answer())
            self.advance(client, Step("stop"))
            self.started[client] = False
        operation = self.call(client, Step("is_started"))
        self.compare(operation, Answer(self.started[client]))

    @rule(client=CLIENTS)
    def start(self, client: int) -> None:
        """Start who is stopped; else find out that it is started."""
        stopped = [number for number, started in self.started.items() if not started]
        if stopped:
            self.compare(self.call(stopped[0], Step("start")), Answer())
            self.started[stopped[0]] = True
        else:
            self.compare(self.call(client, Step("start_again")), Answer("ToozError"))

    # -- comparing ----------------------------------------------------------------

    def call(self, client: int, step: Step) -> Operation:
        """Have a client call."""
        return self.session.call(client, step)

    def modelled(self, client: int, step: Step) -> None:
        """Have a client call, and compare with what the model says."""
        if self.has(step.name):
            self.judged(client, step)

    def judged(self, client: int, step: Step) -> Operation:
        """Have a client call, compare with what the model says, and return the operation."""
        operation = self.call(client, step)
        if self.started[client]:
            self.compare(operation, self.advance(client, step))
        elif step.name in _QUIET:
            self.compare(operation, Answer(_QUIET[step.name]))
        else:
            self.compare(operation, _STOPPED)
        return operation

    def advance(self, client: int, step: Step) -> Answer:
        """Let the model take a step; return its answer."""
        answer, self.state = self.foreseen(client, step)
        return answer

    def foreseen(self, client: int, step: Step) -> tuple[Answer, Any]:
        """Return what the model would answer to a step, and its state then."""
        member = f"m{client}".encode()
        call = asked(step.name, step.target, step.arguments, client=client, member=member)
        return predict(self.model, self.state, call)

    def compare(self, operation: Operation, wanted: Answer) -> None:
        """Complain unless the answer is the one that is wanted."""
        if answer_of(operation.value, operation.error) != wanted:
            self.complain(f"{operation}, where the contract says {wanted.error or wanted.value!r}")


@pytest.mark.scenario(
    "contract",
    needs=(Feature.LOCKS,),
    levels=("threads", "processes"),
)
def test_every_method_answers_as_documented(trial: Trial) -> None:
    """Any sequence of calls gets the results and errors that the contract gives them."""
    plan = Plan({0: 0, 1: 1}, [Phase({})])
    trial.explore_machine(_Contract, plan)
