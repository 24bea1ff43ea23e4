//! The requests that wait for a password hash, in fair turns: by address, and within an address by username.
//!
//! A full queue gives the place of its greediest address, or of the greediest username of that address, to a request
//! that has fewer places. So a flood fills no more than its own share.

use std::collections::VecDeque;
use std::net::IpAddr;

/// For whom a hash is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The address that sent the request: the part of it that counts as one.
    pub address: IpAddr,
    /// The username that the password belongs to.
    pub username: String,
}

/// Where a request got its place from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<T> {
    /// The queue had a free one.
    Free,
    /// From this request, which has lost it.
    Of(T),
    /// There is none: the request itself is given back.
    None(T),
}

/// Requests that wait.
pub(super) struct HashQueue<T> {
    addresses: VecDeque<Address<T>>,
    len: usize,
}

struct Address<T> {
    address: IpAddr,
    names: VecDeque<Name<T>>,
    len: usize,
}

struct Name<T> {
    username: String,
    requests: VecDeque<T>,
}

impl<T> Default for HashQueue<T> {
    fn default() -> Self {
        Self { addresses: VecDeque::new(), len: 0 }
    }
}

impl<T> HashQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a request to a queue that may have `len_max` of them.
    pub(super) fn push(&mut self, by: &Requester, request: T, len_max: usize) -> Place<T> {
        if self.len < len_max {
            self.add(by, request);
            return Place::Free;
        }
        match self.take_from_greediest(by) {
            Some(lost) => {
                self.add(by, request);
                Place::Of(lost)
            }
            None => Place::None(request),
        }
    }

    /// The next request: each address in turn, and of an address each username in turn.
    pub(super) fn pop(&mut self) -> Option<T> {
        let mut address = self.addresses.pop_front()?;
        let mut name = address.names.pop_front()?;
        let request = name.requests.pop_front();
        if !name.requests.is_empty() {
            address.names.push_back(name);
        }
        address.len -= 1;
        self.len -= 1;
        if address.len > 0 {
            self.addresses.push_back(address);
        }
        request
    }

    fn add(&mut self, by: &Requester, request: T) {
        self.len += 1;
        let at = self.addresses.iter().position(|of| of.address == by.address).unwrap_or_else(|| {
            self.addresses.push_back(Address { address: by.address, names: VecDeque::new(), len: 0 });
            self.addresses.len() - 1
        });
        let address = &mut self.addresses[at];
        address.len += 1;
        match address.names.iter_mut().find(|name| name.username == by.username) {
            Some(name) => name.requests.push_back(request),
            None => {
                let requests = VecDeque::from([request]);
                address.names.push_back(Name { username: by.username.clone(), requests });
            }
        }
    }

    /// Takes the newest request of the greediest username of the greediest address, unless the requester would then
    /// have as many places.
    fn take_from_greediest(&mut self, by: &Requester) -> Option<T> {
        let own = self.addresses.iter().find(|of| of.address == by.address);
        let own_len = own.map_or(0, |of| of.len);
        let own_names = own.map_or(0, |of| of.len_of(&by.username));
        let at = (0..self.addresses.len()).max_by_key(|at| self.addresses[*at].len)?;
        let greediest = &mut self.addresses[at];
        let is_own = greediest.len == own_len;
        if !is_own && own_len + 1 >= greediest.len {
            return None;
        }
        let greediest = if is_own { self.addresses.iter_mut().find(|of| of.address == by.address)? } else { greediest };
        let name = (0..greediest.names.len()).max_by_key(|at| greediest.names[*at].requests.len())?;
        if is_own && own_names + 1 >= greediest.names[name].requests.len() {
            return None;
        }
        let lost = greediest.names[name].requests.pop_back();
        if greediest.names[name].requests.is_empty() {
            greediest.names.remove(name);
        }
        greediest.len -= 1;
        self.len -= 1;
        // One with more requests than its rival keeps at least one, so no empty address stays behind.
        lost
    }
}

impl<T> Address<T> {
    fn len_of(&self, username: &str) -> usize {
        self.names.iter().find(|name| name.username == username).map_or(0, |name| name.requests.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MAX: usize = 8;

    fn by(address: u8, username: &str) -> Requester {
        Requester { address: Ipv4Addr::new(10, 0, 0, address).into(), username: username.to_owned() }
    }

    fn popped(queue: &mut HashQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn addresses_take_turns_and_usernames_of_one_address_too() {
        let mut queue = HashQueue::default();
        for (requester, request) in [
            (by(1, "ann"), "ann 1"),
            (by(1, "ann"), "ann 2"),
            (by(1, "bob"), "bob 1"),
            (by(1, "ann"), "ann 3"),
            (by(2, "cat"), "cat 1"),
            (by(2, "cat"), "cat 2"),
        ] {
            assert_eq!(queue.push(&requester, request, MAX), Place::Free);
        }
        assert_eq!(popped(&mut queue), ["ann 1", "cat 1", "bob 1", "cat 2", "ann 2", "ann 3"]);
        assert_eq!((queue.len(), queue.addresses.len()), (0, 0));
    }

    #[test]
    fn a3_a_flood_of_one_address_gives_way_to_the_others_and_refuses_itself() {
        let mut queue = HashQueue::default();
        for _ in 0..MAX {
            assert_eq!(queue.push(&by(1, "ann"), "flood", MAX), Place::Free);
        }
        assert_eq!(queue.push(&by(1, "ann"), "flood", MAX), Place::None("flood"));
        for n in 2..=4 {
            assert_eq!(queue.push(&by(n, "bob"), "first", MAX), Place::Of("flood"));
            assert_eq!(queue.push(&by(1, "ann"), "flood", MAX), Place::None("flood"));
        }
        assert_eq!(queue.push(&by(2, "bob"), "second", MAX), Place::Of("flood"));
        assert_eq!(queue.len(), MAX);
        assert_eq!(popped(&mut queue), ["flood", "first", "first", "first", "flood", "second", "flood", "flood"]);
    }

    #[test]
    fn a3_a_flood_for_one_username_gives_way_to_others_of_the_same_address() {
        let mut queue = HashQueue::default();
        for _ in 0..MAX {
            queue.push(&by(1, "ann"), "flood", MAX);
        }
        assert_eq!(queue.push(&by(1, "bob"), "bob", MAX), Place::Of("flood"));
        assert_eq!(queue.pop(), Some("flood"));
        assert_eq!(queue.pop(), Some("bob"));
    }

    #[test]
    fn a_queue_of_equal_shares_takes_no_more() {
        let mut queue = HashQueue::default();
        for n in 0..MAX {
            queue.push(&by(n as u8, "ann"), "one", MAX);
        }
        assert_eq!(queue.push(&by(99, "ann"), "late", MAX), Place::None("late"));
        assert_eq!(queue.push(&by(1, "bob"), "late", MAX), Place::None("late"));
        assert_eq!(HashQueue::default().push(&by(1, "ann"), "late", 0), Place::None("late"));
    }

    #[test]
    fn no_request_is_lost_or_doubled() {
        let (mut queue, mut inside) = (HashQueue::default(), 0_i64);
        for n in 0..10_000_u32 {
            let random = n.wrapping_mul(2_654_435_761) >> 16;
            if random % 3 == 0 {
                inside -= i64::from(queue.pop().is_some());
            } else {
                let name = ["a", "b", "c"][(random / 7 % 3) as usize];
                inside += i64::from(queue.push(&by((random % 5) as u8, name), n, MAX) == Place::Free);
            }
            assert_eq!(queue.len() as i64, inside);
            assert_eq!(queue.addresses.iter().map(|of| of.len).sum::<usize>(), queue.len());
            assert!(queue.addresses.iter().all(|of| of.len > 0 && of.names.iter().all(|n| !n.requests.is_empty())));
        }
    }
}
