//! The Lua scripts of the presence directory; Redis runs each in one step. Times are Redis's own, in milliseconds.
//!
//! `leases`: a sorted set of instances by the time of their last heartbeat; below zero = the instance is presumed dead,
//! and its chatters are being released. `chatters`: one set for each instance. `since`: when Redis was last found
//! empty.

/// The current time.
macro_rules! now {
    () => {
        "local t = redis.call('TIME')
         local now = t[1] * 1000 + math.floor(t[2] / 1000)
         "
    };
}

/// Which of these chatters are in the set of a living instance other than `own` and `previous`.
macro_rules! elsewhere {
    () => {
        "local function elsewhere(leases, sets, stale, own, previous, ids)
           local found, list = {}, {}
           for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, now - stale, '+inf')) do
             if id ~= own and id ~= previous then
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

/// Adds chatters who joined and removes chatters who left. Keys: leases, own chatters. Arguments: prefix of the sets,
/// own name, previous name, stale, kept, number of joined chatters, joined chatters, chatters who left. Returns by how
/// many the set grew, and which of the joined chatters are connected elsewhere.
pub(super) const WRITE: &str = concat!(
    now!(),
    elsewhere!(),
    "local joined, left, more = {}, {}, 0
     for at = 7, #ARGV do
       if at < 7 + ARGV[6] then joined[#joined + 1] = ARGV[at] else left[#left + 1] = ARGV[at] end
     end
     if #joined > 0 then more = redis.call('SADD', KEYS[2], unpack(joined)) end
     if #left > 0 then more = more - redis.call('SREM', KEYS[2], unpack(left)) end
     redis.call('PEXPIRE', KEYS[2], ARGV[5])
     if #joined == 0 then return { more, {} } end
     return { more, elsewhere(KEYS[1], ARGV[1], ARGV[4], ARGV[2], ARGV[3], joined) }"
);

/// Registers an instance under a new name in place of its previous one. Keys: leases, since, previous chatters.
/// Arguments: own name, previous name, kept. Returns the fate of the previous name: 1 = was alive, -1 = was presumed
/// dead, 0 = is unknown.
pub(super) const REGISTER: &str = concat!(
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

/// Renews a lease. Keys: leases, since, own chatters. Arguments: own name, kept.
/// Returns the number of chatters in the set; nothing where the instance is presumed dead or unknown.
pub(super) const RENEW: &str = concat!(
    now!(),
    "redis.call('SET', KEYS[2], now, 'NX')
     redis.call('PEXPIRE', KEYS[2], ARGV[2])
     if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) <= 0 then return false end
     redis.call('ZADD', KEYS[1], now, ARGV[1])
     redis.call('PEXPIRE', KEYS[1], ARGV[2])
     redis.call('PEXPIRE', KEYS[3], ARGV[2])
     return redis.call('SCARD', KEYS[3])"
);

/// Lets a lease run out early, yet not at once: until then its chatters may reconnect elsewhere. Keys: leases.
/// Arguments: own name, the age to which the last heartbeat is set.
pub(super) const LEAVE: &str = concat!(now!(), "return redis.call('ZADD', KEYS[1], 'XX', now - ARGV[2], ARGV[1])");

/// Which of these chatters are connected elsewhere. Keys: leases, since. Arguments: prefix of the sets, own name,
/// previous name, stale, complete, chatters. Returns nothing where Redis was found empty less than `complete` ago,
/// since other instances may not have written their chatters yet.
pub(super) const READ: &str = concat!(
    now!(),
    elsewhere!(),
    "local since, ids = redis.call('GET', KEYS[2]), {}
     if not since or now - since < tonumber(ARGV[5]) then return false end
     for at = 6, #ARGV do ids[#ids + 1] = ARGV[at] end
     return elsewhere(KEYS[1], ARGV[1], ARGV[4], ARGV[2], ARGV[3], ids)"
);

/// Claims a dead instance for a while. Keys: leases. Arguments: prefix of the sets, prefix of the claims, own name,
/// duration of a lease, duration of a claim, number of chatters. Returns the instance, how long it has been silent, and
/// some of its chatters; or nothing.
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
