//! Rate limits per chatter, per address and per username, kept in the memory of this instance.
//!
//! The HTTP handlers and the sessions check them before they do the work. Usernames are kept as keyed hashes only.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config;
use crate::domain::chatter::username_key;
use crate::domain::{ChatterId, SignInId};

type Keyed<K, C> = RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The same rate for each of many keys; `None` = no limit.
struct Rate<K: Hash + Eq + Clone, C: Clock>(Option<Keyed<K, C>>);

impl<K: Hash + Eq + Clone, C: Clock + Clone> Rate<K, C> {
    fn new(quota: Option<Quota>, clock: &C) -> Self {
        Self(quota.map(|quota| RateLimiter::dashmap_with_clock(quota, clock.clone())))
    }

    fn check(&self, key: &K, clock: &C) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(key).map_err(|until| until.wait_time_from(clock.now()))
    }

    fn forget_idle(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// Frames other than chats that a chatter's device sockets may send, as a multiple of the chats that they may send.
const FRAMES_PER_SEND: u32 = 5;

/// The sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A chatter who has signed in, with all their device sockets.
    Chatter(ChatterId),
    /// The peer of a socket before sign-in.
    Address(IpAddr),
}

/// The rate limits of this instance, shared by all workers. A refusal holds the time to wait (`Retry-After`).
pub struct Limits<C: Clock = DefaultClock> {
    clock: C,
    send: Rate<ChatterId, C>,
    sign_in_address: Rate<IpAddr, C>,
    sign_in_name: Rate<u64, C>,
    sign_up: Rate<IpAddr, C>,
    refresh_address: Rate<IpAddr, C>,
    refresh_session: Rate<SignInId, C>,
    frame: Rate<Sender, C>,
    search: Rate<ChatterId, C>,
    /// Keyed at random for each process, so that names cannot be chosen to collide.
    name_hash: RandomState,
}

impl Limits {
    /// Limits with the configured rates; 0 = no limit.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        Self::with_clock(config, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(config: &config::Limits, clock: C) -> Self {
        let send = NonZeroU32::new(config.send_per_s)
            .zip(NonZeroU32::new(config.send_burst()))
            .map(|(rate, burst)| Quota::per_second(rate).allow_burst(burst));
        let frame = NonZeroU32::new(config.send_per_s.saturating_mul(FRAMES_PER_SEND))
            .zip(NonZeroU32::new(config.send_burst().saturating_mul(FRAMES_PER_SEND)))
            .map(|(rate, burst)| Quota::per_second(rate).allow_burst(burst));
        let per_minute = |n| NonZeroU32::new(n).map(Quota::per_minute);
        let per_name = if config.sign_in_per_min == 0 { 0 } else { (config.sign_in_per_min / 4).max(1) };
        Self {
            send: Rate::new(send, &clock),
            sign_in_address: Rate::new(per_minute(config.sign_in_per_min), &clock),
            sign_in_name: Rate::new(per_minute(per_name), &clock),
            sign_up: Rate::new(per_minute(config.sign_up_per_min), &clock),
            refresh_address: Rate::new(per_minute(config.refresh_per_min), &clock),
            refresh_session: Rate::new(per_minute(config.refresh_per_min.div_ceil(10)), &clock),
            frame: Rate::new(frame, &clock),
            search: Rate::new(per_minute(config.searches_per_min), &clock),
            name_hash: RandomState::new(),
            clock,
        }
    }

    /// One chat, edit or deletion of this chatter.
    pub fn send(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.send.check(&chatter, &self.clock)
    }

    /// One search of this chatter.
    pub fn search(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.search.check(&chatter, &self.clock)
    }

    /// One frame other than a chat, on any device socket of this chatter or, before sign-in, of this address.
    pub fn frame(&self, sender: Sender) -> Result<(), Duration> {
        let sender = match sender {
            Sender::Address(address) => Sender::Address(network(address)),
            chatter => chatter,
        };
        self.frame.check(&sender, &self.clock)
    }

    /// One attempt to sign in, right or wrong. An attempt from an address beyond its limit does not count against the
    /// name.
    pub fn sign_in(&self, address: IpAddr, username: &str) -> Result<(), Duration> {
        self.sign_in_address.check(&network(address), &self.clock)?;
        self.sign_in_name.check(&self.name_hash.hash_one(username_key(username)), &self.clock)
    }

    /// One new account.
    pub fn sign_up(&self, address: IpAddr) -> Result<(), Duration> {
        self.sign_up.check(&network(address), &self.clock)
    }

    /// One refresh of a session's token. One from an address beyond its limit does not count against the session.
    pub fn refresh(&self, address: IpAddr, session: SignInId) -> Result<(), Duration> {
        self.refresh_address.check(&network(address), &self.clock)?;
        self.refresh_session.check(&session, &self.clock)
    }

    /// Removes keys that could use a whole burst again. A timer calls this, since nothing else shrinks the maps.
    pub fn forget_idle(&self) {
        self.send.forget_idle();
        self.frame.forget_idle();
        self.search.forget_idle();
        self.sign_in_address.forget_idle();
        self.sign_in_name.forget_idle();
        self.sign_up.forget_idle();
        self.refresh_address.forget_idle();
        self.refresh_session.forget_idle();
    }
}

/// The part of an address that is limited: an IPv4 address, or the 64-bit network of an IPv6 address, since one
/// customer has all of it.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::config::Config;

    fn limits(change: impl FnOnce(&mut config::Limits)) -> Limits<FakeRelativeClock> {
        let mut config = Config::from_parts([], None).unwrap().limits;
        change(&mut config);
        Limits::with_clock(&config, FakeRelativeClock::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn passed(tries: u32, mut check: impl FnMut() -> Result<(), Duration>) -> usize {
        (0..tries).filter(|_| check().is_ok()).count()
    }

    #[test]
    fn a_burst_is_three_times_the_rate_and_a_refusal_holds_the_wait() {
        let limits = limits(|_| {});
        assert_eq!(passed(40, || limits.send(ChatterId::new(1))), 30);
        assert_eq!(limits.send(ChatterId::new(1)), Err(Duration::from_millis(100)));
        assert_eq!(limits.send(ChatterId::new(2)), Ok(()), "another chatter has a burst of their own");
        limits.clock.advance(Duration::from_millis(500));
        assert_eq!(passed(40, || limits.send(ChatterId::new(1))), 5);
    }

    #[test]
    fn zero_means_no_limit() {
        let limits = limits(|l| (l.send_per_s, l.sign_in_per_min, l.sign_up_per_min) = (0, 0, 0));
        let home = address("127.0.0.1");
        assert_eq!(passed(5_000, || limits.send(ChatterId::new(1))), 5_000);
        assert_eq!(passed(5_000, || limits.sign_in(home, "a").and_then(|()| limits.sign_up(home))), 5_000);
    }

    #[test]
    fn a_name_has_a_quarter_of_the_attempts_of_an_address_whatever_its_case() {
        let limits = limits(|_| {});
        let home = address("10.0.0.1");
        assert_eq!(passed(2, || limits.sign_in(home, "Alice")) + passed(9, || limits.sign_in(home, "alice")), 5);
        assert!(limits.sign_in(address("10.0.0.2"), "ALICE").is_err(), "from another address too");
        assert_eq!(passed(3, || limits.sign_in(home, "bob")), 3);
        let mut n = 0;
        let spent = passed(20, || {
            n += 1;
            limits.sign_in(home, &format!("name{n}"))
        });
        assert_eq!(spent, 6, "20 tries an address: 11 for alice, 3 for bob");
        limits.clock.advance(Duration::from_secs(60));
        assert!(limits.sign_in(home, "alice").is_ok());
    }

    #[test]
    fn a_name_has_at_least_one_attempt() {
        let limits = limits(|l| l.sign_in_per_min = 3);
        assert_eq!(passed(3, || limits.sign_in(address("10.0.0.1"), "alice")), 1);
    }

    #[test]
    fn a_session_has_a_tenth_of_the_refreshes_of_an_address() {
        let limits = limits(|_| {});
        let (home, session) = (address("10.0.0.1"), SignInId::new);
        assert_eq!(passed(20, || limits.refresh(home, session(1))), 12);
        assert_eq!(passed(20, || limits.refresh(address("10.0.0.2"), session(1))), 0, "from another address too");
        let mut n = 1;
        let spent = passed(200, || {
            n += 1;
            limits.refresh(home, session(n))
        });
        assert_eq!(spent, 100, "120 an address, 20 of them for the first");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limits = limits(|l| l.sign_up_per_min = 1);
        assert!(limits.sign_up(address("2001:db8:0:1::1")).is_ok());
        assert!(limits.sign_up(address("2001:db8:0:1:ffff::2")).is_err());
        assert!(limits.sign_up(address("2001:db8:0:2::1")).is_ok());
        assert!(limits.sign_up(address("10.0.0.1")).is_ok());
        assert!(limits.sign_up(address("::ffff:10.0.0.1")).is_err(), "the same, mapped");
    }

    #[test]
    fn idle_keys_are_removed_and_busy_keys_are_kept() {
        let limits = limits(|_| {});
        assert_eq!(passed(100, || limits.send(ChatterId::new(1))), 30);
        limits.clock.advance(Duration::from_secs(2));
        assert_eq!(limits.send(ChatterId::new(2)), Ok(()));
        limits.clock.advance(Duration::from_millis(1500));
        limits.forget_idle();
        assert_eq!(limits.send.0.as_ref().unwrap().len(), 0);
        assert_eq!(passed(100, || limits.send(ChatterId::new(3))), 30);
        limits.forget_idle();
        assert!(limits.send(ChatterId::new(3)).is_err());
    }
}
