"""The parts in Lua that scripts share: each is put in front of those that need it."""

from __future__ import annotations

from typing import Final

from host.bus.hub import HubLimits

_LIMITS = HubLimits()
_MESSAGE_BYTES = 120
"""About what a message in a list costs beside its bytes."""
_LOG_BYTES = 16_777_216
"""What is kept of all messages, for those whose connection was broken."""
_SERIAL_MS = 86_400_000
"""How long it is remembered what was done for a node that is gone."""

_WRITTEN: Final = (
    "count .. ' ' .. began .. ' ' .. sender .. ' ' .. #topic .. ' ' .. topic .. payload"
)
"""A message as it is kept and published; `scripts` tells what it is made of."""

PRELUDE: Final = """
local P = KEYS[1]
local B = P .. 'bus'
local function micros()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
local function text(number) return string.format('%.0f', number) end
-- What a call returns; nil if somebody else's entry is where its key would be
local function try(...)
    local reply = redis.pcall(...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if string.find(reply.err, 'WRONGTYPE', 1, true) then return nil end
    return redis.call(...)
end
local function epoch()
    local known = redis.call('HGET', B, 'epoch')
    if known then return known end
    local new = text(micros())
    redis.call('HSET', B, 'epoch', new)
    return new
end
"""

SESSIONS: Final = """
local function is_current(node, session)
    return redis.call('HGET', P .. 'node:' .. node, 'session') == session
end

-- Note what is done
local function note(node, serial) redis.call('HSET', P .. 'node:' .. node, 'serial', serial) end
"""

FOREIGN: Final = """
local function is_foreign(name, kind)
    if kind == 'hash' then return try('HLEN', P .. name) == nil end
    if kind == 'list' then return try('LLEN', P .. name) == nil end
    if kind == 'set' then return try('SREM', P .. name, '') == nil end
    return try('ZRANGE', P .. name, 0, 0) == nil
end

local function first_of(names)
    for _, each in ipairs(names) do
        if is_foreign(each[1], each[2]) then return each end
    end
end

local function of_node(node)
    return {
        {'node:' .. node, 'hash'}, {'refused:' .. node, 'sorted set'}, {'members:' .. node, 'set'}
    }
end

-- What nothing goes on without: its name and kind, if it is somebody else's
local function find_foreign(node)
    return first_of({
        {'bus', 'hash'}, {'nodes', 'sorted set'}, {'owners', 'hash'}, {'log', 'list'},
        {'rings', 'sorted set'}, {'table-bytes', 'hash'}
    }) or first_of(of_node(node))
end
"""

PUBLISHING: Final = f"""
-- Each call costs the broker more than all that is between: so the few numbers are read and
-- written at once.

local function take_first(list, bytes)
    local first = redis.call('LPOP', list)
    return first and bytes - #first - {_MESSAGE_BYTES} or 0
end

-- How many bytes are retained now, and whether this is
local function retain(topic, message, keep, count, bytes)
    local ring = P .. 'ring:' .. topic
    local length = try('RPUSH', ring, message)
    if length == nil then return bytes, false end
    bytes = bytes + #message + {_MESSAGE_BYTES}
    while length > keep do
        bytes, length = take_first(ring, bytes), length - 1
    end
    if try('ZADD', P .. 'rings', count, topic) == nil then return bytes, false end
    while bytes > {_LIMITS.retained_bytes} do
        local oldest = redis.call('ZPOPMIN', P .. 'rings')[1]
        if not oldest then break end
        local found = try('LRANGE', P .. 'ring:' .. oldest, 0, -1)
        if found then
            for _, each in ipairs(found) do bytes = bytes - #each - {_MESSAGE_BYTES} end
            redis.call('DEL', P .. 'ring:' .. oldest)
        end
    end
    return bytes, true
end

-- Whether it is retained if it is to be; what has a serial is noted
local function publish(topic, sender, payload, keep, node, serial)
    local known = redis.call('HMGET', B, 'count', 'epoch', 'log-bytes', 'ring-bytes')
    local count, began = text((known[1] or 0) + 1), known[2] or epoch()
    local bytes, retained = (known[3] or 0) + 0, (known[4] or 0) + 0
    local message = {_WRITTEN}
    redis.call('RPUSH', P .. 'log', message)
    if serial then note(node, serial) end
    local is_kept = true
    if keep > 0 then
        keep = math.min(keep, {_LIMITS.retained})
        retained, is_kept = retain(topic, message, keep, count, retained)
    end
    bytes = bytes + #message + {_MESSAGE_BYTES}
    while bytes > {_LOG_BYTES} do bytes = take_first(P .. 'log', bytes) end
    redis.call('HSET', B, 'count', count, 'log-bytes', text(bytes), 'ring-bytes', text(retained))
    redis.call('PUBLISH', P .. 'live:' .. topic, message)
    return is_kept
end
"""

PUBLISHING_AT_ONCE: Final = f"""
-- Most messages are not retained: they are published without the functions that follow. To make
-- these, and what they do that is not needed here, took a quarter of the script's time.
if ARGV[6] == '0' then
    local P, call = KEYS[1], redis.call
    local B, node, log = P .. 'bus', P .. 'node:' .. ARGV[1], P .. 'log'
    if call('HGET', node, 'session') ~= ARGV[2] then return -1 end
    local known = call('HMGET', B, 'count', 'epoch', 'log-bytes')
    local began, topic, sender, payload = known[2], ARGV[4], ARGV[5], ARGV[7]
    if began then
        local count = string.format('%.0f', (known[1] or 0) + 1)
        local message = {_WRITTEN}
        local bytes = (known[3] or 0) + #message + {_MESSAGE_BYTES}
        call('RPUSH', log, message)
        call('HSET', node, 'serial', ARGV[3])
        while bytes > {_LOG_BYTES} do
            local first = call('LPOP', log)
            bytes = first and bytes - #first - {_MESSAGE_BYTES} or 0
        end
        call('HSET', B, 'count', count, 'log-bytes', bytes)
        call('PUBLISH', P .. 'live:' .. topic, message)
        return 1
    end
end
"""

LEAVING: Final = f"""
local function keys_of(member)
    local keys = try('SMEMBERS', P .. 'keys:' .. member)
    if keys then return keys end
    local owners, found = redis.call('HGETALL', P .. 'owners'), {{}}
    for at = 1, #owners, 2 do
        if string.match(owners[at + 1], '%d+ (.*)') == member then
            found[#found + 1] = owners[at]
        end
    end
    return found
end

local function leave(member)
    for _, key in ipairs(keys_of(member)) do
        redis.call('HDEL', P .. 'owners', key)
    end
    redis.call('DEL', P .. 'keys:' .. member)
    publish('bus.left', member, member, 0)
end

local function reap(now)
    for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'nodes', '-inf', now)) do
        local members = redis.call('SMEMBERS', P .. 'members:' .. node)
        redis.call('HDEL', P .. 'node:' .. node, 'session')
        redis.call('ZREM', P .. 'nodes', node)
        redis.call('PEXPIRE', P .. 'node:' .. node, {_SERIAL_MS})
        redis.call('PEXPIRE', P .. 'refused:' .. node, {_SERIAL_MS})
        for _, member in ipairs(members) do leave(member) end
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

LIFE: Final = PRELUDE + SESSIONS + FOREIGN + PUBLISHING + LEAVING
