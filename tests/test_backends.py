"""Which backends there are, what they are started from, and who may make what when."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.backends import (
    Backend,
    Server,
    UnknownBackend,
    choose,
    known_backends,
    served,
)
from conformance.backends.engine import EngineFailed, run, turn
from conformance.backends.images import compose_directory, find_image, variable
from conformance.gate import BadSetting, Gate

SERVERS = ["consul", "etcd", "memcached", "mysql", "postgresql", "redis", "zookeeper"]


def test_every_server_has_a_compose_project_and_a_way_to_build_its_image() -> None:
    basic = [b.name for b in known_backends().values() if not b.embedded and ":" not in b.name]
    assert basic == SERVERS
    for name in [*SERVERS, "valkey", "mariadb", "etcd-3.4", "zookeeper-3.8"]:
        project = (compose_directory() / f"{name}.yaml").read_text()
        assert "127.0.0.1::" in project, "the port is on loopback, and free"
        assert f"${{{variable(name)}:-" in project
        assert (compose_directory() / "images" / name / "Dockerfile").is_file()


def test_a_variant_is_named_behind_its_backend_and_part_of_no_collection() -> None:
    assert {"redis:valkey", "mysql:mariadb", "etcd:3.4", "zookeeper:3.8"} <= set(known_backends())
    assert [backend.name for backend in choose("embedded")] == ["file", "ipc", "zake"]


def test_an_unknown_variant_is_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(UnknownBackend, match=r"no backend 'redis:nine'(.|\n)*redis:valkey"):
        choose("redis:nine")


def test_a_private_url_keeps_the_options_that_are_there() -> None:
    redis = known_backends()["redis"]
    with redis.private("redis://h:1", "n") as url:
        assert url == "redis://h:1?namespace=n"
    with redis.private("redis://h:1?db=2", "n") as url:
        assert url == "redis://h:1?db=2&namespace=n"


def test_an_image_of_the_environment_wins_over_the_official_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "conformance.backends.images._is_here", lambda image: not asked.append(image)
    )
    monkeypatch.setenv("CONFORMANCE_IMAGE_ETCD_3_4", "mine:1")
    assert find_image("etcd-3.4", "official:1", None, print) == "mine:1"
    assert find_image("etcd-3.4", "official:1", "given:1", print) == "given:1"
    monkeypatch.delenv("CONFORMANCE_IMAGE_ETCD_3_4")
    assert find_image("etcd-3.4", "official:1", None, print) == "official:1"
    assert asked == ["mine:1", "given:1", "official:1"]


def test_a_command_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(EngineFailed, match="said this"):
        run(["sh", "-c", "echo said this >&2; exit 3"], seconds=10)
    with pytest.raises(EngineFailed, match="no-such-program is not installed"):
        run(["no-such-program"], seconds=10)


def test_only_one_makes_a_thing_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    entered = threading.Event()

    def second() -> None:
        with turn("thing"):
            entered.set()

    waiting = threading.Thread(target=second)
    with turn("thing"):
        waiting.start()
        with turn("another"):
            assert not entered.wait(0.1)
    waiting.join(10)
    assert entered.is_set()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have two backends chosen, a server and one without; return which were stopped."""
    stopped: list[str] = []

    def backend(name: str, url: str, *, embedded: bool) -> Backend:
        return replace(
            known_backends()[name],
            embedded=embedded,
            start=lambda launch: Server(url),
            stop=lambda launch: stopped.append(name),
        )

    chosen = [
        backend("redis", "redis://:secret@127.0.0.1:1", embedded=False),
        backend("zake", "zake://here", embedded=True),
    ]
    monkeypatch.setattr("conformance.gate.choose", lambda names: chosen)
    return stopped


def gate(directory: Path, said: list[str], *, implementation: str = "reference") -> Gate:
    return Gate(
        backends="redis,zake",
        backend_url=None,
        implementation=implementation,
        levels=None,
        profile="smoke",
        seed=None,
        results=directory / "results",
        strict_claims=False,
        keep=True,
        say=said.append,
    )


def test_a_server_that_is_kept_is_told_of_at_the_end(stopped: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    made = gate(tmp_path, said)
    assert not said
    made.close()
    assert stopped == ["zake"]
    label = f"coordination-conformance.run={made.settings.run_id}"
    assert said == [
        "redis is kept: redis://:***@127.0.0.1:1",
        f"to remove what is kept: docker rm -fv $(docker ps -aqf label={label})",
    ]


def test_no_server_is_kept_of_a_run_that_cannot_begin(stopped: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(BadSetting):
        gate(tmp_path, said, implementation="nobody")
    assert stopped == ["redis", "zake"]
    assert not said


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("127.0.0.1 127.0.0.1", ("127.0.0.1", 7)),
        ("127.0.0.1 192.0.2.1", None),
        ("", None),
        (" ", None),
    ],
    ids=["this host is on its network", "another host is", "no such network", "not running"],
)
def test_a_containers_own_address_is_used_where_this_host_is_on_its_network(
    told: str, found: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "docker", lambda *arguments: told)
    assert served.own_address("a container", 7) == found
