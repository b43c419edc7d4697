"""A link that can be broken: a TCP proxy between a driver and its server.

It stands on 127.0.0.1 and passes on what it receives, until it is told to break in one of
the ways in which networks do. What it carries, it does not understand.
"""

from __future__ import annotations

import asyncio
import ctypes
import enum
import socket
import struct
import threading
from collections import deque
from typing import Any

__all__ = ["Proxy"]

_HOST = "127.0.0.1"

_DIALLING_SECONDS = 5.0
"""How long the server may take to accept a connection."""

_ABORTIVE = struct.pack("ii", 1, 0)
"""SO_LINGER for no time at all: closing resets the connection (socket(7), tcp(7))."""

_SO_ATTACH_FILTER = 26
"""The option by which a socket gets a filter (socket(7); its number is in Linux'
asm-generic/socket.h)."""

_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""A filter that lets nothing in: BPF_RET, of 0 bytes (Linux' "Socket Filtering", filter.rst)."""

_ALL = slice(None)


class _Mode(enum.Enum):
    """What becomes of what is received."""

    PASS = enum.auto()
    DROP_REPLIES = enum.auto()
    BREAK_AT_REPLY = enum.auto()
    STALL = enum.auto()
    CUT = enum.auto()


class Proxy:
    """A link to one server; a context manager, healthy at first.

    Its controls may be called by any thread, and have taken effect when they return. Each
    holds until the next one.

    :param host: where the server is
    :param port: its port
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._reserved = _bound(0)
        self._listening: socket.socket | None = None
        self._mode = _Mode.PASS
        self.delay_seconds = 0.0
        self.breaks = 0
        self._ends: dict[_End, None] = {}  # in the order of their making
        self._linking: set[asyncio.Task[None]] = set()
        self._swallowed = threading.Event()

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port at which clients find the server through this link."""
        return _HOST, int(self._reserved.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections clients have to the server through this link."""
        return asyncio.run_coroutine_threadsafe(self._count(), self._loop).result()

    # -- controls -------------------------------------------------------------------------

    def heal(self) -> None:
        """Pass everything on; what was held back in a stall comes first."""
        self._control(_Mode.PASS)

    def delay(self, seconds: float) -> None:
        """Pass everything on, in order, that much later in each direction."""
        self._control(_Mode.PASS, seconds)

    def drop_replies(self) -> None:
        """Pass on what clients say, and swallow what the server answers."""
        self._control(_Mode.DROP_REPLIES)

    def break_at_reply(self) -> None:
        """Swallow the server's next answer and reset all connections; then be healthy."""
        self._control(_Mode.BREAK_AT_REPLY)

    def stall(self) -> None:
        """Fall silent: pass nothing on, no end of a connection either, but accept new ones."""
        self._control(_Mode.STALL)

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._control(_Mode.CUT)

    def strand(self, which: slice = _ALL) -> int:
        """Forget connections, as a firewall does, and pass on what comes over new ones.

        On those that it forgot nothing passes, no end and no reset either, and nothing that
        a client sends is acknowledged, TCP's keepalive included: neither side hears of the
        other again. That lasts, whatever is told next, until a cut resets them.

        :param which: of the connections that lead to the server, the oldest first
        :returns: how many were forgotten
        """
        return asyncio.run_coroutine_threadsafe(self._strand(which), self._loop).result()

    def bury(self) -> None:
        """Reset, at the server's end, the connections that are stranded.

        So does the keepalive of the server's host when it has waited for long enough, which
        may be hours; their clients hear nothing of it.
        """
        asyncio.run_coroutine_threadsafe(self._bury(), self._loop).result()

    def lead_to(self, host: str, port: int) -> None:
        """Connect new clients to where the server is now."""
        self._server = (host, port)

    def wait_swallowed(self, seconds: float) -> bool:
        """Wait until an answer has been swallowed since the last control; say whether it was."""
        return self._swallowed.wait(seconds)

    def _control(self, mode: _Mode, delay: float = 0.0) -> None:
        asyncio.run_coroutine_threadsafe(self._switch(mode, delay), self._loop).result()

    async def _switch(self, mode: _Mode, delay: float) -> None:
        self._swallowed.clear()
        self._mode, self.delay_seconds = mode, delay
        if mode is _Mode.CUT:
            self._refuse()
            self._reset()
            await asyncio.sleep(0)  # see _close()
        elif self._listening is None:
            self._listen()
        for end in list(self._ends):
            end.set_reading(mode is not _Mode.STALL)

    async def _strand(self, which: slice) -> int:
        await self._switch(_Mode.PASS, 0.0)
        made = [end for end in self._ends if not end.is_server and end.peer and not end.stranded]
        chosen = made[which]
        for client in chosen:
            for end in (client, client.peer):
                if end is not None:
                    end.strand()
        return len(chosen)

    async def _bury(self) -> None:
        for end in list(self._ends):
            if end.is_server and end.stranded:
                end.part()
                end.reset()

    async def _count(self) -> int:
        return sum(not end.is_server for end in self._ends)

    # -- in the loop's thread -------------------------------------------------------------

    def _listen(self) -> None:
        self._listening = _bound(self.address[1])
        self._listening.listen()
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._accept, self._listening)

    def _refuse(self) -> None:
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def _reset(self) -> None:
        self.breaks += 1
        for end in list(self._ends):
            end.reset()

    async def _close(self) -> None:
        self._refuse()
        self._reset()
        if self._linking:
            await asyncio.wait(self._linking)
        await self._loop.shutdown_default_executor()  # it looked the server's name up
        # A transport that was aborted closes its socket in the next turn of the loop.
        await asyncio.sleep(0)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client was gone again: accept(2)
            return
        client, server = _End(self, is_server=False), _End(self, is_server=True)
        task = self._loop.create_task(self._link(connection, client, server))
        self._linking.add(task)
        task.add_done_callback(self._linking.discard)

    async def _link(self, connection: socket.socket, client: _End, server: _End) -> None:
        """Connect a new client to the server."""
        await self._loop.connect_accepted_socket(lambda: client, connection)
        try:
            async with asyncio.timeout(_DIALLING_SECONDS):
                await self._loop.create_connection(lambda: server, *self._server)
        except OSError:  # TimeoutError is one
            client.reset()
            return
        if client in self._ends and server in self._ends:
            client.peer, server.peer = server, client
            for end in (client, server):
                end.set_reading(self._mode is not _Mode.STALL)
        else:
            client.reset()
            server.reset()

    def opened(self, end: _End) -> None:
        """Keep an end of a connection, to be found when the link breaks."""
        if end.made_after == self.breaks:
            self._ends[end] = None
        else:
            end.reset()

    def closed(self, end: _End) -> None:
        """Forget an end of a connection."""
        self._ends.pop(end, None)

    def received(self, end: _End, data: bytes) -> None:
        """Do with what an end received as the link is told to."""
        if end.is_server and self._mode in (_Mode.DROP_REPLIES, _Mode.BREAK_AT_REPLY):
            if self._mode is _Mode.BREAK_AT_REPLY:
                self._mode = _Mode.PASS
                self._reset()
            self._swallowed.set()
        elif end.peer is not None:
            end.peer.send(data, self.delay_seconds)


class _End(asyncio.Protocol):
    """One end of a connection through the proxy.

    :param is_server: whether the server is there, or the client
    """

    def __init__(self, proxy: Proxy, *, is_server: bool) -> None:
        self._proxy = proxy
        self.is_server = is_server
        self.made_after = proxy.breaks
        self._transport: Any = None
        self._waiting: deque[bytes] = deque()
        self.peer: _End | None = None
        self.stranded = False
        """Whether neither side is to hear of the other again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._proxy.opened(self)
        # A transport begins to read after this call, in older Pythons even when it was told
        # here not to; so it is told right afterwards.
        self._loop.call_soon(self._await_peer)

    def _await_peer(self) -> None:
        if self.peer is None:
            self.set_reading(False)

    def data_received(self, data: bytes) -> None:
        self._proxy.received(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.closed(self)
        if self.peer is not None:
            self.peer.send(b"", self._proxy.delay_seconds)

    def send(self, data: bytes, delay: float) -> None:
        """Send data, after all that waits to be sent; nothing at all ends the connection."""
        if self.stranded:
            return
        self._waiting.append(data)
        if delay or len(self._waiting) > 1:
            self._loop.call_later(delay, self._send_next)
        else:
            self._send_next()

    def _send_next(self) -> None:
        """Send what waits longest: there is one call of this for each that does."""
        if self.stranded:
            return
        data = self._waiting.popleft()
        if data:
            self._transport.write(data)
        else:
            self._transport.close()

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def set_reading(self, wanted: bool) -> None:
        """Receive, or leave what comes where it is; nothing is received before it can go on."""
        if wanted and self.peer is not None and not self.stranded:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def strand(self) -> None:
        """Let nothing in or out again."""
        self.stranded = True
        self.set_reading(False)
        if not self.is_server:
            program = struct.pack("HP", 1, ctypes.addressof(_NOTHING))
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def part(self) -> _End | None:
        """Have nothing more to do with the other end; return that."""
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None
        return peer

    def reset(self) -> None:
        """End the connection at once, and what waits to be sent with it."""
        peer = self.part()
        if peer is not None:
            peer.reset()
        if self._transport.is_closing():
            return
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
        self._transport.abort()


def _bound(port: int) -> socket.socket:
    """Return a socket that is bound and not listening: connections to it are refused.

    Several may be bound to one port (socket(7), SO_REUSEPORT), of which one keeps it for the
    proxy when it does not listen. The protocol is named for asyncio, which sets TCP_NODELAY on
    no socket else: a server's second packet would wait for the client to acknowledge the first,
    40 ms (tcp(7)).
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((_HOST, port))
    except BaseException:
        bound.close()
        raise
    return bound
