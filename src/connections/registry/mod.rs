//! This instance's live sockets, found by chatter: one concurrent map, filled by the sessions, read by the rooms.

mod presence_changes;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use presence_changes::Changed;

use super::connection::{Connection, Made};
use crate::broker::{Broker, ClusterMessage, Durability, State};
use crate::domain::{ChatroomId, ChatterId, SignInId, Version};
use crate::limits::network;
use crate::metrics::DeliveryMetrics;
use crate::problem::Code;
use crate::websocket::framing::{Close, text_of};

/// The sockets of every chatter who is connected here.
pub struct ConnectionRegistry {
    by_chatter: DashMap<ChatterId, Vec<Arc<Connection>>>,
    count: AtomicUsize,
    /// The most sockets a chatter may have; 0 = no limit.
    per_chatter_max: usize,
    /// The instance is about to end: no new chats.
    closed_to_chats: AtomicBool,
    /// Device sockets that nobody has signed in on yet, by the peer's address.
    unsigned: DashMap<IpAddr, Vec<Arc<Connection>>>,
    changed: Changed,
    broker: Arc<dyn Broker>,
    metrics: Arc<DeliveryMetrics>,
}

/// Device sockets that one address may have before anybody signs in on them.
pub const UNSIGNED_MAX: usize = 20;

impl ConnectionRegistry {
    /// No sockets yet; of a chatter's, at most so many live (0 = no limit).
    #[must_use]
    pub fn new(per_chatter_max: usize, broker: Arc<dyn Broker>) -> Self {
        Self {
            by_chatter: DashMap::new(),
            count: AtomicUsize::new(0),
            per_chatter_max,
            closed_to_chats: AtomicBool::new(false),
            unsigned: DashMap::new(),
            changed: Changed::default(),
            broker,
            metrics: Arc::new(DeliveryMetrics::new(Code::ALL.len(), Close::ALL.len())),
        }
    }

    /// How the other instances are told.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// What is counted, by rooms and sockets too.
    #[must_use]
    pub fn metrics(&self) -> &Arc<DeliveryMetrics> {
        &self.metrics
    }

    /// Adds a socket; where that is one too many, the chatter's oldest is closed 4409. The answer comes when the instance
    /// hears what others do for this chatter, or should not be waited for any longer: only then the database may be read.
    pub fn add(&self, connection: Arc<Connection>) -> impl Future<Output = bool> + use<> {
        let chatter_id = connection.chatter_id;
        let heard = self.broker.subscribe(chatter_id);
        let first;
        let oldest = {
            let mut connections = self.by_chatter.entry(connection.chatter_id).or_default();
            connections.push(connection);
            first = connections.len() == 1;
            let full = self.per_chatter_max != 0 && connections.len() > self.per_chatter_max;
            if full { Some(connections.remove(0)) } else { None }
        };
        match oldest {
            Some(oldest) => {
                self.broker.unsubscribe(chatter_id);
                oldest.close(Close::REPLACED);
            }
            None => drop(self.count.fetch_add(1, Ordering::Relaxed)),
        }
        if first {
            self.broker.join(chatter_id);
            self.presence_changed([chatter_id]);
        }
        heard
    }

    /// Adds a device socket that nobody has signed in on; false if its address has too many of them already.
    #[must_use]
    pub fn add_unsigned(&self, address: IpAddr, connection: Arc<Connection>) -> bool {
        let mut connections = self.unsigned.entry(network(address)).or_default();
        let taken = connections.len() < UNSIGNED_MAX;
        if taken {
            connections.push(connection);
        }
        taken
    }

    /// Takes it out: somebody signed in, or it ended.
    pub fn remove_unsigned(&self, address: IpAddr, connection: &Connection) {
        self.unsigned.remove_if_mut(&network(address), |_, connections| {
            connections.retain(|other| other.id != connection.id);
            connections.is_empty()
        });
    }

    /// Takes a socket out; called once by its session when it ends.
    pub fn remove(&self, connection: &Connection) {
        let mut found = false;
        let last = self.by_chatter.remove_if_mut(&connection.chatter_id, |_, connections| {
            let before = connections.len();
            connections.retain(|other| other.id != connection.id);
            found = connections.len() < before;
            connections.is_empty()
        });
        if found {
            self.broker.unsubscribe(connection.chatter_id);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        if last.is_some() {
            self.broker.leave(connection.chatter_id);
            self.presence_changed([connection.chatter_id]);
        }
    }

    /// Calls `f` with each socket of this chatter.
    pub fn for_each(&self, chatter_id: ChatterId, f: impl FnMut(&Arc<Connection>)) {
        if let Some(connections) = self.by_chatter.get(&chatter_id) {
            connections.iter().for_each(f);
        }
    }

    /// The room of these two is at this version: their sockets here that were given less read the database.
    pub fn look(&self, room: ChatroomId, pair: [ChatterId; 2], version: Version) {
        each_once(&pair).for_each(|chatter| self.for_each(*chatter, |connection| connection.look(room, version)));
    }

    /// Queues a frame on each device socket of this chatter, behind its `ready`, on all instances.
    pub fn send_durable(&self, chatter_id: ChatterId, frame: &Bytes) {
        self.publish(chatter_id, frame, Durability::Durable);
    }

    /// The same, of something that nobody misses.
    pub fn send_ephemeral(&self, chatter_id: ChatterId, frame: &Bytes) {
        self.publish(chatter_id, frame, Durability::Ephemeral);
    }

    fn publish(&self, chatter_id: ChatterId, frame: &Bytes, durability: Durability) {
        self.send_here(chatter_id, frame, durability);
        self.broker.publish(ClusterMessage::Frame { chatter_id, text: text_of(frame), durability });
    }

    /// Queues on each device socket that this chatter has on this instance that a room is new.
    pub fn send_room_created_here(&self, chatter_id: ChatterId, room: ChatroomId, made: &Made) {
        self.for_each(chatter_id, |connection| connection.room_created(room, made));
    }

    /// Queues a frame on each device socket that this chatter has on this instance.
    pub fn send_here(&self, chatter_id: ChatterId, frame: &Bytes, durability: Durability) {
        self.for_each(chatter_id, |connection| match durability {
            Durability::Ephemeral => connection.send_ephemeral(frame),
            Durability::Durable => connection.send_durable(frame),
        });
    }

    /// Whether the chatter may have a device socket: on this instance, or where others cannot be seen.
    #[must_use]
    pub fn may_have_device(&self, chatter_id: ChatterId) -> bool {
        self.broker.state() != State::Single
            || self
                .by_chatter
                .get(&chatter_id)
                .is_some_and(|connections| connections.iter().any(|connection| connection.is_device()))
    }

    /// The chatter's sign-ins ended, but for this one: closes their sockets on all instances. A token without a sign-in
    /// stands for the chatter alone.
    pub fn end_sign_ins(&self, chatter_id: ChatterId, keep: Option<SignInId>) {
        let ended = |connection: &Connection| connection.sign_in_id().is_some() && connection.sign_in_id() != keep;
        self.close_of(chatter_id, Close::TOKEN_REFUSED, ended);
        self.broker.publish(ClusterMessage::AccessEnded { chatter_id });
    }

    /// The account is gone: closes its sockets on all instances.
    pub fn end_account(&self, chatter_id: ChatterId) {
        self.close_of(chatter_id, Close::TOKEN_REFUSED, |_| true);
        self.broker.publish(ClusterMessage::AccessEnded { chatter_id });
    }

    /// The chatters who are connected here.
    #[must_use]
    pub fn chatters(&self) -> Vec<ChatterId> {
        self.by_chatter.iter().map(|connections| *connections.key()).collect()
    }

    /// Whether the chatter has any live socket on this instance.
    #[must_use]
    pub fn is_connected_here(&self, chatter_id: ChatterId) -> bool {
        self.by_chatter.contains_key(&chatter_id)
    }

    /// Who of these has a live socket on any instance; where the others cannot be asked, on this one.
    pub async fn connected(&self, chatters: &[ChatterId]) -> HashSet<ChatterId> {
        let (here, others): (Vec<_>, Vec<_>) = chatters.iter().copied().partition(|id| self.is_connected_here(*id));
        let elsewhere = self.broker.connected_elsewhere(&others).await.unwrap_or_default();
        here.into_iter().chain(elsewhere).collect()
    }

    /// How many sockets are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Closes the chatter's sockets for which `which` says so.
    fn close_of(&self, chatter_id: ChatterId, close: Close, which: impl Fn(&Connection) -> bool) {
        let chosen = self.of(chatter_id).into_iter().filter(|connection| which(connection));
        chosen.for_each(|connection| connection.close(close));
    }

    /// A room is gone: closes its seed sockets and tells the device sockets, on all instances.
    pub fn close_room(&self, chatroom_id: ChatroomId, chatters: [ChatterId; 2]) {
        self.close_room_here(chatroom_id, chatters);
        self.broker.publish(ClusterMessage::RoomDeleted { chatroom_id, chatters });
    }

    /// The same on this instance.
    pub fn close_room_here(&self, chatroom_id: ChatroomId, chatters: [ChatterId; 2]) {
        for connection in each_once(&chatters).flat_map(|chatter_id| self.of(*chatter_id)) {
            if connection.chatroom_id() == Some(chatroom_id) {
                connection.close(Close::ROOM_GONE);
            } else {
                connection.room_ended(chatroom_id);
            }
        }
    }

    /// Every socket.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Connection>> {
        // In this order: who signs in meanwhile is found by chatter before they leave the unsigned.
        let mut all: Vec<Arc<Connection>> =
            self.unsigned.iter().flat_map(|connections| connections.value().clone()).collect();
        all.extend(self.by_chatter.iter().flat_map(|connections| connections.value().clone()));
        all
    }

    /// Closes every socket; at shutdown.
    pub fn close_all(&self, close: Close) {
        self.all().iter().for_each(|connection| connection.close(close));
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

    fn of(&self, chatter_id: ChatterId) -> Vec<Arc<Connection>> {
        self.by_chatter.get(&chatter_id).map(|connections| connections.clone()).unwrap_or_default()
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

    fn connection(chatter: i64, room: i64) -> Arc<Connection> {
        let (out, body) = OutQueue::new(1_000, Arc::default());
        std::mem::forget(body);
        Arc::new(Connection::chatroom(chatter.into(), None, room.into(), false, out))
    }

    #[test]
    fn one_socket_too_many_replaces_the_oldest() {
        let registry = ConnectionRegistry::new(2, crate::broker::single());
        let connections: Vec<_> = (1..=3).map(|room| connection(7, room)).collect();
        connections.iter().for_each(|l| drop(registry.add(l.clone())));
        assert!(connections[0].out.is_closing());
        assert!(!connections[1].out.is_closing());
        assert_eq!(registry.count(), 2);
        connections.iter().for_each(|l| registry.remove(l));
        assert_eq!(registry.count(), 0);
        assert!(!registry.is_connected_here(ChatterId::new(7)));
    }

    #[test]
    fn only_the_sockets_of_a_deleted_room_are_closed() {
        let connections = ConnectionRegistry::new(0, crate::broker::single());
        let (gone, stays) = (connection(7, 1), connection(7, 2));
        [&gone, &stays].into_iter().for_each(|l| drop(connections.add(l.clone())));
        connections.close_room(ChatroomId::new(1), [7, 8].map(ChatterId::new));
        assert!(gone.out.is_closing() && !stays.out.is_closing());
    }
}
