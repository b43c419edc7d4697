"""A transaction of the in-memory ZooKeeper, as ``kazoo.client.TransactionRequest`` is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kazoo.handlers.threading import AsyncResult
from kazoo.protocol.paths import normpath

from conformance.standin.tree import ANY_VERSION, Check, Create, Delete, Operation, SetData

__all__ = ["Transaction"]


class Transaction:
    """Operations to be carried out all at one moment, or not at all.

    :param commit: sends the operations and returns their results' result
    """

    def __init__(self, commit: Callable[[list[Operation]], AsyncResult]) -> None:
        self._commit = commit
        self.operations: list[Operation] = []
        self.committed = False

    def create(
        self,
        path: str,
        value: bytes = b"",
        acl: object = None,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> None:
        """Add the creation of a node."""
        self._add(Create(normpath("/" + path), value, ephemeral, sequence))

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Add the deletion of a node."""
        self._add(Delete(normpath("/" + path), version))

    def set_data(self, path: str, value: bytes, version: int = ANY_VERSION) -> None:
        """Add a change of a node's data."""
        self._add(SetData(normpath("/" + path), value, version))

    def check(self, path: str, version: int) -> None:
        """Add the condition that a node is there, at a version."""
        self._add(Check(normpath("/" + path), version))

    def commit_async(self) -> AsyncResult:
        """Carry it out; the result lists those of the operations, errors among them."""
        self._refuse_second_commit()
        self.committed = True
        return self._commit(self.operations)

    def commit(self) -> list[Any]:
        """Carry it out and wait for the results."""
        results: list[Any] = self.commit_async().get()
        return results

    def _add(self, operation: Operation) -> None:
        self._refuse_second_commit()
        self.operations.append(operation)

    def _refuse_second_commit(self) -> None:
        if self.committed:
            raise ValueError("Transaction already committed")
