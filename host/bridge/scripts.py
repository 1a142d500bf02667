"""What is done in Redis, each in one step: scripts in Lua, and the keys that they use.

All keys of a namespace begin with `prefork:{NAMESPACE}:`, so a cluster has them in one slot:

| key | what it has |
|---|---|
| `bus` | hash: `count`, how many messages there have been, and `epoch`, when that began; `fence`,
  the last fencing number; `sessions`; `beaten`, when a node was heard of; how many bytes `log` and
  rings have |
| `nodes` | sorted set: until when each node is taken to be alive, in ms of the server's clock |
| `node:NODE` | hash: its `session`, as long as it is alive; the last `serial` that was done |
| `refused:NODE` | sorted set: serials that were refused, of the last ones |
| `members:NODE`, `keys:MEMBER` | sets: the members of a node, the keys that a member owns |
| `owners` | hash: fencing number and owner of each key |
| `log` | list: the last messages, for those whose connection was broken |
| `ring:TOPIC`, `rings` | list: what is retained of a topic; sorted set: the count at its last one |
| `table:NAME`, `table-bytes` | hashes: a table; how many bytes each has, and all under "" |
| `live:TOPIC` | the channel of a topic |

A message is `NUMBER EPOCH SENDER LENGTH TOPICPAYLOAD`: `NUMBER` counts all messages of the
namespace, `LENGTH` is that of the topic. What changes something has a serial, and `join` tells the
last one that was done and those that were refused: so nothing is said again. What comes of an older
session is not done: it returns -1.
"""

from __future__ import annotations

from typing import Final

from host.bus.hub import HubLimits
from host.bus.tables import ITEM_BYTES

_LIMITS = HubLimits()
_MESSAGE_BYTES = 120
"""About what a message in a list costs beside its bytes."""
_LOG_BYTES = 16_777_216
"""What is kept of all messages, for those whose connection was broken."""
_REPLY_BYTES = 8_388_608
"""How much of what is retained is read in one step: more has no room in the queue of a worker."""
_PAGE = 500
_PAGE_BYTES = 1_048_576
"""How many messages, and about how many bytes of them, are read from the log in one step."""
_SERIAL_MS = 86_400_000
"""How long it is remembered what was done for a node that is gone."""

_PRELUDE: Final = """
local P = KEYS[1]
local B = P .. 'bus'
local function micros()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
local function text(number) return string.format('%.0f', number) end
local function epoch()
    local known = redis.call('HGET', B, 'epoch')
    if known then return known end
    local new = text(micros())
    redis.call('HSET', B, 'epoch', new)
    return new
end
"""

_SESSIONS: Final = """
local function is_current(node, session)
    return redis.call('HGET', P .. 'node:' .. node, 'session') == session
end

-- Note what is done now; false if another session has begun, or the node is taken for dead
local function begin(node, session, serial)
    if not is_current(node, session) then return false end
    redis.call('HSET', P .. 'node:' .. node, 'serial', serial)
    return true
end
"""

_PUBLISHING: Final = f"""
-- Each call costs the broker more than all that is between: so the few numbers are read and
-- written at once.

local function take_first(list, bytes)
    local first = redis.call('LPOP', list)
    return first and bytes - #first - {_MESSAGE_BYTES} or 0
end

local function retain(topic, message, keep, count, bytes)
    local ring = P .. 'ring:' .. topic
    local length = redis.call('RPUSH', ring, message)
    bytes = bytes + #message + {_MESSAGE_BYTES}
    while length > keep do
        bytes, length = take_first(ring, bytes), length - 1
    end
    redis.call('ZADD', P .. 'rings', count, topic)
    while bytes > {_LIMITS.retained_bytes} do
        local oldest = redis.call('ZPOPMIN', P .. 'rings')[1]
        if not oldest then break end
        for _, each in ipairs(redis.call('LRANGE', P .. 'ring:' .. oldest, 0, -1)) do
            bytes = bytes - #each - {_MESSAGE_BYTES}
        end
        redis.call('DEL', P .. 'ring:' .. oldest)
    end
    return bytes
end

local function publish(topic, sender, payload, keep)
    local known = redis.call('HMGET', B, 'count', 'epoch', 'log-bytes', 'ring-bytes')
    local count, began = text((known[1] or 0) + 1), known[2] or epoch()
    local bytes, retained = (known[3] or 0) + 0, (known[4] or 0) + 0
    local message = table.concat({{count, began, sender, text(#topic), topic}}, ' ') .. payload
    if keep > 0 then
        retained = retain(topic, message, math.min(keep, {_LIMITS.retained}), count, retained)
    end
    redis.call('RPUSH', P .. 'log', message)
    bytes = bytes + #message + {_MESSAGE_BYTES}
    while bytes > {_LOG_BYTES} do bytes = take_first(P .. 'log', bytes) end
    redis.call('HSET', B, 'count', count, 'log-bytes', text(bytes), 'ring-bytes', text(retained))
    redis.call('PUBLISH', P .. 'live:' .. topic, message)
end
"""

_LEAVING: Final = f"""
local function leave(member)
    for _, key in ipairs(redis.call('SMEMBERS', P .. 'keys:' .. member)) do
        redis.call('HDEL', P .. 'owners', key)
    end
    redis.call('DEL', P .. 'keys:' .. member)
    publish('bus.left', member, member, 0)
end

local function reap(now)
    for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'nodes', '-inf', now)) do
        redis.call('ZREM', P .. 'nodes', node)
        redis.call('HDEL', P .. 'node:' .. node, 'session')
        redis.call('PEXPIRE', P .. 'node:' .. node, {_SERIAL_MS})
        redis.call('PEXPIRE', P .. 'refused:' .. node, {_SERIAL_MS})
        for _, member in ipairs(redis.call('SMEMBERS', P .. 'members:' .. node)) do
            leave(member)
        end
        redis.call('DEL', P .. 'members:' .. node)
    end
end

-- Take nobody for dead if the broker itself was not there: beats of all nodes are under way then.
local function look_after_others(now, lease)
    local before = tonumber(redis.call('HGET', B, 'beaten') or '0')
    redis.call('HSET', B, 'beaten', text(now))
    if before > 0 and now - before < lease * 2 / 3 then return reap(now) end
    for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'nodes', '-inf', now)) do
        redis.call('ZADD', P .. 'nodes', 'XX', text(now + lease / 3), node)
    end
end

local function last_message()
    return {{redis.call('HGET', B, 'count') or '0', epoch()}}
end
"""

_LIFE: Final = _PRELUDE + _SESSIONS + _PUBLISHING + _LEAVING

SCRIPTS: Final = {
    # node, lease in ms, members… → its session, the last serial done, since when serials are known,
    # since when it is alive, serials that were refused…; both times tell an answer that is new from
    # one that got lost before
    "join": _LIFE
    + """
local now, node = math.floor(micros() / 1000), P .. 'node:' .. ARGV[1]
look_after_others(now, tonumber(ARGV[2]))
if redis.call('HEXISTS', node, 'session') == 0 then
    redis.call('HSET', node, 'alive', text(micros()))
end
redis.call('ZADD', P .. 'nodes', now + ARGV[2], ARGV[1])
local session = text(redis.call('HINCRBY', B, 'sessions', 1))
redis.call('HSET', node, 'session', session)
redis.call('HSETNX', node, 'serial', '0')
redis.call('HSETNX', node, 'known', text(micros()))
redis.call('PERSIST', node)
redis.call('PERSIST', P .. 'refused:' .. ARGV[1])
for at = 3, #ARGV do redis.call('SADD', P .. 'members:' .. ARGV[1], ARGV[at]) end
local state = redis.call('HMGET', node, 'serial', 'known', 'alive')
local found = {session, state[1], state[2], state[3]}
for _, serial in ipairs(redis.call('ZRANGE', P .. 'refused:' .. ARGV[1], 0, -1)) do
    found[#found + 1] = serial
end
return found
""",
    # node, session, lease in ms → the number and the epoch of the last message; -1
    "beat": _LIFE
    + """
if not is_current(ARGV[1], ARGV[2]) then return -1 end
local now = math.floor(micros() / 1000)
redis.call('ZADD', P .. 'nodes', 'XX', now + ARGV[3], ARGV[1])
look_after_others(now, tonumber(ARGV[3]))
return last_message()
""",
    # node, session → nothing; it ends, and its members have left
    "end": _LIFE
    + """
if not is_current(ARGV[1], ARGV[2]) then return -1 end
redis.call('ZADD', P .. 'nodes', 'XX', 0, ARGV[1])
reap(math.floor(micros() / 1000))
redis.call('DEL', P .. 'node:' .. ARGV[1], P .. 'refused:' .. ARGV[1])
return 1
""",
    # node, session, serial, member → 1 or -1
    "enter": _PRELUDE
    + _SESSIONS
    + """
if not begin(ARGV[1], ARGV[2], ARGV[3]) then return -1 end
redis.call('SADD', P .. 'members:' .. ARGV[1], ARGV[4])
return 1
""",
    # node, session, serial, member → 1 or -1; also of a member that was taken for dead with its
    # node: what it said last may have been published since then
    "leave": _LIFE
    + """
if not begin(ARGV[1], ARGV[2], ARGV[3]) then return -1 end
redis.call('SREM', P .. 'members:' .. ARGV[1], ARGV[4])
leave(ARGV[4])
return 1
""",
    # node, session, serial, topic, sender, how many to retain, payload → 1 or -1
    "publish": _PRELUDE
    + _SESSIONS
    + _PUBLISHING
    + """
if not begin(ARGV[1], ARGV[2], ARGV[3]) then return -1 end
publish(ARGV[4], ARGV[5], ARGV[7], tonumber(ARGV[6]))
return 1
""",
    # node, session, member, key → the fencing number, also if it owns the key already; 0; -1
    "own": _PRELUDE
    + _SESSIONS
    + f"""
if not is_current(ARGV[1], ARGV[2]) then return -1 end
local owner = redis.call('HGET', P .. 'owners', ARGV[4])
if owner then
    local fence, member = string.match(owner, '(%d+) (.*)')
    return member == ARGV[3] and fence or 0
end
if redis.call('HLEN', P .. 'owners') >= {_LIMITS.keys} then return 0 end
local last = tonumber(redis.call('HGET', B, 'fence') or '0')
local fence = text(math.max(last + 1, micros()))
redis.call('HSET', B, 'fence', fence)
redis.call('HSET', P .. 'owners', ARGV[4], fence .. ' ' .. ARGV[3])
redis.call('SADD', P .. 'keys:' .. ARGV[3], ARGV[4])
return fence
""",
    # node, session, serial, member, key → 1 or -1
    "release": _PRELUDE
    + _SESSIONS
    + """
if not begin(ARGV[1], ARGV[2], ARGV[3]) then return -1 end
if redis.call('SREM', P .. 'keys:' .. ARGV[4], ARGV[5]) == 1 then
    redis.call('HDEL', P .. 'owners', ARGV[5])
end
return 1
""",
    # number and epoch of the last message that was heard → those of the last one that was read; 1
    # if messages were lost; 1 if more are to be read; messages
    "resume": _PRELUDE
    + f"""
local count = tonumber(redis.call('HGET', B, 'count') or '0')
local began = epoch()
local heard = tonumber(ARGV[1])
local first = count - redis.call('LLEN', P .. 'log') + 1
if ARGV[2] ~= began or heard > count or heard + 1 < first then
    return {{text(count), began, 1, 0, {{}}}}
end
local messages, bytes = {{}}, 0
while heard < count and #messages < {_PAGE} and bytes < {_PAGE_BYTES} do
    local message = redis.call('LINDEX', P .. 'log', heard - count)
    messages[#messages + 1], bytes, heard = message, bytes + #message, heard + 1
end
return {{text(heard), began, 0, heard < count and 1 or 0, messages}}
""",
    # topic → how many messages were left out, and what is retained
    "ring": _PRELUDE
    + f"""
local ring = redis.call('LRANGE', P .. 'ring:' .. ARGV[1], 0, -1)
local bytes, first = 0, #ring + 1
while first > 1 and bytes + #ring[first - 1] <= {_REPLY_BYTES} do
    first = first - 1
    bytes = bytes + #ring[first]
end
local found = {{}}
for at = first, #ring do found[#found + 1] = ring[at] end
return {{first - 1, found}}
""",
    # prefix → how many messages were left out, and what is retained of the topics that begin so
    "rings": _PRELUDE
    + f"""
local found, bytes, left = {{}}, 0, 0
for _, topic in ipairs(redis.call('ZRANGE', P .. 'rings', 0, -1)) do
    if string.sub(topic, 1, #ARGV[1]) == ARGV[1] then
        for _, each in ipairs(redis.call('LRANGE', P .. 'ring:' .. topic, 0, -1)) do
            bytes = bytes + #each
            if bytes > {_REPLY_BYTES} then left = left + 1 else found[#found + 1] = each end
        end
    end
end
return {{left, found}}
""",
    # table, key → the value, or nil
    "get": _PRELUDE + "return redis.call('HGET', P .. 'table:' .. ARGV[1], ARGV[2])",
    # table → keys and values, in turns
    "items": _PRELUDE + "return redis.call('HGETALL', P .. 'table:' .. ARGV[1])",
    # node, session, serial, how many before it may not be known to be done, table, key, "=" and its
    # new value or "" for none, and the same for the one that is expected, or "*" for any → 1 if it
    # is done, 0 if it is refused; -1
    "put": _PRELUDE
    + _SESSIONS
    + f"""
local table, key, value, expected = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local name, sizes = P .. 'table:' .. table, P .. 'table-bytes'
local before = redis.call('HGET', name, key)
if not begin(ARGV[1], ARGV[2], ARGV[3]) then return -1 end
local function refuse()
    local refused = P .. 'refused:' .. ARGV[1]
    redis.call('ZADD', refused, ARGV[3], ARGV[3])
    redis.call('ZREMRANGEBYSCORE', refused, '-inf', '(' .. text(ARGV[3] - ARGV[4]))
    return 0
end
if expected ~= '*' and (before and '=' .. before or '') ~= expected then return refuse() end
local change = 0
if before then change = change - #before - #key - {ITEM_BYTES} end
if value ~= '' then change = change + #value - 1 + #key + {ITEM_BYTES} end
local size = tonumber(redis.call('HGET', sizes, 't' .. table) or '0') + change
local all = tonumber(redis.call('HGET', sizes, '') or '0') + change
local tables = {_LIMITS.tables.bytes}
if change > 0 and (size > {_LIMITS.tables.table_bytes} or all > tables) then return refuse() end
if value ~= '' then
    redis.call('HSET', name, key, string.sub(value, 2))
else
    redis.call('HDEL', name, key)
end
if size > 0 then
    redis.call('HSET', sizes, 't' .. table, text(size))
else
    redis.call('HDEL', sizes, 't' .. table)
end
redis.call('HSET', sizes, '', text(all))
return 1
""",
}
"""Each script, by its name. What they are given stands above each of them."""
