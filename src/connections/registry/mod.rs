//! This instance's live sockets, found by chatter: one concurrent map, filled by the sessions, read by the rooms.

mod presence_changes;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use presence_changes::Changed;

use super::connection::{Link, Made};
use crate::broker::{About, Relay, State, Told};
use crate::domain::{ChatroomId, ChatterId, Version};
use crate::limits::network;
use crate::metrics::delivery::Tally;
use crate::websocket::framing::{Close, text_of};

/// The sockets of every chatter who is connected here.
pub struct Sessions {
    by_chatter: DashMap<ChatterId, Vec<Arc<Link>>>,
    count: AtomicUsize,
    /// The most sockets a chatter may have; 0 = no limit.
    per_chatter_max: usize,
    /// The instance is about to end: no new chats.
    closed_to_chats: AtomicBool,
    /// Device sockets that nobody has signed in on yet, by the peer's address.
    unsigned: DashMap<IpAddr, Vec<Arc<Link>>>,
    changed: Changed,
    relay: Relay,
    tally: Arc<Tally>,
}

/// Device sockets that one address may have before anybody signs in on them.
pub const UNSIGNED_MAX: usize = 20;

impl Sessions {
    /// No sockets yet; of a chatter's, at most so many live (0 = no limit).
    #[must_use]
    pub fn new(per_chatter_max: usize, relay: Relay) -> Self {
        Self {
            by_chatter: DashMap::new(),
            count: AtomicUsize::new(0),
            per_chatter_max,
            closed_to_chats: AtomicBool::new(false),
            unsigned: DashMap::new(),
            changed: Changed::default(),
            relay,
            tally: Arc::default(),
        }
    }

    /// How the other instances are told.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// What is counted, by rooms and sockets too.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Adds a socket; where that is one too many, the chatter's oldest is closed 4409. The answer comes when the instance
    /// hears what others do for this chatter, or should not be waited for any longer: only then the database may be read.
    pub fn add(&self, link: Arc<Link>) -> impl Future<Output = bool> + use<> {
        let chatter_id = link.chatter_id;
        let heard = self.relay.listen(chatter_id);
        let first;
        let oldest = {
            let mut links = self.by_chatter.entry(link.chatter_id).or_default();
            links.push(link);
            first = links.len() == 1;
            let full = self.per_chatter_max != 0 && links.len() > self.per_chatter_max;
            if full { Some(links.remove(0)) } else { None }
        };
        match oldest {
            Some(oldest) => {
                self.relay.unlisten(chatter_id);
                oldest.close(Close::REPLACED);
            }
            None => drop(self.count.fetch_add(1, Ordering::Relaxed)),
        }
        if first {
            self.relay.came(chatter_id);
            self.came_or_went([chatter_id]);
        }
        heard
    }

    /// Adds a device socket that nobody has signed in on; false if its address has too many of them already.
    #[must_use]
    pub fn add_unsigned(&self, address: IpAddr, link: Arc<Link>) -> bool {
        let mut links = self.unsigned.entry(network(address)).or_default();
        let taken = links.len() < UNSIGNED_MAX;
        if taken {
            links.push(link);
        }
        taken
    }

    /// Takes it out: somebody signed in, or it ended.
    pub fn remove_unsigned(&self, address: IpAddr, link: &Link) {
        self.unsigned.remove_if_mut(&network(address), |_, links| {
            links.retain(|other| other.id != link.id);
            links.is_empty()
        });
    }

    /// Takes a socket out; called once by its session when it ends.
    pub fn remove(&self, link: &Link) {
        let mut found = false;
        let last = self.by_chatter.remove_if_mut(&link.chatter_id, |_, links| {
            let before = links.len();
            links.retain(|other| other.id != link.id);
            found = links.len() < before;
            links.is_empty()
        });
        if found {
            self.relay.unlisten(link.chatter_id);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        if last.is_some() {
            self.relay.went(link.chatter_id);
            self.came_or_went([link.chatter_id]);
        }
    }

    /// Calls `f` with each socket of this chatter.
    pub fn each(&self, chatter_id: ChatterId, f: impl FnMut(&Arc<Link>)) {
        if let Some(links) = self.by_chatter.get(&chatter_id) {
            links.iter().for_each(f);
        }
    }

    /// The room of these two is at this version: their sockets here that were given less read the database.
    pub fn look(&self, room: ChatroomId, pair: [ChatterId; 2], version: Version) {
        each_once(&pair).for_each(|chatter| self.each(*chatter, |link| link.look(room, version)));
    }

    /// Queues a frame on each device socket of this chatter, behind its `ready`, on all instances.
    pub fn announce(&self, chatter_id: ChatterId, frame: &Bytes) {
        self.tell(chatter_id, frame, About::Lasting);
    }

    /// The same, of something that nobody misses.
    pub fn mention(&self, chatter_id: ChatterId, frame: &Bytes) {
        self.tell(chatter_id, frame, About::Passing);
    }

    fn tell(&self, chatter_id: ChatterId, frame: &Bytes, about: About) {
        self.tell_here(chatter_id, frame, about);
        self.relay.tell(Told::Frame { chatter_id, text: text_of(frame), about });
    }

    /// Queues on each device socket that this chatter has on this instance that a room is new.
    pub fn tell_of_room_here(&self, chatter_id: ChatterId, room: ChatroomId, made: &Made) {
        self.each(chatter_id, |link| link.room_made(room, made));
    }

    /// Queues a frame on each device socket that this chatter has on this instance.
    pub fn tell_here(&self, chatter_id: ChatterId, frame: &Bytes, about: About) {
        self.each(chatter_id, |link| match about {
            About::Passing => link.mention(frame),
            About::Lasting => link.announce(frame),
        });
    }

    /// Whether the chatter may have a device socket: on this instance, or where others cannot be seen.
    #[must_use]
    pub fn may_have_device(&self, chatter_id: ChatterId) -> bool {
        self.relay.state() != State::Single
            || self.by_chatter.get(&chatter_id).is_some_and(|links| links.iter().any(|link| link.is_device()))
    }

    /// The chatter's sign-ins ended, but for this one: closes their sockets on all instances. A token without a sign-in
    /// stands for the chatter alone.
    pub fn signed_out(&self, chatter_id: ChatterId, keep: Option<i64>) {
        let ended = |link: &Link| link.sign_in_id().is_some() && link.sign_in_id() != keep;
        self.close_of(chatter_id, Close::TOKEN_REFUSED, ended);
        self.relay.tell(Told::AccessEnded { chatter_id });
    }

    /// The account is gone: closes its sockets on all instances.
    pub fn account_gone(&self, chatter_id: ChatterId) {
        self.close_of(chatter_id, Close::TOKEN_REFUSED, |_| true);
        self.relay.tell(Told::AccessEnded { chatter_id });
    }

    /// The chatters who are connected here.
    #[must_use]
    pub fn chatters(&self) -> Vec<ChatterId> {
        self.by_chatter.iter().map(|links| *links.key()).collect()
    }

    /// Whether the chatter has any live socket on this instance.
    #[must_use]
    pub fn is_here(&self, chatter_id: ChatterId) -> bool {
        self.by_chatter.contains_key(&chatter_id)
    }

    /// Who of these has a live socket on any instance; where the others cannot be asked, on this one.
    pub async fn connected(&self, chatters: &[ChatterId]) -> HashSet<ChatterId> {
        let (here, others): (Vec<_>, Vec<_>) = chatters.iter().copied().partition(|id| self.is_here(*id));
        let elsewhere = self.relay.elsewhere(&others).await.unwrap_or_default();
        here.into_iter().chain(elsewhere).collect()
    }

    /// How many sockets are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Closes the chatter's sockets for which `which` says so.
    fn close_of(&self, chatter_id: ChatterId, close: Close, which: impl Fn(&Link) -> bool) {
        let chosen = self.of(chatter_id).into_iter().filter(|link| which(link));
        chosen.for_each(|link| link.close(close));
    }

    /// A room is gone: closes its seed sockets and tells the device sockets, on all instances.
    pub fn close_room(&self, chatroom_id: ChatroomId, chatters: [ChatterId; 2]) {
        self.close_room_here(chatroom_id, chatters);
        self.relay.tell(Told::RoomGone { chatroom_id, chatters });
    }

    /// The same on this instance.
    pub fn close_room_here(&self, chatroom_id: ChatroomId, chatters: [ChatterId; 2]) {
        for link in each_once(&chatters).flat_map(|chatter_id| self.of(*chatter_id)) {
            if link.seed_room() == Some(chatroom_id) {
                link.close(Close::ROOM_GONE);
            } else {
                link.room_ended(chatroom_id);
            }
        }
    }

    /// Every socket.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Link>> {
        // In this order: who signs in meanwhile is found by chatter before they leave the unsigned.
        let mut all: Vec<Arc<Link>> = self.unsigned.iter().flat_map(|links| links.value().clone()).collect();
        all.extend(self.by_chatter.iter().flat_map(|links| links.value().clone()));
        all
    }

    /// Closes every socket; at shutdown.
    pub fn close_all(&self, close: Close) {
        self.all().iter().for_each(|link| link.close(close));
    }

    /// The instance is about to end: new chats are refused.
    pub fn stop_taking(&self) {
        self.closed_to_chats.store(true, Ordering::Relaxed);
    }

    /// Whether chats are still taken.
    #[must_use]
    pub fn takes_chats(&self) -> bool {
        !self.closed_to_chats.load(Ordering::Relaxed)
    }

    fn of(&self, chatter_id: ChatterId) -> Vec<Arc<Link>> {
        self.by_chatter.get(&chatter_id).map(|links| links.clone()).unwrap_or_default()
    }
}

/// The two of a room; with oneself that is one.
fn each_once(pair: &[ChatterId; 2]) -> impl Iterator<Item = &ChatterId> {
    pair.iter().take(if pair[0] == pair[1] { 1 } else { 2 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::out_queue::OutQueue;

    fn link(chatter: ChatterId, room: ChatroomId) -> Arc<Link> {
        let (out, body) = OutQueue::new(1_000, Arc::default());
        std::mem::forget(body);
        Arc::new(Link::seed(chatter, None, room, false, out))
    }

    #[test]
    fn one_socket_too_many_replaces_the_oldest() {
        let sessions = Sessions::new(2, Relay::single());
        let links: Vec<_> = (1..=3).map(|room| link(7, room)).collect();
        links.iter().for_each(|l| drop(sessions.add(l.clone())));
        assert!(links[0].out.is_closing());
        assert!(!links[1].out.is_closing());
        assert_eq!(sessions.count(), 2);
        links.iter().for_each(|l| sessions.remove(l));
        assert_eq!(sessions.count(), 0);
        assert!(!sessions.is_here(7));
    }

    #[test]
    fn only_the_sockets_of_a_deleted_room_are_closed() {
        let sessions = Sessions::new(0, Relay::single());
        let (gone, stays) = (link(7, 1), link(7, 2));
        [&gone, &stays].into_iter().for_each(|l| drop(sessions.add(l.clone())));
        sessions.close_room(1, [7, 8]);
        assert!(gone.out.is_closing() && !stays.out.is_closing());
    }
}
