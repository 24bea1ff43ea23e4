//! What Redis does in one step for the roster. Times are Redis's own, in milliseconds.
//!
//! `leases`: a sorted set of instances by their last sign of life; below zero = it is taken for dead, and its chatters
//! are being taken off. One set of chatters for each instance. `since`: when Redis was last found empty.

/// The time of now.
macro_rules! now {
    () => {
        "local t = redis.call('TIME')
         local now = t[1] * 1000 + math.floor(t[2] / 1000)
         "
    };
}

/// Which of some chatters are in the set of a living instance; not of the two that are named first.
macro_rules! elsewhere {
    () => {
        "local function elsewhere(leases, sets, stale, own, before, ids)
           local found, list = {}, {}
           for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, now - stale, '+inf')) do
             if id ~= own and id ~= before then
               for at, is in ipairs(redis.call('SMISMEMBER', sets .. id, unpack(ids))) do
                 if is == 1 and not found[at] then
                   found[at] = true
                   list[#list + 1] = ids[at]
                 end
               end
             end
           end
           return list
         end
         "
    };
}

/// Writes some who came and some who went. Keys: leases, own set. Arguments: sets, own, before, stale, kept, how many
/// came, those who came, those who went. How many more are in the set, and who of those who came is elsewhere.
pub(super) const WRITE: &str = concat!(
    now!(),
    elsewhere!(),
    "local came, went, more = {}, {}, 0
     for at = 7, #ARGV do
       if at < 7 + ARGV[6] then came[#came + 1] = ARGV[at] else went[#went + 1] = ARGV[at] end
     end
     if #came > 0 then more = redis.call('SADD', KEYS[2], unpack(came)) end
     if #went > 0 then more = more - redis.call('SREM', KEYS[2], unpack(went)) end
     redis.call('PEXPIRE', KEYS[2], ARGV[5])
     if #came == 0 then return { more, {} } end
     return { more, elsewhere(KEYS[1], ARGV[1], ARGV[4], ARGV[2], ARGV[3], came) }"
);

/// Begins a life behind another one. Keys: leases, since, set before. Arguments: own, before, kept.
/// What the life before had come to: 1 it went on, -1 it was taken for dead, 0 nobody knows it.
pub(super) const BEGIN: &str = concat!(
    now!(),
    "redis.call('SET', KEYS[2], now, 'NX', 'PX', ARGV[3])
     local beat = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0)
     if beat > 0 then
       redis.call('ZREM', KEYS[1], ARGV[2])
       redis.call('UNLINK', KEYS[3])
     end
     redis.call('ZADD', KEYS[1], now, ARGV[1])
     redis.call('PEXPIRE', KEYS[1], ARGV[3])
     return beat > 0 and 1 or beat < 0 and -1 or 0"
);

/// A sign of life. Keys: leases, since, own set. Arguments: own, kept.
/// How many are in the set; nothing where the life is over or its set is not what it was.
pub(super) const BEAT: &str = concat!(
    now!(),
    "redis.call('SET', KEYS[2], now, 'NX')
     redis.call('PEXPIRE', KEYS[2], ARGV[2])
     if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) <= 0 then return false end
     redis.call('ZADD', KEYS[1], now, ARGV[1])
     redis.call('PEXPIRE', KEYS[1], ARGV[2])
     redis.call('PEXPIRE', KEYS[3], ARGV[2])
     return redis.call('SCARD', KEYS[3])"
);

/// The end of a life, in a moment: until then its chatters may come back elsewhere. Keys: leases. Arguments: own, how
/// long ago the last sign of life shall have been.
pub(super) const LEAVE: &str = concat!(now!(), "return redis.call('ZADD', KEYS[1], 'XX', now - ARGV[2], ARGV[1])");

/// Who of some is connected elsewhere. Keys: leases, since. Arguments: sets, own, before, stale, whole, chatters.
/// Nothing where Redis was found empty so lately that others may not have written theirs.
pub(super) const ASK: &str = concat!(
    now!(),
    elsewhere!(),
    "local since, ids = redis.call('GET', KEYS[2]), {}
     if not since or now - since < tonumber(ARGV[5]) then return false end
     for at = 6, #ARGV do ids[#ids + 1] = ARGV[at] end
     return elsewhere(KEYS[1], ARGV[1], ARGV[4], ARGV[2], ARGV[3], ids)"
);

/// Some chatters of a dead instance, which is ours for a while. Keys: leases. Arguments: sets, claims, own, how long a
/// lease lasts, how long a claim lasts, how many. The instance, how long it has been silent, its chatters; or nothing.
pub(super) const CLAIM: &str = concat!(
    now!(),
    "for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4], 'LIMIT', 0, 100)) do
       local claim = ARGV[2] .. id
       if id ~= ARGV[3] and (redis.call('SET', claim, ARGV[3], 'NX', 'PX', ARGV[5]) or redis.call('GET', claim) == ARGV[3]) then
         redis.call('PEXPIRE', claim, ARGV[5])
         local beat = tonumber(redis.call('ZSCORE', KEYS[1], id))
         if beat > 0 then redis.call('ZADD', KEYS[1], -beat, id) end
         local some = redis.call('SRANDMEMBER', ARGV[1] .. id, ARGV[6])
         if #some > 0 then return { id, now - math.abs(beat), some } end
         redis.call('ZREM', KEYS[1], id)
         redis.call('DEL', claim)
       end
     end
     return false"
);
