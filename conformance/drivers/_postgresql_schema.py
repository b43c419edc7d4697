"""What the PostgreSQL driver keeps in the database, and the statements that work on it.

All stands in one schema. What belongs to a session stands in unlogged tables: it ends with
the server anyway, and costs no write-ahead log (manual 17, "CREATE TABLE", UNLOGGED).

Names are found by a key of 32 bytes, a SHA-256 that covers the namespace too: an index takes
no entry larger than a third of a page (manual 17, "B-Tree Indexes"), and names have any length.

Each statement is one message to the server, so one round trip. Several SQL statements in one
message are one transaction (manual 17, "Message Flow", "Multiple Statements in a Simple
Query"), at READ COMMITTED, where each sees all that was committed before it began (manual 17,
"Transaction Isolation"). So a statement that is preceded by taking a *gate*, an advisory lock
that lasts until the transaction's end, sees all that was done before the gate was opened to
it: checking and acting are one step. Gates are numbered by 32 bits of a key; two keys with the
same gate wait for each other a moment, no more.
"""

from __future__ import annotations

from conformance.drivers.remote import digest

__all__ = [
    "BREAK",
    "CAMPAIGN",
    "CREATE",
    "CREATE_GROUP",
    "DELETE_GROUP",
    "ENTER",
    "FORGET",
    "FREE",
    "GIVE_UP",
    "GROUPS",
    "HAS_TURN",
    "IS_CURRENT",
    "JOIN",
    "LEADER",
    "LEAVE",
    "MEMBERS",
    "RELEASE",
    "SCHEMA",
    "SET_UP",
    "STAND_DOWN",
    "TERMINATE",
    "TRY",
    "TURN",
    "TURN_OVER",
    "UNLOCK",
    "UPDATE",
    "gate",
    "key",
    "space",
]

SCHEMA = "coordination_1"
"""The schema; the number changes whenever what is in it does. It is the connections' search
path, so statements do not name it."""


def key(namespace: str, name: bytes) -> bytes:
    """Return the key of a name: different for each name and each namespace."""
    return bytes.fromhex(digest(space(namespace) + name))


def space(namespace: str) -> bytes:
    """Return what stands for a namespace."""
    return bytes.fromhex(digest(namespace.encode("utf-8", "surrogatepass")))


def gate(of: bytes) -> int:
    """Return the gate of a key."""
    return int.from_bytes(of[:4], "big", signed=True)


CREATE = """
SELECT pg_advisory_xact_lock(1953460090, 0);
CREATE SCHEMA IF NOT EXISTS coordination_1;

-- Gates are pairs of numbers, locks and sessions single ones, and these never meet (manual 17,
-- "Advisory Lock Functions"). Their beginnings keep them from those of other programs.
CREATE OR REPLACE FUNCTION pass_gate(gate integer) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(1953460090, gate)
$$;
-- The numbers of locks, sessions, stays and terms.
CREATE SEQUENCE IF NOT EXISTS numbers AS bigint MINVALUE 8390047200591216640;

CREATE TABLE IF NOT EXISTS locks (key bytea PRIMARY KEY, number bigint NOT NULL);

CREATE TABLE IF NOT EXISTS groups (
    key bytea PRIMARY KEY, namespace bytea NOT NULL, name bytea NOT NULL);
CREATE INDEX IF NOT EXISTS groups_of_namespace ON groups (namespace);

CREATE UNLOGGED TABLE IF NOT EXISTS members (
    group_key bytea, key bytea, name bytea NOT NULL, capabilities bytea NOT NULL,
    session bigint NOT NULL, incarnation bigint NOT NULL,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    PRIMARY KEY (group_key, key));

CREATE UNLOGGED TABLE IF NOT EXISTS leaders (
    key bytea PRIMARY KEY, name bytea NOT NULL, session bigint NOT NULL, term bigint NOT NULL);

-- The advisory locks with single numbers, put together as the manual says under "pg_locks".
CREATE OR REPLACE VIEW advisory AS
SELECT (classid::bigint << 32) | objid::bigint AS number, pid, mode, granted
FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- The numbers that are held: those of the sessions that are alive, and of locks.
CREATE OR REPLACE VIEW held AS
SELECT number FROM advisory WHERE granted AND mode = 'ExclusiveLock';

-- Try to take a lock. "mine" are the numbers under which this session, which the server would
-- let in a second time, holds the lock; "turn" is the number whose turn a waiter of ours has.
CREATE OR REPLACE FUNCTION try_lock(
    gate integer, wanted bytea, mine bigint[], turn bigint, OUT number bigint, OUT granted boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1953460090, gate);
    SELECT l.number INTO number FROM locks AS l WHERE l.key = wanted;
    IF NOT FOUND THEN
        INSERT INTO locks VALUES (wanted, nextval('numbers'))
        ON CONFLICT DO NOTHING;
        SELECT l.number INTO number FROM locks AS l WHERE l.key = wanted;
    END IF;
    granted := CASE
        WHEN number = ANY (mine) THEN false
        WHEN number IS NOT DISTINCT FROM turn THEN pg_try_advisory_lock(number)
        WHEN pg_try_advisory_xact_lock_shared(-number) THEN pg_try_advisory_lock(number)
        ELSE false
    END;
END
$$;

-- Unlock; true when the lock was held and had not been broken.
CREATE OR REPLACE FUNCTION release_lock(gate integer, wanted bytea, held bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    current boolean;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1953460090, gate);
    current := EXISTS (SELECT FROM locks WHERE key = wanted AND number = held);
    RETURN pg_advisory_unlock(held) AND current;
END
$$;

-- Give up the turn, unless the lock is free. No release comes between looking and giving up: a
-- try after it would find the turn taken by one who does not take the lock.
CREATE OR REPLACE FUNCTION give_up(gate integer, wanted bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pass_gate(gate);
    IF pg_try_advisory_xact_lock_shared(wanted) THEN
        RETURN false;
    END IF;
    RETURN pg_advisory_unlock(-wanted);
END
$$;
"""

SET_UP = """
SELECT set_config(name, wanted, false)
FROM (VALUES ('client_connection_check_interval', %(check)s), ('statement_timeout', %(limit)s),
             ('idle_session_timeout', '0'), ('search_path', %(path)s),
             ('tcp_keepalives_idle', %(idle)s), ('tcp_keepalives_interval', %(interval)s),
             ('tcp_keepalives_count', %(count)s)) AS settings (name, wanted)
JOIN pg_settings USING (name)
"""
"""Settings of a connection, as far as the server has them."""

ENTER = """
SELECT number, pg_try_advisory_lock(number)
FROM (SELECT nextval('numbers') AS number OFFSET 0) AS drawn
"""
"""Begin a session: it is alive as long as its connection holds its number."""

TERMINATE = """
SELECT pg_terminate_backend(pid)
FROM (SELECT DISTINCT pid FROM advisory
      WHERE pid = %(pid)s AND number IN (%(number)s, -%(number)s)) AS found
"""
"""End a connection of ours, if it is the one that holds or wants this number."""

# -- locks ------------------------------------------------------------------------------------

TRY = "SELECT * FROM try_lock(%(gate)s, %(key)s, %(mine)s::bigint[], %(turn)s)"

RELEASE = "SELECT release_lock(%(gate)s, %(key)s, %(number)s)"

UNLOCK = """
SELECT pg_advisory_unlock(number) FROM locks
WHERE key = %(key)s AND number <> ALL (%(mine)s::bigint[])
"""
"""Undo a try, or repeat a release, of which nobody knows whether it was carried out."""

IS_CURRENT = """
SELECT EXISTS (SELECT FROM locks WHERE key = %(key)s AND number = %(number)s)
"""

FORGET = """
SELECT pg_advisory_unlock_all();
SELECT pass_gate(gate)
FROM (SELECT DISTINCT gate FROM unnest(%(gates)s::integer[]) AS gate ORDER BY gate) AS sorted;
WITH used AS MATERIALIZED (
    SELECT key, number FROM locks WHERE key = ANY (%(keys)s::bytea[])
)
DELETE FROM locks USING used
WHERE locks.key = used.key
  AND pg_try_advisory_xact_lock(used.number) AND pg_try_advisory_xact_lock(-used.number)
"""
"""Unlock everything, and remove the rows of locks that nobody holds and nobody queues for. To
who has read such a number meanwhile it is as if the lock had been broken."""

BREAK = """
SELECT pass_gate(%(gate)s);
UPDATE locks SET number = nextval('numbers')
WHERE key = %(key)s AND number IN (SELECT number FROM held) RETURNING true
"""

TURN = "SET LOCAL lock_timeout = %(limit)s; SELECT pg_advisory_lock(-%(number)s)"
"""Wait for the turn, behind those who came before."""

GIVE_UP = "SELECT give_up(%(gate)s, %(number)s)"

TURN_OVER = "SELECT pg_advisory_unlock(-%(number)s)"

HAS_TURN = """
SELECT EXISTS (SELECT FROM advisory
               WHERE pid = pg_backend_pid() AND number = -%(number)s AND granted)
"""
"""Whether a wait that was given up brought the turn after all: a lock that is granted while the
wait for it is being cancelled stays held, if it is a session's (manual 17, "Advisory Locks":
such locks are kept when a transaction is rolled back)."""

FREE = "SET LOCAL lock_timeout = %(limit)s; SELECT pg_advisory_xact_lock_shared(%(number)s)"
"""Wait until nobody holds a lock; nothing is kept."""

# -- groups -----------------------------------------------------------------------------------

CREATE_GROUP = """
INSERT INTO groups VALUES (%(group)s, %(namespace)s, %(name)s)
ON CONFLICT DO NOTHING RETURNING true
"""

DELETE_GROUP = """
SELECT pass_gate(%(gate)s);
WITH alive AS (
    SELECT FROM members WHERE group_key = %(group)s AND session IN (SELECT number FROM held)
), deleted AS (
    DELETE FROM groups WHERE key = %(group)s AND NOT EXISTS (SELECT FROM alive)
    RETURNING true
), swept AS (
    DELETE FROM members WHERE group_key = %(group)s AND EXISTS (SELECT FROM deleted)
)
SELECT EXISTS (SELECT FROM groups WHERE key = %(group)s), EXISTS (SELECT FROM deleted)
"""

GROUPS = "SELECT name FROM groups WHERE namespace = %(namespace)s"

JOIN = """
SELECT pass_gate(%(gate)s);
WITH joined AS (
    INSERT INTO members AS member
    SELECT key, %(member)s, %(name)s, %(capabilities)s, %(session)s,
           nextval('numbers'), now, now
    FROM groups, clock_timestamp() AS now WHERE key = %(group)s
    ON CONFLICT (group_key, key) DO UPDATE
    SET (capabilities, session, incarnation, created_at, updated_at) = (
        excluded.capabilities, excluded.session, excluded.incarnation, excluded.created_at,
        excluded.updated_at)
    WHERE member.session NOT IN (SELECT number FROM held)
    RETURNING true
)
SELECT EXISTS (SELECT FROM groups WHERE key = %(group)s), EXISTS (SELECT FROM joined)
"""

LEAVE = """
WITH gone AS (
    DELETE FROM members
    WHERE group_key = %(group)s AND key = %(member)s AND session = %(session)s
    RETURNING true
)
SELECT EXISTS (SELECT FROM groups WHERE key = %(group)s), EXISTS (SELECT FROM gone)
"""

UPDATE = """
WITH updated AS (
    UPDATE members
    SET capabilities = %(capabilities)s, updated_at = greatest(created_at, clock_timestamp())
    WHERE group_key = %(group)s AND key = %(member)s AND session = %(session)s RETURNING true
)
SELECT EXISTS (SELECT FROM groups WHERE key = %(group)s), EXISTS (SELECT FROM updated)
"""

MEMBERS = """
SELECT member.name, capabilities, incarnation, created_at, updated_at
FROM groups LEFT JOIN members AS member
  ON group_key = groups.key AND (%(member)s IS NULL OR member.key = %(member)s)
  AND session IN (SELECT number FROM held)
WHERE groups.key = %(group)s
"""
"""No row without the group; one of NULLs where it has no such member."""

# -- leadership -------------------------------------------------------------------------------

CAMPAIGN = """
SELECT pass_gate(%(gate)s);
WITH elected AS (
    INSERT INTO leaders AS leader
    VALUES (%(group)s, %(name)s, %(session)s, nextval('numbers'))
    ON CONFLICT (key) DO UPDATE
    SET (name, session, term) = (excluded.name, excluded.session, excluded.term)
    WHERE leader.session NOT IN (SELECT number FROM held)
    RETURNING term
)
SELECT term FROM elected
UNION ALL
SELECT term FROM leaders WHERE key = %(group)s AND session = %(session)s
"""

STAND_DOWN = """
DELETE FROM leaders WHERE key = %(group)s AND session = %(session)s RETURNING true
"""

LEADER = "SELECT name FROM leaders WHERE key = %(group)s AND session IN (SELECT number FROM held)"
