"""TLS before a server that speaks plainly, for protocols whose first byte is TLS's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading

from tests.servers.certificates import Certificates

__all__ = ["TlsFront"]

_HOST = "127.0.0.1"


class TlsFront:
    """Speaks TLS with clients and passes all they say on to a server; a context manager.

    :param server: host and port of the server
    :param certificates: whose are ``server``, and ``authority`` for those of clients
    :param wants_client: whether clients must have a certificate
    """

    def __init__(
        self, server: tuple[str, int], certificates: Certificates, *, wants_client: bool = False
    ) -> None:
        self._server = server
        self._context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority
        )
        self._context.load_cert_chain(certificates.server, certificates.server_key)
        if wants_client:
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> TlsFront:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port at which clients find it."""
        return _HOST, self.port

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._serve, _HOST, 0, ssl=self._context)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # either end may just go
                await self._link(reader, writer)
        finally:
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what either end says until one of them ends."""
        far_reader, far_writer = await asyncio.open_connection(*self._server)
        # Closed in any case: who is told to end once more does not get past the last wait.
        with contextlib.closing(far_writer):
            ways = [
                asyncio.ensure_future(_pass_on(reader, far_writer)),
                asyncio.ensure_future(_pass_on(far_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the end that broke is the end of both
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
