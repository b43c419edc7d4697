"""The adapter of OpenStack tooz: what it brings over, and what it leaves as it is."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import coordination as api
from conformance.coordination import Characteristics, Feature
from conformance.implementations import Driver, describe
from conformance.workload.plan import Phase, Plan, Step

pytest.importorskip("tooz")
pytest.importorskip("fasteners")

import tenacity

from conformance.adapters import tooz as adapter

NAME = "conformance.adapters.tooz:make_coordinator"
ALL = frozenset(Feature)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[adapter.ToozCoordinator]:
    made = adapter.make_coordinator(f"file://{tmp_path}", b"member", timeout=0.5)
    made.start()
    yield made
    if made.is_started:
        made.stop()


def driver(url: str, needs: str) -> Driver:
    pytest.importorskip(needs)
    return describe(NAME, url)


def test_a_driver_is_described_as_what_is_adapted(tmp_path: Path) -> None:
    found = describe(NAME, f"file://{tmp_path}")
    assert found.name == "tooz.drivers.file.FileDriver"
    assert found.version == "9.1.0"
    assert Characteristics.NON_TIMEOUT_BASED in found.claims
    assert found.least_timeout == 1.0


@pytest.mark.parametrize(
    ("url", "needs", "features"),
    [
        (
            "file:///nowhere",
            "fasteners",
            ALL - {Feature.BREAKING, Feature.LEADERSHIP},
        ),
        ("mysql://u:p@h/d", "pymysql", {Feature.LOCKS}),
        ("postgresql://u:p@h/d", "psycopg2", {Feature.LOCKS}),
        ("redis://h", "redis", ALL - {Feature.SHARED_LOCKS, Feature.LEADERSHIP}),
        ("memcached://h", "pymemcache", ALL - {Feature.SHARED_LOCKS, Feature.LEADERSHIP}),
        ("etcd://h", "etcd3gw", ALL - {Feature.SHARED_LOCKS, Feature.LEADERSHIP}),
        ("zookeeper://h", "kazoo", ALL - {Feature.SHARED_LOCKS, Feature.BREAKING}),
    ],
)
def test_features_are_what_the_classes_implement(
    url: str, needs: str, features: frozenset[Feature]
) -> None:
    assert driver(url, needs).features == features


def test_methods_that_a_driver_does_without_are_named() -> None:
    lacking = driver("mysql://u:p@h/d", "pymysql").lacks
    assert {"is_still_owner", "lock_heartbeat", "heartbeat"} <= lacking
    assert "acquired" not in lacking
    assert "update_capabilities" in driver("file:///nowhere", "fasteners").lacks
    assert driver("zookeeper://h", "kazoo").lacks == {"break_"}


def test_methods_of_features_that_a_driver_does_without_are_named() -> None:
    lacking = driver("redis://h", "redis").lacks
    assert {"campaign", "stand_down", "get_leader", "run_elections"} <= lacking
    assert lacking.isdisjoint({"join_group", "watch", "break_", "acquire"})


def test_a_timed_wait_in_vain_is_mended_on_demand() -> None:
    class Held:
        def acquire(self, *_: object) -> bool:
            raise error

    error: Exception = tenacity.RetryError(tenacity.Future(1))
    assert adapter.MendedLock(Held()).acquire(0.1) is False
    with pytest.raises(tenacity.RetryError):
        adapter.ToozLock(Held()).acquire(0.1)
    error = OSError("no route")
    with pytest.raises(OSError, match="no route"):
        adapter.MendedLock(Held()).acquire(0.1)


def test_a_build_of_sysv_ipc_without_time_outs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sysv_ipc = pytest.importorskip("sysv_ipc")
    monkeypatch.setattr(sysv_ipc, "SEMAPHORE_TIMEOUT_SUPPORTED", False)
    with pytest.raises(ValueError, match="--no-binary sysv_ipc"):
        adapter.make_coordinator("ipc://", b"member")
    monkeypatch.setattr(sysv_ipc, "SEMAPHORE_TIMEOUT_SUPPORTED", True)
    assert "acquired" in driver("ipc://", "sysv_ipc").lacks


def test_such_methods_are_not_called() -> None:
    steps = [Step("acquire", b"a"), Step("is_still_owner", b"a"), Step("release", b"a")]
    plan = Plan({0: 0}, [Phase({0: steps}), Phase({0: steps[1:2]})]).without({"is_still_owner"})
    assert [phase.steps for phase in plan.phases] == [{0: [steps[0], steps[2]]}, {0: []}]


@pytest.mark.parametrize("url", ["zake://", "consul://h"])
def test_urls_that_tooz_has_no_driver_for_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"no driver for URLs .* it has them for .*zookeeper"):
        adapter.make_coordinator(url, b"member")


def test_time_outs_are_whole_seconds_and_others_options_stay_out() -> None:
    given = {"timeout": "0.3", "lock_timeout": 2.5, "namespace": "n", "max_pool_size": 3}
    assert adapter._options("memcached", given) == {
        "timeout": 2,
        "lock_timeout": 3,
        "max_pool_size": 3,
    }
    assert adapter._options("redis", {"timeout": "0.3"}) == {"timeout": 1}
    assert adapter._options("mysql", {"timeout": 1.0}) == {}


def test_errors_become_those_of_the_same_name(coordinator: adapter.ToozCoordinator) -> None:
    with pytest.raises(api.GroupNotCreated) as absent:
        coordinator.get_members(b"group").get()
    assert absent.value.group_id == b"group"
    coordinator.create_group(b"group").get()
    with pytest.raises(api.GroupAlreadyExist):
        coordinator.create_group(b"group").get()
    coordinator.join_group(b"group").get()
    with pytest.raises(api.MemberAlreadyExist) as joined:
        coordinator.join_group(b"group").get()
    assert (joined.value.group_id, joined.value.member_id) == (b"group", b"member")
    assert pickle.loads(pickle.dumps(joined.value)).member_id == b"member"
    with pytest.raises(api.GroupNotEmpty):
        coordinator.delete_group(b"group").get()
    with pytest.raises(api.NotImplemented):
        coordinator.get_leader(b"group")
    with pytest.raises(api.WatchCallbackNotFound):
        coordinator.unwatch_join_group(b"group", print)
    with pytest.raises(api.ToozError):
        coordinator.start()


def test_exceptions_that_are_not_toozs_come_out_raw(coordinator: adapter.ToozCoordinator) -> None:
    with pytest.raises(UnicodeDecodeError):
        coordinator.get_lock(b"\xff")


def test_a_lock_is_used_as_the_contract_has_it(coordinator: adapter.ToozCoordinator) -> None:
    lock = coordinator.get_lock(b"lock")
    with lock(blocking=False) as held:
        assert held.acquired
        assert held.is_still_owner()
        assert held.heartbeat()
        with pytest.raises(api.LockAcquireFailed), coordinator.get_lock(b"lock")(False):
            pass
    assert not lock.acquired
    assert lock.release() is False
    with lock:
        assert lock.acquired
    with pytest.raises(api.NotImplemented):
        lock.break_()


def test_results_tell_when_they_are_done(coordinator: adapter.ToozCoordinator) -> None:
    result = coordinator.create_group(b"group")
    assert result.get(5.0) is None
    assert result.done()


def test_nothing_but_the_api_passes_through(coordinator: adapter.ToozCoordinator) -> None:
    with pytest.raises(AttributeError, match="join_partitioned_group"):
        coordinator.join_partitioned_group  # noqa: B018
