"""What is particular to the ipc driver: its URL, its namespaces and its memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import posix_ipc
import pytest

from conformance.coordination import ToozConnectionError, driver_class, get_coordinator
from conformance.drivers.ipc import IPCDriver, SharedMemory
from conformance.drivers.medium import Descriptor
from tests.local_places import GROUP, LOCK, Place, place_for


@pytest.fixture
def local_place(tmp_path: Path) -> Iterator[Place]:
    with place_for("ipc", tmp_path) as local_place:
        yield local_place


def test_its_scheme_is_ipc() -> None:
    assert driver_class("ipc") is IPCDriver


def test_a_namespace_is_named_in_the_url_its_query_or_the_options(local_place: Place) -> None:
    held = local_place.coordinator().get_lock(LOCK)
    held.acquire()
    others = [
        get_coordinator(f"ipc://{local_place.namespace}/", b"me"),
        get_coordinator(f"ipc://?namespace={local_place.namespace}", b"me"),
        get_coordinator("ipc://", b"me", namespace=local_place.namespace),
        get_coordinator(f"ipc://{local_place.namespace}?namespace={local_place.namespace}", b"me"),
    ]
    for other in others:
        other.start()
        assert not other.get_lock(LOCK).acquire(blocking=False)
        other.stop()


def test_the_namespace_is_tooz_where_none_is_named() -> None:
    coordinator = get_coordinator("ipc://", b"me")
    assert isinstance(coordinator, IPCDriver)
    assert str(coordinator._medium()) == "namespace 'tooz' of the shared memory"


@pytest.mark.parametrize("namespace", ["a.b", "a b", "", "ü", "n" * 81, "a%2Fb", "tooz\n"])
def test_a_namespace_is_a_plain_short_word(namespace: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        get_coordinator("ipc://", b"me", namespace=namespace)


@pytest.mark.parametrize("url", ["ipc://a.b", "ipc://user@host", "ipc://a:1"])
def test_a_url_names_a_plain_short_word(url: str) -> None:
    with pytest.raises(ValueError, match="a namespace is"):
        get_coordinator(url, b"me")


def test_two_namespaces_in_one_url_must_agree() -> None:
    with pytest.raises(ValueError, match="the option 'two'"):
        get_coordinator("ipc://one", b"me", namespace="two")


def test_a_url_with_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match="without a path"):
        get_coordinator("ipc:///one", b"me")


def test_a_long_namespace_leaves_room_for_every_name() -> None:
    namespace = secrets.token_hex(40)
    coordinator = get_coordinator(f"ipc://{namespace}", b"me")
    coordinator.start()
    locks = [coordinator.get_lock(b"n" * length) for length in (1, 64, 65, 5000)]
    assert all(lock.acquire(blocking=False) for lock in locks)
    coordinator.stop()
    assert list(Path("/dev/shm").glob(f"*{namespace}*")) == []


def test_namespaces_do_not_meet(local_place: Place, tmp_path: Path) -> None:
    with place_for("ipc", tmp_path) as other:
        here, there = local_place.coordinator(), other.coordinator()
        here.create_group(GROUP).get()
        here.get_lock(LOCK).acquire()
        assert there.get_groups().get() == []
        assert there.get_lock(LOCK).acquire(blocking=False)


def test_stopping_does_not_destroy_what_is_others(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    one.join_group_create(GROUP, "kept")
    one.get_lock(LOCK).acquire()
    two.stop()
    assert one.get_member_capabilities(GROUP, b"one").get() == "kept"
    two.start()
    assert not two.get_lock(LOCK).acquire(blocking=False)
    assert two.get_groups().get() == [GROUP]


def test_there_are_no_semaphores(local_place: Place) -> None:
    with local_place.coordinator().get_lock(LOCK):
        assert not any(name.startswith("sem.") for name in local_place.stored())


def test_at_most_one_registry_is_stored_between_changes(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    for number in range(3):
        coordinator.create_group(b"%d" % number).get()
        assert sum("registry" in name for name in local_place.stored()) == 1


@pytest.mark.parametrize("left", [b"", b"torn", b"\xff" * 1_000_000])
def test_what_a_killed_writer_left_is_never_read(local_place: Place, left: bytes) -> None:
    coordinator = local_place.coordinator()
    for number in range(2):  # the two objects take turns
        (stored,) = (name for name in local_place.stored() if "registry" in name)
        other = "0" if stored.endswith("1") else "1"
        Path("/dev/shm", stored[:-1] + other).write_bytes(left)
        assert len(coordinator.get_groups().get()) == number
        coordinator.create_group(b"%d" % number).get()
        assert len(coordinator.get_groups().get()) == number + 1


def test_a_reader_takes_no_document_that_is_being_written(
    local_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name leads there: it was replaced after the reader looked which is current."""
    reader, writer = local_place.coordinator(b"reader"), local_place.coordinator(b"writer")
    opening = SharedMemory.open
    begun: list[str] = []

    def replace_then_open(self: SharedMemory, name: str, *, create: bool) -> Descriptor:
        if name.startswith("registry") and not begun:
            begun.append(name)
            writer.create_group(GROUP).get()
            with opening(self, name, create=True) as unfinished:
                unfinished.write(b"half of it")
        return opening(self, name, create=create)

    monkeypatch.setattr(SharedMemory, "open", replace_then_open)
    assert reader.get_groups().get() == [GROUP]
    assert begun


def test_errors_of_posix_ipc_are_the_apis_own(
    local_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = local_place.coordinator()

    def refuse(*arguments: object) -> None:
        raise posix_ipc.PermissionsError("not yours")

    with monkeypatch.context() as patched:
        patched.setattr(posix_ipc, "SharedMemory", refuse)
        with pytest.raises(ToozConnectionError, match="not yours") as raised:
            coordinator.get_groups().get()
    assert isinstance(raised.value.__cause__, PermissionError)


def test_a_full_memory_leaves_everything_as_it_was(
    local_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = local_place.coordinator()
    coordinator.join_group_create(GROUP, "kept")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("conformance.drivers.medium.Descriptor.write", full)
        with pytest.raises(ToozConnectionError, match="No space left"):
            coordinator.update_capabilities(GROUP, "lost").get()
    assert coordinator.get_member_capabilities(GROUP, b"me").get() == "kept"
    coordinator.update_capabilities(GROUP, "next").get()
