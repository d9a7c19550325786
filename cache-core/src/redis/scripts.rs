//! The Lua scripts: every step that must not be torn apart.
//!
//! Each is sent by its hash, and by its text once when the server does not know it. Keys and arguments come only
//! through `KEYS` and `ARGV`; the keys of one script lie in one slot (on a single server the log may lie elsewhere).
//! They run on Redis 6.2 and later and on Valkey.
//!
//! Memory: a server without memory refuses a script's first write if that write needs any, and none after a first
//! write that needs none. So what invalidates deletes first and always gets through; what stores sets first and is
//! refused.

use std::sync::LazyLock;

use crate::format;

/// A script with its hash.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: String,
    pub(super) hash: String,
}

impl Script {
    fn new(body: &str) -> Self {
        let text = format!(
            "\nlocal NOTICE_FORMAT = '{}'{PRELUDE}{body}",
            format::of_notices()
        );
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $body:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new($body));)*
    };
}

scripts! {
    /// `value lock error guard [log generation]`, `refuse token ttl consult_errors take_over incarnation`
    LEASE = r"
local kind, version, bytes, ttl = stands(KEYS[1], KEYS[4])
if kind == 'value' and ARGV[1] ~= '*' and version ~= ARGV[1] then return {'value', ttl, bytes} end
if ARGV[4] == '1' then
  local recorded = text(KEYS[3])
  if recorded then return {'recorded', redis.call('PTTL', KEYS[3]), recorded} end
end
if ARGV[3] ~= '0' then
  local holder = text(KEYS[2])
  if holder and holder ~= ARGV[2] and holder ~= ARGV[5] then
    local left = redis.call('PTTL', KEYS[2])
    if left > 0 then return {'held', left, holder} end
  end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
local fence = ''
if KEYS[5] then
  if not newest(KEYS[5]) then open(KEYS[5], ARGV[6]) end
  fence = fence_now(KEYS[5], KEYS[6])
end
return {'lease', version or '', string.format('%.0f', micros()), fence}
";

    /// `value lock error guard [log generation]`,
    /// `token seen started max_load fence bytes px ending record record_px`
    COMMIT = r"
local holder = text(KEYS[2])
local mine = ARGV[1] ~= '' and holder == ARGV[1]
local kind, version, bytes, ttl = stands(KEYS[1], KEYS[4])
local function store()
  if ARGV[6] == '' then return 'nothing', 0 end
  if version == string.sub(ARGV[6], 5, 20) then return 'applied', 0 end
  if holder and not mine then return 'other_holder', 0 end
  if ARGV[3] ~= '' and micros() - tonumber(ARGV[3]) > tonumber(ARGV[4]) then return 'too_late', 0 end
  if ARGV[5] ~= '' and KEYS[5] and fence_now(KEYS[5], KEYS[6]) ~= ARGV[5] then return 'fence_moved', 0 end
  local hold = held(kind, bytes, ttl)
  if hold > 0 then return 'held_off', hold end
  if (version or '') ~= ARGV[2] then return 'superseded', 0 end
  local set = redis.pcall('SET', KEYS[1], ARGV[6], 'PX', ARGV[7])
  if set.err then
    if string.find(set.err, 'OOM', 1, true) then return 'oom', 0 end
    error(set.err)
  end
  redis.call('DEL', KEYS[3], KEYS[4])
  return 'applied', 0
end
local verdict, detail = store()
if ARGV[9] ~= '' and (mine or not holder) and (version or '') == ARGV[2] then
  redis.pcall('SET', KEYS[3], ARGV[9], 'PX', ARGV[10])
end
local released = 0
if mine then
  redis.call('DEL', KEYS[2])
  released = 1
end
if mine or verdict == 'applied' then
  local ending = ARGV[8]
  if verdict ~= 'applied' and verdict ~= 'nothing' then ending = 'r' end
  redis.pcall('PUBLISH', KEYS[1], ending)
end
if verdict == 'superseded' then
  if kind == 'value' then return {verdict, detail, released, version, ttl, bytes} end
  return {verdict, detail, released, version or ''}
end
return {verdict, detail, released}
";

    /// `lock`, `token ttl`
    RENEW = r"
if text(KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

    /// `(value lock error guard)* [log]`, `n incarnation source nonce op (change condition version bytes px)*`
    MUTATE = r"
local count = tonumber(ARGV[1])
local log = KEYS[count * 4 + 1]
local out = {}
local notice = {'f', NOTICE_FORMAT, 's', ARGV[3], 'o', ARGV[5], 'n', ARGV[4]}
local plain = #notice
local function clear(value, lock, err, guard)
  redis.call('DEL', value, err, guard)
  if redis.call('DEL', lock) == 1 then redis.pcall('PUBLISH', value, 'r') end
end
local function expire(value, kind, version, bytes, ttl, guard, window)
  local life = ttl
  if kind == 'value' then life = math.min(ttl, quiet_below(bytes)) end
  if kind == 'value' or kind == 'tombstone' then
    if life > 0 then
      local marked = string.sub(bytes, 1, 4) .. version .. string.sub(bytes, 21)
      redis.call('SET', value, marked, 'PX', string.format('%.0f', life))
    end
  else
    life = 0
  end
  if life < window then redis.call('SET', guard, version, 'PX', string.format('%.0f', window)) end
end
for i = 1, count do
  local value, lock, err, guard = KEYS[i * 4 - 3], KEYS[i * 4 - 2], KEYS[i * 4 - 1], KEYS[i * 4]
  local a = i * 5 + 1
  local change, condition, version, new, px = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4])
  local kind, old, bytes, ttl = stands(value, guard)
  local left = held(kind, bytes, ttl)
  local verdict, detail = 'applied', ''
  if change == 'remove' then
    clear(value, lock, err, guard)
    redis.call('SET', value, new, 'PX', string.format('%.0f', math.max(px, quiet_below(new) + left)))
  elseif change == 'expire' then
    clear(value, lock, err, guard)
    expire(value, kind, version, bytes, ttl, guard, px)
  elseif old == version then
    verdict = 'applied'
  elseif left > 0 then
    verdict, detail = 'held_off', left
  elseif condition ~= '*' and (visible(kind, old) or '') ~= condition then
    verdict, detail = 'superseded', visible(kind, old) or ''
  else
    local set = redis.pcall('SET', value, new, 'PX', ARGV[a + 4])
    if set.err then
      if not string.find(set.err, 'OOM', 1, true) then error(set.err) end
      verdict = 'oom'
    else
      redis.call('DEL', err, guard)
      redis.pcall('PUBLISH', value, 'd')
    end
  end
  if verdict == 'applied' then
    for _, field in ipairs({'k', value, 'v', version}) do notice[#notice + 1] = field end
  end
  out[#out + 1] = verdict
  out[#out + 1] = detail
end
local id = ''
if log and #notice > plain then id = append(log, ARGV[2], notice) end
table.insert(out, 1, id)
return out
";

    /// `log`, `incarnation field*`
    ANNOUNCE = r"
local fields = {}
for i = 2, #ARGV do fields[i - 1] = ARGV[i] end
return append(KEYS[1], ARGV[1], fields)
";

    /// `mark*`, `ttl seed*`
    MARKS = r"
local out = {}
local now = math.floor(micros() / 1000)
local ttl = tonumber(ARGV[1])
for i, mark in ipairs(KEYS) do
  local hard, soft, ends = mark_of(mark)
  if not hard or not soft then
    hard, soft = hard or ARGV[i + 1], soft or ARGV[i + 1]
    redis.call('HSET', mark, 'h', hard, 's', soft)
  end
  if redis.call('PTTL', mark) < ttl then redis.call('PEXPIRE', mark, string.format('%.0f', ttl * 2)) end
  out[#out + 1] = hard
  out[#out + 1] = soft
  out[#out + 1] = math.max(0, (tonumber(ends) or 0) - now)
end
return out
";

    /// `mark* log`, `incarnation source nonce strength hold ttl text*`
    MOVE_MARKS = r"
local count = #KEYS - 1
local hold, ttl = tonumber(ARGV[5]), tonumber(ARGV[6])
local hards, ends = {}, {}
for i = 1, count do
  local hard, soft, until_ms = mark_of(KEYS[i])
  hards[i], ends[i] = hard, tonumber(until_ms) or 0
  redis.call('DEL', KEYS[i])
end
local notice = {'f', NOTICE_FORMAT, 's', ARGV[2], 'o', ARGV[4], 'n', ARGV[3], 'h', ARGV[5]}
for i = 1, count do
  notice[#notice + 1] = 'm'
  notice[#notice + 1] = ARGV[i + 6]
end
local id = append(KEYS[count + 1], ARGV[1], notice)
local now = math.floor(micros() / 1000)
for i = 1, count do
  local hard = id
  if ARGV[4] == 'soft' and hards[i] then hard = hards[i] end
  if hold > 0 then ends[i] = math.max(ends[i], now + hold) end
  redis.call('HSET', KEYS[i], 'h', hard, 's', id, 'u', string.format('%.0f', ends[i]))
  redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.max(ttl * 2, ends[i] - now)))
end
return id
";

    /// `log generation`, `incarnation source nonce glob ttl`
    PATTERN = r"
redis.call('DEL', KEYS[2])
local id = append(KEYS[1], ARGV[1], {'f', NOTICE_FORMAT, 's', ARGV[2], 'o', 'pattern', 'n', ARGV[3], 'p', ARGV[4]})
redis.call('SET', KEYS[2], id, 'PX', ARGV[5])
return id
";

    /// `value*`, `version*`
    DISCARD = r"
local gone = 0
for i, key in ipairs(KEYS) do
  local kind, version = look(key)
  if kind == 'value' and version == ARGV[i] then gone = gone + redis.call('DEL', key) end
end
return gone
";

    /// `holder counter`, `token ttl counter_ttl`
    ACQUIRE = r"
local holder = text(KEYS[1])
local old = tonumber(text(KEYS[2]) or '0') or 0
if holder == ARGV[1] then return {1, string.format('%.0f', old)} end
if holder then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then return {0, left} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local number = string.format('%.0f', math.max(old + 1, micros()))
redis.call('SET', KEYS[2], number, 'PX', ARGV[3])
return {1, number}
";

    /// `holder`, `token channel`
    GIVE_BACK = r"
if text(KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], 'r')
return 1
";

    /// `log`, `incarnation`: makes sure that the log exists; its newest id.
    OPEN_LOG = r"
if not newest(KEYS[1]) then open(KEYS[1], ARGV[1]) end
local incarnation, number = newest(KEYS[1])
return incarnation .. '-' .. string.format('%.0f', number)
";
}

/// What the scripts share; before it stands `NOTICE_FORMAT`, which this build writes into the log. A companion key of another type is deleted when met: it can only be damage.
const PRELUDE: &str = r"
local MAGIC = '\245cce'
local LOG_LENGTH = '10000'

local function micros()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000000 + tonumber(now[2])
end

local function is_type_error(reply)
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return true end
  error(reply.err)
end

local function text(key)
  local found = redis.pcall('GET', key)
  if type(found) == 'table' and is_type_error(found) then
    redis.call('DEL', key)
    return nil
  end
  return found or nil
end

local function look(key)
  local found = redis.pcall('GET', key)
  if type(found) == 'table' and is_type_error(found) then return 'foreign' end
  if not found then return 'absent' end
  if #found < 30 or string.sub(found, 1, 4) ~= MAGIC then return 'foreign' end
  local ttl = redis.call('PTTL', key)
  if ttl < 0 then return 'foreign' end
  return string.sub(found, 21, 21) == 't' and 'tombstone' or 'value', string.sub(found, 5, 20), found, ttl
end

local function stands(key, guard)
  local kind, version, bytes, ttl = look(key)
  return kind, version or text(guard), bytes, ttl
end

-- The version that a plain read shows, which knows nothing of guards.
local function visible(kind, version)
  if kind == 'value' or kind == 'tombstone' then return version end
  return nil
end

local function quiet_below(bytes)
  return (struct.unpack('<I8', bytes, 23))
end

local function held(kind, bytes, ttl)
  if kind ~= 'tombstone' then return 0 end
  return math.max(0, ttl - quiet_below(bytes))
end

local function mark_of(key)
  local found = redis.pcall('HMGET', key, 'h', 's', 'u')
  if found.err and is_type_error(found) then
    redis.call('DEL', key)
    return nil
  end
  return found[1] or nil, found[2] or nil, found[3] or nil
end

local function newest(log)
  local last = redis.pcall('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if last.err and is_type_error(last) then return nil end
  if #last == 0 then return nil end
  local incarnation, number = string.match(last[1][1], '^(%d+)-(%d+)$')
  return incarnation, tonumber(number)
end

local function open(log, incarnation)
  redis.call('DEL', log)
  redis.call('XADD', log, incarnation .. '-1', 'f', NOTICE_FORMAT, 'o', 'open')
end

local function append(log, fresh, fields)
  local incarnation, number = newest(log)
  if not incarnation then
    open(log, fresh)
    incarnation, number = fresh, 1
  end
  local id = incarnation .. '-' .. string.format('%.0f', number + 1)
  redis.call('XADD', log, 'MAXLEN', '~', LOG_LENGTH, id, unpack(fields))
  return id
end

local function fence_now(log, generation)
  return (newest(log) or '') .. '/' .. (text(generation) or '')
end
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::NOTICE_FORMAT;
    use crate::shared::MAGIC;

    #[test]
    fn scripts_announce_in_the_format_of_this_build() {
        assert_eq!(NOTICE_FORMAT, 1);
        for script in [&MUTATE, &ANNOUNCE, &MOVE_MARKS, &PATTERN, &OPEN_LOG] {
            let (format, rest) = script.text.split_once(PRELUDE).unwrap();
            assert_eq!(format, "\nlocal NOTICE_FORMAT = '1'");
            let notices = [PRELUDE, rest].map(|part| part.matches("'f', ").count());
            let of_this_build = [PRELUDE, rest].map(|part| part.matches("'f', NOTICE_FORMAT").count());
            assert_eq!(notices, of_this_build);
        }
    }

    #[test]
    fn scripts_and_codecs_mean_the_same_magic() {
        assert_eq!(MAGIC, *b"\xf5cce");
        assert!(PRELUDE.contains("local MAGIC = '\\245cce'\n"));
    }
}
