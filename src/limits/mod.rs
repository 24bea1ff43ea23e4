//! Rate limits per chatter, per address and per username, kept in the memory of this instance.
//!
//! The HTTP handlers and the sessions check them before they do the work. `rate` is the mechanism of all of them: its
//! memory is bounded, and idle keys are removed. Usernames are kept as keyed hashes only.

mod known;
mod rate;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config;
use crate::domain::chatter::username_key;
pub use crate::domain::device::network;
use crate::domain::{ChatterId, SignInId};
use known::KnownAddresses;
use rate::{Quota, Rate};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Frames other than chats that a chatter's device sockets may send, as a multiple of the chats that they may send.
const FRAMES_PER_SEND: u32 = 5;
/// The sockets of a chatter that list their rooms without delay; one more is allowed each second.
const QUICK_SOCKETS: u32 = 20;
/// A username from one address has this part of the attempts of the address.
const NAME_PART: u32 = 4;
/// A session has this part of the refreshes of an address.
const SESSION_PART: u32 = 10;
/// A username has this many times the attempts of one address, over all addresses that are not known to the account.
const ADDRESSES_PER_NAME: u32 = 5;

/// The sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A chatter who has signed in, with all their device sockets.
    Chatter(ChatterId),
    /// The peer of a socket before sign-in.
    Address(IpAddr),
}

/// Whether a request for a password check shows that its device belongs to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// It sent a token of the account, which may have expired.
    WithToken,
    /// It sent none; its address may still be known to the account.
    WithoutToken,
}

/// The time that has passed since the start; tests have one of their own.
pub trait Clock {
    /// Never goes back.
    fn now(&self) -> Duration;
}

/// The clock of the system.
pub struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A username at an address.
type NameAt = (u64, IpAddr);

/// The rate limits of this instance, shared by all workers. A refusal holds the time to wait (`Retry-After`).
pub struct Limits<C: Clock = SystemClock> {
    clock: C,
    send: Rate<ChatterId>,
    frame: Rate<Sender>,
    search: Rate<ChatterId>,
    quick_socket: Rate<ChatterId>,
    password_address: Rate<IpAddr>,
    password_name_at: Rate<NameAt>,
    password_name: Rate<u64>,
    known: KnownAddresses,
    sign_up_address: Rate<IpAddr>,
    sign_up_name_at: Rate<NameAt>,
    refresh_address: Rate<IpAddr>,
    refresh_session: Rate<SignInId>,
    room: Rate<ChatterId>,
    token_move: Rate<ChatterId>,
    open_page: Rate<IpAddr>,
    /// Keyed at random for each process, so that names cannot be chosen to collide.
    name_hash: RandomState,
}

impl Limits {
    /// Limits with the configured rates; 0 = no limit.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        Self::with_clock(config, SystemClock(Instant::now()))
    }
}

impl<C: Clock> Limits<C> {
    fn with_clock(config: &config::Limits, clock: C) -> Self {
        let (send, burst) = (config.send_per_s, config.send_burst());
        let (frame, frame_burst) = (send.saturating_mul(FRAMES_PER_SEND), burst.saturating_mul(FRAMES_PER_SEND));
        let per_minute = |n| Quota::new(n, MINUTE, n);
        let sign_in = config.sign_in_per_min;
        Self {
            send: Rate::new(Quota::new(send, SECOND, burst)),
            frame: Rate::new(Quota::new(frame, SECOND, frame_burst)),
            search: Rate::new(per_minute(config.searches_per_min)),
            quick_socket: Rate::new(Quota::new(1, SECOND, QUICK_SOCKETS)),
            password_address: Rate::new(per_minute(sign_in)),
            password_name_at: Rate::new(per_minute(part(sign_in))),
            password_name: Rate::new(per_minute(sign_in.saturating_mul(ADDRESSES_PER_NAME))),
            known: KnownAddresses::default(),
            sign_up_address: Rate::new(per_minute(config.sign_up_per_min)),
            sign_up_name_at: Rate::new(per_minute(part(config.sign_up_per_min))),
            refresh_address: Rate::new(per_minute(config.refresh_per_min)),
            refresh_session: Rate::new(per_minute(config.refresh_per_min.div_ceil(SESSION_PART))),
            room: Rate::new(Quota::new(config.rooms_per_hour, HOUR, config.rooms_per_hour)),
            token_move: Rate::new(Quota::new(config.token_moves_per_day, DAY, config.token_moves_per_day)),
            open_page: Rate::new(per_minute(config.open_pages_per_min)),
            name_hash: RandomState::new(),
            clock,
        }
    }

    /// One chat, edit or deletion of this chatter.
    pub fn send(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.send.check(&chatter, self.clock.now())
    }

    /// One search of this chatter.
    pub fn search(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.search.check(&chatter, self.clock.now())
    }

    /// One socket on which this chatter signs in. Beyond the rate it is not refused: it waits as bulk reads do.
    pub fn quick_socket(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.quick_socket.check(&chatter, self.clock.now())
    }

    /// One frame other than a chat, on any device socket of this chatter or, before sign-in, of this address.
    pub fn frame(&self, sender: Sender) -> Result<(), Duration> {
        let sender = match sender {
            Sender::Address(address) => Sender::Address(network(address)),
            chatter => chatter,
        };
        self.frame.check(&sender, self.clock.now())
    }

    /// One password that is to be checked, right or wrong, at sign-in or before a change of the account.
    ///
    /// The username has a part of the attempts of its address, so that an address cannot use up those of another. Over
    /// all addresses it has a high bound, which counts only devices that are unknown to the account: those without a
    /// token of it, at an address from which it has not signed in lately.
    pub fn password(&self, address: IpAddr, username: &str, device: Device) -> Result<(), Duration> {
        let (now, address, name) = (self.clock.now(), network(address), self.name(username));
        // An address beyond its limit does not count against the name, nor a name beyond its limit against the address.
        self.password_address.peek(&address, now)?;
        self.password_name_at.check(&(name, address), now)?;
        self.password_address.check(&address, now)?;
        if device == Device::WithToken || self.known.contains(name, address, now) {
            return Ok(());
        }
        self.password_name.check(&name, now)
    }

    /// The password was right: the address is known to the account from now on.
    pub fn password_was_right(&self, address: IpAddr, username: &str) {
        self.known.remember(self.name(username), network(address), self.clock.now());
    }

    /// One new account.
    pub fn sign_up(&self, address: IpAddr, username: &str) -> Result<(), Duration> {
        let (now, address) = (self.clock.now(), network(address));
        self.sign_up_address.peek(&address, now)?;
        self.sign_up_name_at.check(&(self.name(username), address), now)?;
        self.sign_up_address.check(&address, now)
    }

    /// One refresh of a session's token. One from an address beyond its limit does not count against the session.
    pub fn refresh(&self, address: IpAddr, session: SignInId) -> Result<(), Duration> {
        let now = self.clock.now();
        self.refresh_address.check(&network(address), now)?;
        self.refresh_session.check(&session, now)
    }

    /// One new room of this chatter, before it is known whether the two have one already.
    pub fn room(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.room.check(&chatter, self.clock.now())
    }

    /// No room was created: it does not count.
    pub fn no_room(&self, chatter: ChatterId) {
        self.room.refund(&chatter);
    }

    /// One push token that this chatter takes from another account.
    pub fn token_move(&self, chatter: ChatterId) -> Result<(), Duration> {
        self.token_move.check(&chatter, self.clock.now())
    }

    /// One page of a list that is open to anyone; the first page of a longer one.
    pub fn open_page(&self, address: IpAddr) -> Result<(), Duration> {
        self.open_page.check(&network(address), self.clock.now())
    }

    /// A further page of a list that has begun. It is not refused; the next list waits for it.
    pub fn further_open_page(&self, address: IpAddr) {
        self.open_page.charge(&network(address), 1, self.clock.now());
    }

    /// Removes keys that could use a whole burst again. A timer calls this; the maps are bounded without it.
    pub fn forget_idle(&self) {
        let now = self.clock.now();
        self.send.forget_idle(now);
        self.frame.forget_idle(now);
        self.search.forget_idle(now);
        self.quick_socket.forget_idle(now);
        self.password_address.forget_idle(now);
        self.password_name_at.forget_idle(now);
        self.password_name.forget_idle(now);
        self.known.forget_old(now);
        self.sign_up_address.forget_idle(now);
        self.sign_up_name_at.forget_idle(now);
        self.refresh_address.forget_idle(now);
        self.refresh_session.forget_idle(now);
        self.room.forget_idle(now);
        self.token_move.forget_idle(now);
        self.open_page.forget_idle(now);
    }

    fn name(&self, username: &str) -> u64 {
        self.name_hash.hash_one(username_key(username))
    }
}

/// What one username at one address has of the attempts of the address; at least one, where there is a limit.
fn part(attempts: u32) -> u32 {
    if attempts == 0 { 0 } else { (attempts / NAME_PART).max(1) }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::config::Config;

    #[derive(Default)]
    struct FakeClock(Mutex<Duration>);

    impl FakeClock {
        fn advance(&self, time: Duration) {
            *self.0.lock() += time;
        }
    }

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            *self.0.lock()
        }
    }

    fn limits(change: impl FnOnce(&mut config::Limits)) -> Limits<FakeClock> {
        let mut config = Config::from_parts([], None).unwrap().limits;
        change(&mut config);
        Limits::with_clock(&config, FakeClock::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn passed(tries: u32, mut check: impl FnMut() -> Result<(), Duration>) -> usize {
        (0..tries).filter(|_| check().is_ok()).count()
    }

    impl Limits<FakeClock> {
        fn guess(&self, from: &str, name: &str) -> Result<(), Duration> {
            self.password(address(from), name, Device::WithoutToken)
        }
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
        assert_eq!(passed(5_000, || limits.guess("127.0.0.1", "a").and_then(|()| limits.sign_up(home, "a"))), 5_000);
    }

    #[test]
    fn a_name_has_a_quarter_of_the_attempts_of_an_address_whatever_its_case() {
        let limits = limits(|_| {});
        let home = "10.0.0.1";
        assert_eq!(passed(2, || limits.guess(home, "Alice")) + passed(9, || limits.guess(home, "alice")), 5);
        assert_eq!(passed(3, || limits.guess(home, "bob")), 3);
        let mut n = 0;
        let spent = passed(20, || {
            n += 1;
            limits.guess(home, &format!("name{n}"))
        });
        assert_eq!(spent, 12, "20 tries an address: 5 for alice, 3 for bob; those that were refused do not count");
        limits.clock.advance(Duration::from_secs(60));
        assert!(limits.guess(home, "alice").is_ok());
    }

    #[test]
    fn a8_guesses_from_one_address_leave_the_name_free_at_another() {
        let limits = limits(|_| {});
        for _ in 0..600 {
            let _ = limits.guess("10.0.0.1", "alice");
            limits.clock.advance(Duration::from_secs(2));
        }
        assert!(passed(9, || limits.guess("10.0.0.1", "alice")) <= 1);
        assert_eq!(passed(9, || limits.guess("10.0.0.2", "alice")), 5);
    }

    #[test]
    fn a8_guesses_from_many_addresses_do_not_refuse_a_known_device() {
        let limits = limits(|_| {});
        limits.password_was_right(address("2001:db8:0:1::1"), "Alice");
        let mut n = 0;
        let guessed = passed(1_000, || {
            n += 1;
            limits.guess(&format!("10.0.{}.{}", n / 250, n % 250), "alice")
        });
        assert_eq!(guessed, 100, "20 a minute, times five");
        assert!(limits.guess("10.1.0.1", "alice").is_err(), "an unknown device");
        assert_eq!(limits.guess("2001:db8:0:1::2", "alice"), Ok(()), "at a known address");
        assert_eq!(limits.password(address("10.1.0.1"), "alice", Device::WithToken), Ok(()));
    }

    #[test]
    fn a_name_has_at_least_one_attempt() {
        let limits = limits(|l| l.sign_in_per_min = 3);
        assert_eq!(passed(3, || limits.guess("10.0.0.1", "alice")), 1);
    }

    #[test]
    fn c5_an_ipv6_network_counts_as_one_address() {
        let limits = limits(|l| l.sign_up_per_min = 1);
        assert!(limits.sign_up(address("2001:db8:0:1::1"), "a").is_ok());
        assert!(limits.sign_up(address("2001:db8:0:1:ffff::2"), "b").is_err());
        assert!(limits.sign_up(address("2001:db8:0:2::1"), "b").is_ok());
        assert!(limits.sign_up(address("10.0.0.1"), "c").is_ok());
        assert!(limits.sign_up(address("::ffff:10.0.0.1"), "d").is_err(), "the same, mapped");
    }

    #[test]
    fn a6_a_chatter_creates_so_many_rooms_an_hour_and_one_that_exists_does_not_count() {
        let limits = limits(|_| {});
        let ann = ChatterId::new(1);
        assert_eq!(passed(500, || limits.room(ann)), 60);
        limits.no_room(ann);
        assert_eq!(passed(500, || limits.room(ann)), 1);
        assert_eq!(limits.room(ann), Err(Duration::from_secs(60)));
        limits.clock.advance(HOUR);
        assert_eq!(passed(500, || limits.room(ann)), 60);
    }

    #[test]
    fn a7_a_long_open_list_is_waited_for_before_the_next_one() {
        let limits = limits(|_| {});
        let home = address("10.0.0.1");
        assert_eq!(passed(500, || limits.open_page(home)), 120);
        assert_eq!(limits.open_page(home), Err(Duration::from_millis(500)));
        (0..120).for_each(|_| limits.further_open_page(home));
        limits.clock.advance(MINUTE);
        assert_eq!(limits.open_page(home), Err(Duration::from_millis(500)));
        assert_eq!(limits.open_page(address("10.0.0.2")), Ok(()));
    }

    #[test]
    fn idle_keys_are_removed_and_busy_keys_are_kept() {
        let limits = limits(|_| {});
        assert_eq!(passed(100, || limits.send(ChatterId::new(1))), 30);
        limits.clock.advance(Duration::from_secs(2));
        assert_eq!(limits.send(ChatterId::new(2)), Ok(()));
        limits.clock.advance(Duration::from_millis(1500));
        limits.forget_idle();
        assert_eq!(limits.send.len(), 0);
        assert_eq!(passed(100, || limits.send(ChatterId::new(3))), 30);
        limits.forget_idle();
        assert!(limits.send(ChatterId::new(3)).is_err());
    }
}
