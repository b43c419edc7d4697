"""One connection to MySQL or MariaDB: its options, its questions, and what it holds.

"Manual" is the MySQL 9.7 Reference Manual; MariaDB 11.8 behaves the same wherever nothing
else is said. Groups, leaders and locks stand elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import math
import select
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, unquote

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, ER

from conformance.drivers.remote import RemoteOptions, abandon_socket, address, credentials

__all__ = ["Address", "Answer", "Link", "MySQLOptions", "error_number"]

_WAITING_SECONDS = 0.5
"""The longest one question may keep the server waiting for a lock; a waiter looks between
two of them whether its coordinator was stopped, and whether the lock was broken."""

_NEVER_IDLE = 31_536_000
"""Seconds after which the server may end a silent connection: the longest that Linux builds
take for ``wait_timeout`` (Manual, "Server System Variables"; the default is 8 hours)."""

_QUERY_TIMEOUT, _USER_LOCK_DEADLOCK = 3024, 3058
"""Numbers of errors that PyMySQL has no names for (Manual, "Server Error Message
Reference"): MAX_EXECUTION_TIME has passed; waiting for the lock would be a deadlock."""


class MySQLOptions(RemoteOptions, frozen=True, kw_only=True):
    """Options of ``mysql://``, besides those of every server.

    ``unix_socket``: the path of the server's socket, instead of the URL's host and port.
    ``ssl_ca``, ``ssl_capath``, ``ssl_cert``, ``ssl_key``, ``ssl_key_password``,
    ``ssl_cipher``: files, and ciphers, as ``ssl.SSLContext`` takes them; any of them makes
    TLS a must. Without any, TLS is used where PyMySQL and the server both can.
    ``ssl_verify_mode``: whether the server's certificate is checked; None does when
    ``ssl_ca`` or ``ssl_capath`` is given. ``ssl_check_hostname``: whether it must be for the
    URL's host; None wants that wherever the certificate is required.
    """

    unix_socket: str | None = None
    ssl_ca: str | None = None
    ssl_capath: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_key_password: str | None = None
    ssl_cipher: str | None = None
    ssl_verify_mode: Literal["none", "optional", "required"] | None = None
    ssl_check_hostname: bool | None = None

    def secured(self) -> ssl.SSLContext | None:
        """Return what the TLS options ask for; None when they ask for nothing.

        :raises OSError: a file cannot be read, or is none of its kind
        """
        chosen = {name: getattr(self, name) for name in self.__struct_fields__ if "ssl_" in name}
        if all(value is None for value in chosen.values()):
            return None
        context = ssl.create_default_context(cafile=self.ssl_ca, capath=self.ssl_capath)
        # The certificates that the server makes for itself lack what Python 3.13 wants.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        wanted = self.ssl_ca or self.ssl_capath or self.ssl_check_hostname
        mode = self.ssl_verify_mode or ("required" if wanted else "none")
        named = self.ssl_check_hostname
        context.check_hostname = mode == "required" if named is None else named
        context.verify_mode = _VERIFY_MODES[mode]
        if self.ssl_cert is not None:
            context.load_cert_chain(self.ssl_cert, self.ssl_key, self.ssl_key_password)
        if self.ssl_cipher is not None:
            context.set_ciphers(self.ssl_cipher)
        return context


_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class Address:
    """Where a server is, and how to get in; a password in it shows nowhere.

    :raises ValueError: the URL is not of the form ``mysql://[USER[:PASS]@]HOST[:3306]/DB``
    """

    def __init__(self, url: SplitResult, options: MySQLOptions) -> None:
        self._host, self._port = address(url, 3306)
        user, password = credentials(url)
        self._user, self._password = user, (password or "").encode()
        self._database = unquote(url.path.removeprefix("/"))
        if not self._database or "/" in url.path.removeprefix("/"):
            raise ValueError(f"{url.scheme}:// takes HOST[:PORT]/DB, the name of one database")
        if options.ssl_check_hostname and options.ssl_verify_mode == "none":
            raise ValueError("ssl_check_hostname takes a ssl_verify_mode that is not none")
        self._options = options
        self.timeout = options.timeout
        self.waiting = min(_WAITING_SECONDS, options.timeout / 2)
        """Seconds for which one question may keep the server waiting."""

    def connection(self) -> Any:
        """Return a connection that is not open yet, with time-outs for all that it does.

        PyMySQL never sends anything twice. Replies count rows found, not rows changed, so
        that an update which changes nothing is told from one that finds nothing; and
        several statements may be sent at once.
        """
        return _Connection(
            host=self._host,
            port=self._port,
            unix_socket=self._options.unix_socket,
            user=self._user,
            password=self._password,
            database=self._database,
            ssl=self._options.secured(),
            client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS,
            connect_timeout=self.timeout,
            write_timeout=self.timeout,
            read_timeout=self.timeout + self.waiting,
            autocommit=None,
            defer_connect=True,
        )


class _Connection(Connection):  # type: ignore[misc] # PyMySQL has no types
    """PyMySQL's connection, which does not read the system's certificates to check none."""

    def _create_ssl_ctx(self, wanted: Any) -> Any:
        return super()._create_ssl_ctx(wanted) if wanted else _unchecked()


@functools.cache
def _unchecked() -> ssl.SSLContext:
    """Return what secures connections whose server is not checked, as no option asks for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Answer:
    """What the server answered: the rows of all statements, in their order.

    ``count`` is how many rows the last statement found or wrote, ``number`` the one that
    AUTO_INCREMENT gave.
    """

    rows: tuple[tuple[Any, ...], ...]
    count: int
    number: int


class Link:
    """A connection, usable by one thread at a time, and the names of locks held on it.

    :attr:`mutex` keeps what belongs together, a question and the note of its outcome.
    Locks and whatever else a session has end with its connection (Manual, "Locking
    Functions"), so once a connection is lost it is never mended, only replaced.
    """

    def __init__(self, server: Address) -> None:
        self.mutex = threading.RLock()
        self.holds: dict[str, bytes] = {}
        """Which locks are held: by their names on the server, the names users gave."""
        self._server = server
        self._connection = server.connection()

    def open(self) -> None:
        """Connect.

        READ COMMITTED would let the conditions of a write look at the past ("Locks Set by
        Different SQL Statements in InnoDB"); the other settings keep a server's own ones
        from cutting names or ending silent sessions.
        """
        with self.mutex:
            self._connection.connect()
            self.ask(
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;"
                "SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES',"
                " wait_timeout = %s, innodb_lock_wait_timeout = %s",
                _NEVER_IDLE,
                math.ceil(self._server.timeout),
            )

    @property
    def number(self) -> int:
        """The connection's number on the server."""
        number: int = self._connection.thread_id()
        return number

    @property
    def lost(self) -> bool:
        """Whether the connection has ended, as far as can be seen without asking.

        A server that ends a connection, or whose process dies, closes its socket, which
        shows at once; a host that vanishes does not.
        """
        socket = self._connection._sock
        if socket is None:
            return True
        try:
            poll = select.poll()
            poll.register(socket.fileno(), select.POLLRDHUP)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # closed by another thread just now
            return True

    def ask(self, sql: str, *arguments: object) -> Answer:
        """Have statements carried out, in one round trip, and return what they answered.

        Time-outs and broken connections leave the connection closed: it would be unknown
        which question the next reply is for.
        """
        with self.mutex, self._usable_or_closed():
            cursor = self._connection.cursor()
            cursor.execute(sql, arguments)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                rows += cursor.fetchall()
            return Answer(tuple(rows), cursor.rowcount, cursor.lastrowid or 0)

    def compete(self, name: str, seconds: float, then: str, *arguments: object) -> Answer:
        """Ask for a lock, waiting for it at most so long, and one more thing after that.

        The first row says whether the lock is held now. What is asked for after it is seen
        as of a moment at which it is. MariaDB waits for fractions of a second; MySQL rounds
        them, but a statement has a limit in milliseconds that ends its wait too ("Optimizer
        Hints", MAX_EXECUTION_TIME). Whether the lock came before the limit is then asked.
        """
        hint = ""
        if seconds:
            hint = f"/*+ MAX_EXECUTION_TIME({max(1, round(seconds * 1000))}) */ "
            seconds = seconds if self._is_mariadb else math.ceil(seconds)
        with self.mutex:
            try:
                return self.ask(
                    f"SELECT {hint}COALESCE(GET_LOCK(%s, %s), 0); {then}", name, seconds, *arguments
                )
            except pymysql.MySQLError as error:
                if error_number(error) not in _REFUSALS:
                    self._give_back(name)
                    raise
            return self.ask(
                f"SELECT COALESCE(IS_USED_LOCK(%s) = CONNECTION_ID(), 0); {then}", name, *arguments
            )

    def close(self, politely: bool) -> bool:
        """Close the connection; return whether the server answered, if it was asked.

        :param politely: first have all locks released, so that they are free on return
        """
        with self.mutex:
            self.holds.clear()
            if politely and not self.lost:
                with contextlib.suppress(pymysql.MySQLError):  # then its end frees them
                    self.ask("SELECT RELEASE_ALL_LOCKS()")
            answered = not self.lost
            with contextlib.suppress(pymysql.MySQLError):  # closed already
                self._connection.close()
            return answered

    def disown(self) -> None:
        """In a forked child: see that nothing here touches the parent's connection."""
        socket = self._connection._sock
        if socket is not None and socket.fileno() >= 0:
            abandon_socket(socket.fileno())

    @property
    def _is_mariadb(self) -> bool:
        return "MariaDB" in self._connection.get_server_info()

    def _give_back(self, name: str) -> None:
        """Release a lock that an error came with, if the connection is still good for it."""
        if not self.lost:
            self.ask("SELECT RELEASE_LOCK(%s)", name)

    @contextlib.contextmanager
    def _usable_or_closed(self) -> Iterator[None]:
        """Close the connection when something else than an answer of the server comes."""
        try:
            yield
        except pymysql.MySQLError:
            raise  # PyMySQL has closed it, unless the error was an answer
        except BaseException:
            self._connection._force_close()
            raise


_REFUSALS = frozenset({_QUERY_TIMEOUT, _USER_LOCK_DEADLOCK, ER.LOCK_DEADLOCK})
"""Errors by which a wait for a lock ends that leave open whether it came."""


def error_number(error: BaseException) -> int:
    """Return the number that the server or PyMySQL gave an error, 0 for none."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0
