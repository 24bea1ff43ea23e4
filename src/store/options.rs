//! The settings with which `app` opens the store.

use std::time::Duration;

/// How the connections to PostgreSQL are shared out, so that no use can take those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Short transactions: accounts, rooms, pushes.
    pub writes: u32,
    /// What clients read: histories, changes, lists of rooms.
    pub reads: u32,
    /// Rows by their key: tokens, sign-ins, accounts, rooms; and whether the database answers.
    pub lookups: u32,
    /// Pages of a room that a search examines.
    pub search: u32,
}

impl Shares {
    /// The least connections that can be shared out.
    pub const CONNECTIONS_MIN: u32 = 5;

    /// The shares of so many connections; fewer than five count as five.
    #[must_use]
    pub fn of(connections_max: u32) -> Self {
        let all = connections_max.max(Self::CONNECTIONS_MIN);
        let (writes, lookups, search) = ((all * 3 / 10).max(2), all / 5, if all < 20 { 1 } else { 2 });
        Self { writes, reads: all - writes - lookups - search, lookups, search }
    }
}

/// How to open the database.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:…` or `postgres://…`.
    pub url: String,
    /// Bring the schema up to date; otherwise an outdated schema is refused.
    pub migrate: bool,
    /// How long to wait for another instance that is bringing the schema up to date.
    pub migration_wait: Duration,
    /// The most connections to PostgreSQL.
    pub connections_max: u32,
    /// Whether this instance exchanges messages with others, that is, whether REDIS_URL is set.
    pub has_broker: bool,
    /// Start although a crash of the database's machine could lose acknowledged chats.
    pub unsafe_durability: bool,
    /// How long a push waits for the receiver's socket to confirm the chat.
    pub push_grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_has_connections_of_its_own_and_all_are_shared_out() {
        for all in 5..=1_000 {
            let Shares { writes, reads, lookups, search } = Shares::of(all);
            assert!(writes >= 2 && reads >= 1 && lookups >= 1 && (1..=2).contains(&search), "{all}");
            assert_eq!(writes + reads + lookups + search, all);
        }
        assert_eq!(Shares::of(10), Shares { writes: 3, reads: 4, lookups: 2, search: 1 });
        assert_eq!(Shares::of(1), Shares::of(5));
    }
}
