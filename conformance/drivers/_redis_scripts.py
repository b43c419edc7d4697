"""What the Redis driver has the server do: each of these scripts is one atomic step.

"Scripting with Lua" in the Redis 8.0 manual (likewise Valkey 8.1): "Redis guarantees the
script's atomic execution", and nothing else is served meanwhile. All times are those of
the server's clock. Keys are laid out in ``conformance.drivers.redis``.
"""

from __future__ import annotations

import hashlib

__all__ = [
    "ASK",
    "BREAK",
    "CAMPAIGN",
    "DELETE",
    "JOIN",
    "KEEP",
    "LEAVE",
    "MEMBER",
    "MEMBERS",
    "RELEASE",
    "STAND_DOWN",
    "UPDATE",
    "Script",
]


class Script:
    """A script and the name under which the server remembers it: its SHA-1.

    :param parts: its text
    """

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join(parts)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_QUEUE = """
-- Return who is the first to wait and still listens, and wake that one; false for nobody.
-- PUBLISH returns how many clients received the message: none where a waiter is dead.
local function take_next(queue, channels, mine)
  while true do
    local waiter = redis.call('ZRANGE', queue, 0, 0)[1]
    if not waiter then
      return false
    end
    redis.call('ZREM', queue, waiter)
    if waiter == mine then
      return waiter
    end
    local channel = channels .. string.match(waiter, '^[^:]+')
    if redis.call('PUBLISH', channel, waiter) > 0 then
      return waiter
    end
  end
end

-- Give a lock to the next in its queue, for as long as it may take to claim it.
local function pass_on(lock, queue, channels, grace)
  local waiter = take_next(queue, channels, false)
  if waiter then
    redis.call('SET', lock, waiter, 'PX', grace)
  else
    redis.call('DEL', lock)
  end
end
"""

ASK = Script(
    _QUEUE,
    """
-- Take a lock, or claim it: nil when it is ours now, else the milliseconds for which it is
-- somebody else's. Where we want to wait we have a place in the queue then, else none.
local lock, queue = KEYS[1], KEYS[2]
local token, lasting, waiting, channels, grace = unpack(ARGV)
local holder = redis.call('GET', lock)
if not holder then
  holder = take_next(queue, channels, token) or token
  redis.call('SET', lock, holder, 'PX', holder == token and lasting or grace)
elseif holder == token then
  redis.call('PEXPIRE', lock, lasting)
end
if holder == token then
  redis.call('ZREM', queue, token)
  return false
end
local left = redis.call('PTTL', lock)
if left < 0 then
  left = tonumber(lasting)
end
if waiting == '0' then
  redis.call('ZREM', queue, token)
  return left
end
if not redis.call('ZSCORE', queue, token) then
  local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2] or 0
  redis.call('ZADD', queue, last + 1, token)
end
-- Those who wait ask again when the lock lapses, at the latest.
local keep = 2 * math.max(left, tonumber(lasting)) + 1000
if redis.call('PTTL', queue) < keep then
  redis.call('PEXPIRE', queue, keep)
end
return left
""",
)

RELEASE = Script(
    _QUEUE,
    """
-- Give up a lock or a place in its queue; whether the lock was ours.
local token, channels, grace = unpack(ARGV)
if redis.call('GET', KEYS[1]) ~= token then
  redis.call('ZREM', KEYS[2], token)
  return 0
end
pass_on(KEYS[1], KEYS[2], channels, grace)
return 1
""",
)

BREAK = Script(
    _QUEUE,
    """
-- Take a lock from whoever has it; whether somebody had.
local channels, grace = unpack(ARGV)
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
pass_on(KEYS[1], KEYS[2], channels, grace)
return 1
""",
)

_CLOCK = """
-- The server's time in microseconds, as are all moments here: doubles hold them exactly.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function text(number)
  return string.format('%.0f', number)
end

-- The next of the numbers that grow; beyond the clock, so also where the last one was lost.
local function grown(counter, moment)
  local number = text(math.max((tonumber(redis.call('GET', counter)) or 0) + 1, moment))
  redis.call('SET', counter, number)
  return number
end
"""

_GROUPS = f"""{_CLOCK}
local groups, members, living = KEYS[1], KEYS[2], KEYS[3]
local group, moment = ARGV[1], now()

local function session_of(member)
  local stay = redis.call('HGET', members, 's' .. member)
  return stay and string.match(stay, '^%S+')
end

local function remove(member)
  redis.call('HDEL', members, 's' .. member, 'c' .. member)
  redis.call('ZREM', living, member)
end

if redis.call('SISMEMBER', groups, group) == 0 then
  return 'absent'
end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', living, '-inf', text(moment))) do
  remove(dead)
end
"""

DELETE = Script(
    _GROUPS,
    """
if redis.call('EXISTS', living) == 1 then
  return 'occupied'
end
redis.call('SREM', groups, group)
return 'done'
""",
)

JOIN = Script(
    _GROUPS,
    """
local _, member, session, capabilities, lasting, again = unpack(ARGV)
local other = session_of(member)
-- Our own stay is replaced where we do not know of it: the reply to its beginning was lost.
if other and not (again == '1' and other == session) then
  return 'present'
end
local number, joined = grown(KEYS[4], moment), text(moment)
local stay = table.concat({session, number, joined, joined}, ' ')
redis.call('HSET', members, 's' .. member, stay, 'c' .. member, capabilities)
redis.call('ZADD', living, text(moment + lasting), member)
return tonumber(number)
""",
)

LEAVE = Script(
    _GROUPS,
    """
local _, member, session = unpack(ARGV)
if session_of(member) ~= session then
  return 'missing'
end
remove(member)
return 'done'
""",
)

UPDATE = Script(
    _GROUPS,
    """
local _, member, session, capabilities = unpack(ARGV)
local stay = redis.call('HGET', members, 's' .. member)
local other, number, joined = string.match(stay or '', '^(%S+) (%S+) (%S+)')
if other ~= session then
  return 'missing'
end
stay = table.concat({session, number, joined, text(math.max(moment, joined))}, ' ')
redis.call('HSET', members, 's' .. member, stay, 'c' .. member, capabilities)
return 'done'
""",
)

MEMBERS = Script(_GROUPS, "return redis.call('HGETALL', members)")

MEMBER = Script(
    _GROUPS,
    """
local found = redis.call('HMGET', members, 's' .. ARGV[2], 'c' .. ARGV[2])
return found[1] and found or 'missing'
""",
)

CAMPAIGN = Script(
    _CLOCK,
    """
-- Lead, or go on leading: the number of our term, nil when another leads.
local session, member, lasting = unpack(ARGV)
local other, number = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+) ')
if other and other ~= session then
  return false
end
number = number or grown(KEYS[2], now())
redis.call('SET', KEYS[1], table.concat({session, number, member}, ' '), 'PX', lasting)
return tonumber(number)
""",
)

STAND_DOWN = Script(
    """
local other = string.match(redis.call('GET', KEYS[1]) or '', '^%S+')
if other ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
"""
)

KEEP = Script(
    _CLOCK,
    """
-- Renew what is still ours of the locks, leaderships and memberships that are named: a key
-- for each but two for a membership. For each, in that order, whether it was ours.
local session, member, leaders = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lock_lasting, leader_lasting, member_lasting = ARGV[4], ARGV[5], ARGV[6]
local locks, kept, moment = #ARGV - 6, {}, now()
for i = 1, locks do
  local ours = redis.call('GET', KEYS[i]) == ARGV[6 + i]
  kept[i] = ours and redis.call('PEXPIRE', KEYS[i], lock_lasting) or 0
end
for i = locks + 1, locks + leaders do
  local other = string.match(redis.call('GET', KEYS[i]) or '', '^%S+')
  kept[i] = other == session and redis.call('PEXPIRE', KEYS[i], leader_lasting) or 0
end
for i = locks + leaders + 1, #KEYS, 2 do
  local stay = redis.call('HGET', KEYS[i], 's' .. member)
  local ends = tonumber(redis.call('ZSCORE', KEYS[i + 1], member))
  local ours = stay and string.match(stay, '^%S+') == session and ends and ends > moment
  if ours then
    redis.call('ZADD', KEYS[i + 1], text(moment + member_lasting), member)
  end
  kept[#kept + 1] = ours and 1 or 0
end
return kept
""",
)
