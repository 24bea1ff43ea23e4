//! Lines for audits, under the target `audit`: who did what to accounts, sessions and rooms, from where, and whether it
//! was refused. They have ids and addresses, never names that were typed, passwords, tokens or contents.
//!
//! Each address, and all together, have a number of lines about refusals in a minute. Further ones are counted, and the
//! count is logged behind the minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::device::network;
use crate::domain::{ChatroomId, ChatterId, SignInId};

/// The target of the lines, for `log.filter`.
const TARGET: &str = "audit";
/// Refusals are counted anew after this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines about refusals in that time: of one address, and of all of them.
const LINES_OF_ADDRESS: u32 = 10;
const LINES_OF_ALL: u32 = 600;
/// Addresses that are counted on their own.
const ADDRESSES_MAX: usize = 4_096;
/// Counts of addresses that are logged, each in a line; the others are added up.
const COUNTS_MAX: usize = 50;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What was done or refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $name,)* }

        impl Event {
            /// As the field `event` has it.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
        }
    };
}

events! {
    /// The server begins to serve.
    Start = "start",
    /// The database has begun a new epoch: all sign-ins have ended.
    EpochChanged = "epoch_changed",
    /// An account was created.
    SignUp = "sign_up",
    /// A password opened a session.
    SignIn = "sign_in",
    /// A session got its next tokens.
    Refresh = "refresh",
    /// A refresh token came a second time, so its session has ended.
    RefreshReplayed = "refresh_replayed",
    /// A session has ended itself.
    SignOut = "sign_out",
    /// A chatter has ended one of their sessions.
    SessionEnd = "session_end",
    /// A chatter has ended all their sessions but the one that asked.
    OtherSessionsEnd = "other_sessions_end",
    /// A password was replaced; all other sessions have ended.
    PasswordChange = "password_change",
    /// An account was deleted.
    AccountDeletion = "account_deletion",
    /// A room was deleted for both chatters.
    RoomDeletion = "room_deletion",
    /// A push token has moved to another account.
    TokenMove = "token_move",
}

/// Whom and what a line is about; what is not known stays out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Who acted, or whose account was aimed at.
    pub chatter: Option<ChatterId>,
    /// The session that acted, or that has ended.
    pub session: Option<SignInId>,
    /// The room.
    pub chatroom: Option<ChatroomId>,
    /// The account that has lost its push token.
    pub former_owner: Option<ChatterId>,
    /// The code of the refusal.
    pub reason: Option<&'static str>,
}

impl Facts {
    /// About a chatter alone.
    #[must_use]
    pub fn of(chatter: ChatterId) -> Self {
        Self { chatter: Some(chatter), ..Self::default() }
    }

    /// About a refusal whose chatter is not known.
    #[must_use]
    pub fn because(reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::default() }
    }
}

/// Writes the lines, and counts refusals.
#[derive(Debug, Default)]
pub struct Audit(Mutex<Refusals>);

impl Audit {
    /// It was done.
    pub fn done(&self, event: Event, from: IpAddr, facts: Facts) {
        line(event, "done", from, facts);
    }

    /// It was refused.
    pub fn refused(&self, event: Event, from: IpAddr, facts: Facts) {
        self.report_unlogged();
        if self.0.lock().count(from, Instant::now()) {
            line(event, "refused", from, facts);
        }
    }

    /// Logs the counts of a minute that has passed. A timer calls this; refusals do, too.
    pub fn report_unlogged(&self) {
        let mut refusals = self.0.lock();
        if refusals.since.is_some_and(|since| since.elapsed() >= WINDOW) {
            let unlogged = refusals.take();
            drop(refusals);
            Self::report(unlogged);
        }
    }

    /// Logs the counts of the minute that has begun: the server ends.
    pub fn report_last(&self) {
        let unlogged = self.0.lock().take();
        Self::report(unlogged);
    }

    fn report(unlogged: Unlogged) {
        for (from, count) in unlogged.by_address {
            tracing::info!(target: TARGET, event = "refusals_not_logged", count, from = %from);
        }
        if unlogged.elsewhere > 0 {
            tracing::info!(target: TARGET, event = "refusals_not_logged", count = unlogged.elsewhere);
        }
    }
}

/// The server begins to serve, in this epoch of its database, with so many secrets that verify tokens beside the one
/// that signs them.
pub fn started(epoch: &str, old_secrets: usize) {
    tracing::info!(target: TARGET, event = Event::Start.as_str(), outcome = "done", epoch, old_secrets);
}

/// The database has begun a new epoch under the running server.
pub fn epoch_changed(epoch: &str) {
    tracing::info!(target: TARGET, event = Event::EpochChanged.as_str(), outcome = "done", epoch);
}

fn line(event: Event, outcome: &str, from: IpAddr, facts: Facts) {
    tracing::info!(
        target: TARGET,
        event = event.as_str(),
        outcome,
        from = display(from.to_canonical()),
        chatter = facts.chatter.map(ChatterId::get),
        session = facts.session.map(SignInId::get),
        chatroom = facts.chatroom.map(ChatroomId::get),
        former_owner = facts.former_owner.map(ChatterId::get),
        reason = facts.reason,
    );
}

/// The refusals of the current minute.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    lines: u32,
    by_address: HashMap<IpAddr, Counted>,
    elsewhere: u64,
}

#[derive(Debug, Default)]
struct Counted {
    lines: u32,
    unlogged: u64,
}

/// Refusals that got no line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unlogged {
    by_address: Vec<(IpAddr, u64)>,
    elsewhere: u64,
}

impl Refusals {
    /// Counts one; whether it gets a line.
    fn count(&mut self, from: IpAddr, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let from = network(from);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&from) {
            self.elsewhere += 1;
            return false;
        }
        let counted = self.by_address.entry(from).or_default();
        let logged = counted.lines < LINES_OF_ADDRESS && self.lines < LINES_OF_ALL;
        if logged {
            counted.lines += 1;
            self.lines += 1;
        } else {
            counted.unlogged += 1;
        }
        logged
    }

    /// The counts of the minute; the next one begins.
    fn take(&mut self) -> Unlogged {
        let ended = std::mem::take(self);
        let unlogged = ended.by_address.into_iter().map(|(from, counted)| (from, counted.unlogged));
        let mut by_address: Vec<(IpAddr, u64)> = unlogged.filter(|(_, count)| *count > 0).collect();
        by_address.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest = by_address.split_off(by_address.len().min(COUNTS_MAX));
        let elsewhere = ended.elsewhere + rest.into_iter().map(|(_, count)| count).sum::<u64>();
        Unlogged { by_address, elsewhere }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn e11_a_flood_from_one_address_gets_ten_lines_a_minute_and_a_count() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!((0..1_000).filter(|_| refusals.count(address(1), now)).count(), 10);
        assert!(refusals.count(address(2), now), "another address has lines of its own");
        let unlogged = refusals.take();
        assert_eq!(unlogged, Unlogged { by_address: vec![(address(1), 990)], elsewhere: 0 });
        assert!(refusals.count(address(1), now + WINDOW), "the next minute");
    }

    #[test]
    fn e11_a_flood_from_many_addresses_is_bounded_in_lines_and_memory() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let logged = (0..100_000).filter(|n| refusals.count(address(*n), now)).count();
        assert_eq!((logged, refusals.by_address.len()), (600, ADDRESSES_MAX));
        let unlogged = refusals.take();
        let counted = unlogged.by_address.iter().map(|(_, count)| count).sum::<u64>() + unlogged.elsewhere;
        assert_eq!((unlogged.by_address.len(), counted), (COUNTS_MAX, 100_000 - 600));
    }
}
