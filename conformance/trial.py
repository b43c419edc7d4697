"""The trial of a claim: explores plans, has histories judged, keeps the evidence.

A scenario gets a :class:`Trial` and ends in one of four ways: it returns (held), or
raises :class:`Falsified`, :class:`Inconclusive` or :class:`NotExercised`. What was seen
once stays seen: the evidence of the first falsification is kept before anything else
is tried.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NoReturn, TypeVar

import hypothesis
import msgspec
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from hypothesis.strategies import SearchStrategy

from conformance.archive import Archive
from conformance.characteristics import Characteristics, Feature
from conformance.checkers.conduct import check_conduct
from conformance.coordination import without_password
from conformance.drawing import drawing, seeing_no_modules
from conformance.faults.addresses import address_of
from conformance.history import History
from conformance.implementations import Driver
from conformance.profiles import Profile
from conformance.results import save_evidence
from conformance.verdict import Evidence, Finding, Verdict
from conformance.workload.crew import Crew
from conformance.workload.plan import Plan, describe
from conformance.workload.runner import Session, StopFailed, Target
from conformance.workload.strategies import crowds

__all__ = [
    "Falsified",
    "Inconclusive",
    "Judge",
    "Least",
    "NotExercised",
    "Place",
    "Steering",
    "Trial",
    "level_characteristic",
]

T = TypeVar("T")

Judge = Callable[[History], Finding]
"""Says what one history shows."""

Steering = Callable[[Session, Plan], None]
"""Carries out a plan in a session, and may do more, depending on what comes of it."""

_SHRINK_SECONDS = 10.0
"""How long after the first falsified run began a smaller plan may be run: one in which a
call hung would only hang again."""


class Falsified(AssertionError):
    """A history was seen that the claim does not allow."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.rule}: {finding.reason}")
        self.finding = finding


class Inconclusive(Exception):
    """A check ran out of budget, or too little happened for the runs to mean anything."""


class _Enough(BaseException):
    """Ends looking for a smaller plan: Hypothesis lets out what is no Exception.

    Without it, it would go on to draw thousands of plans that nobody runs.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


class NotExercised(Exception):
    """The scenario has nothing to run on this driver or at this level; the reason why."""


def level_characteristic(level: str) -> Characteristics:
    """Return the characteristic that claims a level: ``threads`` and so on."""
    return Characteristics[f"DISTRIBUTED_ACROSS_{level.upper()}"]


@dataclass(frozen=True)
class Least:
    """The least that must have happened, in all trials together, for a verdict.

    ``count`` says how often it happened in one history.
    """

    what: str
    times: int
    count: Callable[[History], int]


class Place(msgspec.Struct, frozen=True):
    """Where a scenario runs: a driver of an implementation, on a backend, at a level."""

    backend: str
    url: str
    level: str
    driver: Driver
    path: list[str] = []

    def __repr__(self) -> str:
        """Return a few words: the URL may have a password."""
        return f"<Place {self.backend}-{self.level} at {without_password(self.url)}>"

    def claims(self, about: Characteristics | None) -> bool:
        """Whether the driver claims something at this level; None is any behaviour."""
        claimed = about is None or about in self.driver.claims
        return claimed and level_characteristic(self.level) in self.driver.claims

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and port of the server; None where no link leads to one."""
        return address_of(self.url)

    @property
    def target(self) -> Target:
        """What clients are to use."""
        return Target(self.driver.implementation, self.url, self.level, self.path)


@dataclass
class Trial:
    """One scenario at one place; see the module."""

    place: Place
    scenario: str
    command: str
    seed: int
    profile: Profile
    crew: Crew
    directory: Path
    evidence_directory: Path
    trials: int = 0
    operations: int = 0
    evidence: list[str] = field(default_factory=list)
    falsified: Finding | None = None

    def run(self, plan: Plan, steering: Steering | None = None) -> History:
        """Carry out a plan, count it, and return its history.

        Methods that the driver does without are not called.

        :param steering: carries the plan out; phase by phase, and nothing more, when None
        :raises Falsified: stopping the coordinators failed
        """
        history = self._carried_out(plan, steering)
        self.count(history)
        return history

    def steer(self, plan: Plan, steering: Callable[[Session], None]) -> History:
        """Run a plan whose phases ``steering`` has performed, doing more in between.

        :returns: the history, which is counted
        :raises Falsified: stopping the coordinators failed
        """
        history = self._steered(plan, steering)
        self.count(history)
        return history

    def _shared(self, plan: Plan, number: int) -> History:
        """Return the history of a run of a plan, which may be another scenario's; count it."""
        where = self.directory / "histories" / f"{self.place.backend}-{self.place.level}"
        history = Archive(where).history(plan, number, lambda: self._carried_out(plan))
        self.count(history)
        return history

    def _carried_out(self, plan: Plan, steering: Steering | None = None) -> History:
        plan = plan.without(self.place.driver.lacks)
        if steering is None:
            return self._steered(plan, lambda session: session.perform_all(plan.phases))
        return self._steered(plan, lambda session: steering(session, plan))

    def _steered(self, plan: Plan, steering: Callable[[Session], None]) -> History:
        try:
            with self.session(plan) as session:
                steering(session)
                return session.history()
        except StopFailed as error:
            self.falsify(_not_stopped(error), error.history, plan)

    @property
    def sharings(self) -> tuple[bool, ...]:
        """Whether clients share one coordinator: both ways where they are threads."""
        return (False, True) if self.place.level == "threads" else (False,)

    def crowd(self, sharing: bool, *, most: int | None = None) -> SearchStrategy[dict[int, int]]:
        """Return a strategy for clients and their coordinators, two to the profile's most."""
        return crowds(most or self.profile.clients, sharing=sharing)

    def session(self, plan: Plan) -> Session:
        """Return a session in which the scenario calls one step after another."""
        return Session(self.crew, self.place.target, plan, self.directory, self.place.driver.lacks)

    def count(self, history: History) -> None:
        """Count a history as one trial."""
        self.trials += 1
        self.operations += len(history)

    def needs(self, *features: Feature) -> None:
        """End the scenario as not exercised when the driver lacks one of the features."""
        missing = sorted(f.name for f in features if f not in self.place.driver.features)
        if missing:
            raise NotExercised(f"the driver does not have {', '.join(missing)}")

    def explore(
        self,
        plans: SearchStrategy[Plan],
        judge: Judge,
        *,
        least: Sequence[Least] = (),
        trials: int | None = None,
        steering: Steering | None = None,
        shared: bool = False,
    ) -> list[History]:
        """Run many plans and judge every history.

        :param plans: what to draw plans from; whole plans, nothing is drawn later
        :param judge: says what one history shows
        :param least: what must have happened in all histories together
        :param trials: how many plans; as many as the profile says when None
        :param steering: carries out each plan; phase by phase, and nothing more, when None
        :param shared: whether a plan that was carried out here for another scenario that
            shares is judged by what came of it then; not with ``steering``
        :returns: the histories
        :raises Falsified: one history is not allowed
        :raises Inconclusive: a check ran out of budget, or too little happened
        """
        if shared and steering is not None:
            raise ValueError("what is shared is carried out phase by phase, without steering")
        histories: list[History] = []
        undecided: list[Finding] = []
        runs: Counter[bytes] = Counter()

        def examine(plan: Plan) -> Finding:
            if shared:
                runs[plan.key] += 1
                history = self._shared(plan, runs[plan.key])
            else:
                history = self.run(plan, steering)
            histories.append(history)
            finding = self.judge(history, judge, plan)
            if finding.verdict is Verdict.INCONCLUSIVE:
                undecided.append(finding)
            return finding

        self._search(plans, examine, trials or self.profile.trials)
        if undecided:
            raise Inconclusive(f"{len(undecided)} of {len(histories)}: {undecided[0].reason}")
        for demand in least:
            happened = sum(map(demand.count, histories))
            if happened < demand.times:
                raise Inconclusive(
                    f"too little happened: {happened} {demand.what}, at least {demand.times} "
                    "are needed"
                )
        return histories

    def explore_machine(
        self,
        machine: Callable[[Session, Callable[[str], None]], RuleBasedStateMachine],
        plan: Plan,
    ) -> None:
        """Run a state machine that calls one step after another in sessions of ``plan``.

        :param machine: makes the machine from a started session, and from what it is to
            call with its complaint when an answer is wrong
        :raises Falsified: it complained
        """

        def begin() -> RuleBasedStateMachine:
            session = self.session(plan)
            session.__enter__()

            def complain(reason: str) -> None:
                finding = Finding(Verdict.FALSIFIED, "contract", reason, session.last(1))
                self.falsify(finding, session.history(), plan)

            made = machine(session, complain)
            made.teardown = partial(self._end, session, plan)  # type: ignore[method-assign]
            return made

        settings = drawing(self.profile.trials, shrink=False, steps=3 * self.profile.steps)
        try:
            with seeing_no_modules():
                run_state_machine_as_test(hypothesis.seed(self.seed)(begin), settings=settings)  # type: ignore[arg-type]
        except hypothesis.errors.Flaky as flaky:
            if self.falsified is None:
                raise
            raise Falsified(self.falsified) from flaky

    def _end(self, session: Session, plan: Plan) -> None:
        """End a machine's session and count it."""
        try:
            self.count(session.history())
        finally:
            try:
                session.__exit__()
            except StopFailed as error:
                self.falsify(_not_stopped(error), error.history, plan)

    def judge(self, history: History, judge: Judge, plan: Plan) -> Finding:
        """Judge a history; keep the evidence and raise when it is not allowed."""
        finding = check_conduct(history, timeout=plan.options.get("timeout"))
        if finding.verdict is not Verdict.FALSIFIED:
            judged = judge(history)
            if finding.verdict is Verdict.HELD or judged.verdict is not Verdict.HELD:
                finding = judged
        if finding.verdict is Verdict.FALSIFIED:
            self.falsify(finding, history, plan)
        return finding

    def conclude(self, history: History, judge: Judge, plan: Plan) -> None:
        """Judge the one history that decides.

        :raises Falsified: it is not allowed
        :raises Inconclusive: that cannot be told
        """
        finding = self.judge(history, judge, plan)
        if finding.verdict is Verdict.INCONCLUSIVE:
            raise Inconclusive(finding.reason)

    def require(self, holds: bool, rule: str, reason: str, history: History, plan: Plan) -> None:
        """Falsify unless ``holds``."""
        if not holds:
            self.falsify(Finding(Verdict.FALSIFIED, rule, reason), history, plan)

    def falsify(self, finding: Finding, history: History, plan: Plan) -> NoReturn:
        """Keep the evidence of a violation and raise Falsified.

        The first is kept for good; of those that shrinking finds, the last, smallest one.
        """
        first = self.falsified is None
        path = self.evidence_directory / ("first.msgpack" if first else "smaller.msgpack")
        save_evidence(
            Evidence(
                scenario=self.scenario,
                backend=self.place.backend,
                implementation=self.place.driver.implementation,
                level=self.place.level,
                plan=describe(plan),
                history=history,
                finding=finding,
                command=self.command,
            ),
            path,
        )
        if str(path) not in self.evidence:
            self.evidence.append(str(path))
        self.falsified = self.falsified or finding
        raise Falsified(finding)

    def _search(
        self, plans: SearchStrategy[Plan], examine: Callable[[Plan], Finding], trials: int
    ) -> None:
        """Have Hypothesis draw plans until one is falsified, then shrink within a budget.

        What a plan led to is remembered, so Hypothesis sees one answer for each plan and
        a violation that does not repeat is a violation all the same. Where there are fewer
        different plans than trials, they are run again, as no two runs of one are alike.
        """
        seen: dict[bytes, Falsified | None] = {}
        different: list[Plan] = []
        shrinks, end = self.profile.shrinks, float("inf")

        @hypothesis.seed(self.seed)
        @drawing(trials, shrink=self.profile.shrinks > 0)
        @hypothesis.given(plans)
        def attempt(plan: Plan) -> None:
            nonlocal shrinks, end
            if plan.key not in seen:
                began = time.monotonic()
                if self.falsified is not None:
                    if shrinks <= 0 or began > end:
                        raise _Enough(self.falsified)
                    shrinks -= 1
                different.append(plan)
                seen[plan.key] = _falsified_by(examine, plan)
                if self.falsified is not None:
                    end = min(end, began + _SHRINK_SECONDS)
            if (falsified := seen[plan.key]) is not None:
                raise falsified

        try:
            with seeing_no_modules():
                attempt()
        except _Enough as enough:
            raise Falsified(enough.finding) from None
        for plan in islice(cycle(different), max(0, trials - len(different))):
            examine(plan)


def _not_stopped(error: StopFailed) -> Finding:
    """Return the objection to a coordinator that could not be stopped, and where it failed."""
    told = str(error).strip()
    last = told.splitlines()[-1]
    where = "" if last == told else f"\n{told}"
    return Finding(Verdict.FALSIFIED, "stop", f"a coordinator could not be stopped: {last}{where}")


def _falsified_by(examine: Callable[[Plan], Finding], plan: Plan) -> Falsified | None:
    try:
        examine(plan)
    except Falsified as falsified:
        return falsified
    return None
