"""What is particular to the file driver: its URL, its directory and its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.coordination import ToozConnectionError, driver_class, get_coordinator
from conformance.drivers.file import FileDriver
from tests.local_places import GROUP, LOCK, Place, place_for


@pytest.fixture
def local_place(tmp_path: Path) -> Iterator[Place]:
    with place_for("file", tmp_path) as local_place:
        yield local_place


def meets(url: str, directory: Path) -> bool:
    """Whether a coordinator of this URL is in the directory."""
    coordinator = get_coordinator(url, b"me")
    coordinator.start()
    found = any(directory.glob("coordination.*"))
    coordinator.stop()
    return found


def test_its_scheme_is_file() -> None:
    assert driver_class("file") is FileDriver


def test_a_directory_that_is_missing_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "deeply" / "nested"
    assert meets(f"file://{directory}", directory)


def test_a_url_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert meets("file://some/where", tmp_path / "some" / "where")
    assert meets("file://here", tmp_path / "here")


def test_a_relative_directory_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    coordinator = get_coordinator("file://here", b"me")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    coordinator.start()
    assert any((tmp_path / "here").glob("coordination.*"))
    coordinator.stop()


def test_localhost_is_no_part_of_the_path(tmp_path: Path) -> None:
    assert meets(f"file://localhost{tmp_path}", tmp_path)


def test_a_percent_encoded_path_is_decoded(tmp_path: Path) -> None:
    assert meets(f"file://{tmp_path}/a%20b%3Fc", tmp_path / "a b?c")


@pytest.mark.parametrize("url", ["file://", "file://?timeout=1", "file:///a%00b"])
def test_a_url_without_a_directory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="names a directory"):
        get_coordinator(url, b"me")


@pytest.mark.parametrize("below", [False, True])
def test_a_path_that_is_a_file_is_refused(tmp_path: Path, below: bool) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ToozConnectionError, match="a directory of this host"):
        get_coordinator(f"file://{path / 'below' if below else path}", b"me").start()
    assert path.read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ToozConnectionError, match="may read and write"):
        get_coordinator("file:///proc/nowhere", b"me").start()


def test_a_symbolic_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "coordination.guard").symlink_to(target)
    with pytest.raises(ToozConnectionError):
        get_coordinator(f"file://{tmp_path}", b"me").start()
    assert target.read_text() == "mine"


def test_other_files_of_the_directory_are_left_alone(local_place: Place) -> None:
    local_place.directory.mkdir()
    names = ["guard", "registry", "lock.x61", "session", ".hidden"]
    for name in names:
        (local_place.directory / name).write_text(name)
    coordinator = local_place.coordinator()
    for name in names:
        with coordinator.get_lock(name.encode()):
            coordinator.join_group_create(name.encode())
    for name in names:
        coordinator.leave_group(name.encode()).get()
        coordinator.delete_group(name.encode()).get()
    coordinator.stop()
    assert {path.name: path.read_text() for path in local_place.directory.iterdir()} == {
        name: name for name in names
    }
    for name in names:
        (local_place.directory / name).unlink()


def test_nothing_is_written_outside_the_directory(local_place: Place, tmp_path: Path) -> None:
    coordinator = local_place.coordinator(b"../../me")
    for name in (b"../up", b"/" + os.fsencode(tmp_path) + b"/absolute", b"a/b", b".."):
        with coordinator.get_lock(name):
            coordinator.join_group_create(name)
    assert list(tmp_path.iterdir()) == [local_place.directory]
    assert all(path.is_file() for path in local_place.directory.iterdir())


def test_what_a_killed_writer_left_is_overwritten_and_removed(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    (local_place.directory / "coordination.registry.next").write_bytes(b"\xff" * 100_000)
    coordinator.create_group(GROUP).get()
    assert coordinator.get_groups().get() == [GROUP]
    coordinator.delete_group(GROUP).get()
    (local_place.directory / "coordination.registry.next").write_bytes(b"torn")
    coordinator.stop()
    assert local_place.stored() == []


def test_what_is_no_registry_is_refused_and_kept(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    path = local_place.directory / "coordination.registry"
    path.write_bytes(b"something else")
    with pytest.raises(ToozConnectionError, match="no registry of this version"):
        coordinator.get_groups().get()
    with pytest.raises(ToozConnectionError, match="remove it"):
        get_coordinator(local_place.url, b"another").start()
    assert path.read_bytes() == b"something else"
    coordinator.stop()
    local_place.remove()


def test_a_directory_that_was_moved_away_is_noticed(local_place: Place, tmp_path: Path) -> None:
    coordinator = local_place.coordinator()
    lock = coordinator.get_lock(LOCK)
    lock.acquire()
    local_place.directory.rename(tmp_path / "moved")
    assert not lock.is_still_owner()
    with pytest.raises(ToozConnectionError):
        coordinator.heartbeat()
    with pytest.raises(ToozConnectionError):
        coordinator.create_group(GROUP).get()
    coordinator.stop()
