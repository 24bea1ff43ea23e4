//! The addresses from which an account has signed in lately: a device there is known to the account.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::rate::drop_lower_half;

/// How long a sign-in makes its address known.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Accounts that are remembered. Beyond them the half that signed in longest ago is forgotten: those devices count as
/// unknown until their next sign-in.
const ACCOUNTS_MAX: usize = 65_536;
/// Addresses of one account; one more replaces the one that was used longest ago.
const ADDRESSES_MAX: usize = 8;

/// Addresses by account, each with its last sign-in.
#[derive(Default)]
pub(super) struct KnownAddresses(Mutex<HashMap<u64, Vec<(IpAddr, Duration)>>>);

impl KnownAddresses {
    pub(super) fn remember(&self, account: u64, address: IpAddr, now: Duration) {
        let mut accounts = self.0.lock();
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(&account) {
            drop_lower_half(&mut accounts, |addresses| last(addresses));
        }
        let addresses = accounts.entry(account).or_default();
        addresses.retain(|(known, _)| *known != address);
        if addresses.len() >= ADDRESSES_MAX {
            // In the order of their last sign-ins.
            addresses.remove(0);
        }
        addresses.push((address, now));
    }

    pub(super) fn contains(&self, account: u64, address: IpAddr, now: Duration) -> bool {
        let accounts = self.0.lock();
        let addresses = accounts.get(&account).map(Vec::as_slice).unwrap_or_default();
        addresses.iter().any(|(known, at)| *known == address && now < *at + KNOWN_FOR)
    }

    pub(super) fn forget_old(&self, now: Duration) {
        self.0.lock().retain(|_, addresses| now < last(addresses) + KNOWN_FOR);
    }
}

fn last(addresses: &[(IpAddr, Duration)]) -> Duration {
    addresses.last().map(|(_, at)| *at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn an_address_is_known_for_a_month_and_to_its_account_only() {
        let known = KnownAddresses::default();
        known.remember(1, address(1), Duration::ZERO);
        assert!(known.contains(1, address(1), KNOWN_FOR / 2));
        assert!(!known.contains(1, address(1), KNOWN_FOR));
        assert!(!known.contains(2, address(1), Duration::ZERO) && !known.contains(1, address(2), Duration::ZERO));
        known.forget_old(KNOWN_FOR);
        assert!(known.0.lock().is_empty());
    }

    #[test]
    fn the_memory_is_bounded_by_account_and_in_all() {
        let known = KnownAddresses::default();
        let at = |n: u32| Duration::from_secs(u64::from(n));
        for n in 0..100 {
            known.remember(1, address(n), at(n));
        }
        let of_one = (0..100).filter(|n| known.contains(1, address(*n), at(100))).count();
        assert!(of_one == ADDRESSES_MAX && known.contains(1, address(99), at(100)));
        for n in 0..200_000 {
            known.remember(u64::from(n) + 2, address(n), at(n + 100));
        }
        assert!(known.0.lock().len() <= ACCOUNTS_MAX);
        assert!(known.contains(200_001, address(199_999), at(200_100)), "the latest stay");
    }
}
