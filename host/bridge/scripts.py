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

Anyone may have put something else where one of these is. Redis takes nothing back of a script that
fails halfway, so each of them meets such an entry before it has done anything, or does without it.
It returns -2 then.
"""

from __future__ import annotations

from typing import Final

from host.bridge.lua import FOREIGN, LIFE, PRELUDE, PUBLISHING, PUBLISHING_AT_ONCE, SESSIONS
from host.bus.hub import HubLimits
from host.bus.tables import ITEM_BYTES

_LIMITS = HubLimits()
_REPLY_BYTES = 8_388_608
"""How much of what is retained is read in one step: more has no room in the queue of a worker."""
_PAGE = 500
_PAGE_BYTES = 1_048_576
"""How many messages, and about how many bytes of them, are read from the log in one step."""

SCRIPTS: Final = {
    # node, lease in ms, members… → its session, the last serial done, since when serials are known,
    # since when it is alive, serials that were refused…; both times tell an answer that is new from
    # one that got lost before
    "join": LIFE
    + """
if find_foreign(ARGV[1]) then return -2 end
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
    # node, session, lease in ms → the number and the epoch of the last message; -1; -2
    "beat": LIFE
    + """
if find_foreign(ARGV[1]) then return -2 end
if not is_current(ARGV[1], ARGV[2]) then return -1 end
local now = math.floor(micros() / 1000)
redis.call('ZADD', P .. 'nodes', 'XX', now + ARGV[3], ARGV[1])
look_after_others(now, tonumber(ARGV[3]))
return last_message()
""",
    # node, session → nothing; it ends, and its members have left
    "end": LIFE
    + """
if find_foreign(ARGV[1]) then return -2 end
if not is_current(ARGV[1], ARGV[2]) then return -1 end
redis.call('ZADD', P .. 'nodes', 'XX', 0, ARGV[1])
reap(math.floor(micros() / 1000))
redis.call('DEL', P .. 'node:' .. ARGV[1], P .. 'refused:' .. ARGV[1])
return 1
""",
    # node, session, serial, member → 1, -1 or -2
    "enter": PRELUDE
    + SESSIONS
    + """
if not is_current(ARGV[1], ARGV[2]) then return -1 end
if try('SADD', P .. 'members:' .. ARGV[1], ARGV[4]) == nil then return -2 end
note(ARGV[1], ARGV[3])
return 1
""",
    # node, session, serial, member → 1, -1 or -2; also of a member that was taken for dead with its
    # node: what it said last may have been published since then
    "leave": LIFE
    + """
if find_foreign(ARGV[1]) then return -2 end
if not is_current(ARGV[1], ARGV[2]) then return -1 end
note(ARGV[1], ARGV[3])
redis.call('SREM', P .. 'members:' .. ARGV[1], ARGV[4])
leave(ARGV[4])
return 1
""",
    # node, session, serial, topic, sender, how many to retain, payload → 1, or 2 if it was not
    # retained since the name of its ring is taken; -1
    "publish": PUBLISHING_AT_ONCE
    + PRELUDE
    + SESSIONS
    + PUBLISHING
    + """
if not is_current(ARGV[1], ARGV[2]) then return -1 end
return publish(ARGV[4], ARGV[5], ARGV[7], tonumber(ARGV[6]), ARGV[1], ARGV[3]) and 1 or 2
""",
    # node, session, and for each key the member, the key → for each key the fencing number, also if
    # it owns the key already, or 0, or "" if the name of the set of its keys is taken; -1
    "own": PRELUDE
    + SESSIONS
    + f"""
if not is_current(ARGV[1], ARGV[2]) then return -1 end
local function own(member, key)
    local owner = redis.call('HGET', P .. 'owners', key)
    if owner then
        local fence, name = string.match(owner, '(%d+) (.*)')
        return name == member and fence or 0
    end
    if redis.call('HLEN', P .. 'owners') >= {_LIMITS.keys} then return 0 end
    local last = tonumber(redis.call('HGET', B, 'fence') or '0')
    local fence = text(math.max(last + 1, micros()))
    if try('SADD', P .. 'keys:' .. member, key) == nil then return '' end
    redis.call('HSET', B, 'fence', fence)
    redis.call('HSET', P .. 'owners', key, fence .. ' ' .. member)
    return fence
end
local found = {{}}
for at = 3, #ARGV, 2 do found[#found + 1] = own(ARGV[at], ARGV[at + 1]) end
return found
""",
    # node, session, serial, member, key → 1 or -1
    "release": PRELUDE
    + SESSIONS
    + """
if not is_current(ARGV[1], ARGV[2]) then return -1 end
local owner = redis.call('HGET', P .. 'owners', ARGV[5])
note(ARGV[1], ARGV[3])
try('SREM', P .. 'keys:' .. ARGV[4], ARGV[5])
if owner and string.match(owner, '%d+ (.*)') == ARGV[4] then
    redis.call('HDEL', P .. 'owners', ARGV[5])
end
return 1
""",
    # number and epoch of the last message that was heard → those of the last one that was read; 1
    # if messages were lost; 1 if more are to be read; messages
    "resume": PRELUDE
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
    "ring": PRELUDE
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
    # prefix → how many messages were left out, and what is retained of the topics that begin so;
    # one of them where the name of the ring is taken, if there is one
    "rings": PRELUDE
    + f"""
local found, bytes, left, foreign = {{}}, 0, 0, nil
for _, topic in ipairs(redis.call('ZRANGE', P .. 'rings', 0, -1)) do
    if string.sub(topic, 1, #ARGV[1]) == ARGV[1] then
        local ring = try('LRANGE', P .. 'ring:' .. topic, 0, -1)
        if ring == nil then left, foreign = left + 1, topic end
        for _, each in ipairs(ring or {{}}) do
            bytes = bytes + #each
            if bytes > {_REPLY_BYTES} then left = left + 1 else found[#found + 1] = each end
        end
    end
end
return {{left, found, foreign}}
""",
    # table, key → the value, or nil
    "get": PRELUDE + "return redis.call('HGET', P .. 'table:' .. ARGV[1], ARGV[2])",
    # table → keys and values, in turns
    "items": PRELUDE + "return redis.call('HGETALL', P .. 'table:' .. ARGV[1])",
    # node, session, serial, how many before it may not be known to be done, table, key, "=" and its
    # new value or "" for none, and the same for the one that is expected, or "*" for any → 1 if it
    # is done, 0 if it is refused, 2 if that is since the name of the table is taken; -1
    "put": PRELUDE
    + SESSIONS
    + f"""
local table, key, value, expected = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local name, sizes = P .. 'table:' .. table, P .. 'table-bytes'
if not is_current(ARGV[1], ARGV[2]) then return -1 end
local before = try('HGET', name, key)
local size = redis.call('HGET', sizes, 't' .. table)
local all = redis.call('HGET', sizes, '')
local function refuse()
    local refused = P .. 'refused:' .. ARGV[1]
    redis.call('ZADD', refused, ARGV[3], ARGV[3])
    redis.call('ZREMRANGEBYSCORE', refused, '-inf', '(' .. text(ARGV[3] - ARGV[4]))
    note(ARGV[1], ARGV[3])
    return 0
end
if before == nil then
    refuse()
    return 2
end
if expected ~= '*' and (before and '=' .. before or '') ~= expected then return refuse() end
local change = 0
if before then change = change - #before - #key - {ITEM_BYTES} end
if value ~= '' then change = change + #value - 1 + #key + {ITEM_BYTES} end
size, all = tonumber(size or '0') + change, tonumber(all or '0') + change
local tables = {_LIMITS.tables.bytes}
if change > 0 and (size > {_LIMITS.tables.table_bytes} or all > tables) then return refuse() end
note(ARGV[1], ARGV[3])
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
    # node → name and kind of something that is somebody else's and nothing goes on without, if
    # there is one
    "foreign": PRELUDE
    + FOREIGN
    + """
local found = find_foreign(ARGV[1])
if found then return found end
for _, node in ipairs(redis.call('ZRANGE', P .. 'nodes', 0, -1)) do
    found = first_of(of_node(node))
    if found then return found end
end
return {}
""",
    # names and kinds → whether each is somebody else's: 1 or 0
    "probe": PRELUDE
    + FOREIGN
    + """
local found = {}
for at = 1, #ARGV, 2 do
    found[#found + 1] = is_foreign(ARGV[at], ARGV[at + 1]) and 1 or 0
end
return found
""",
}
"""Each script, by its name. What they are given stands above each of them."""
