//! The live sockets of this instance, by chatter: one concurrent map, which sessions fill and rooms read.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use super::Connection;
use super::device::RoomAnnouncement;
use super::socket::{ConnectionId, Socket};
use super::unsigned::UnsignedConnection;
use crate::broker::Durability;
use crate::domain::{ChatroomId, ChatterId, Version};
use crate::limits::network;
use crate::websocket::framing::Close;

/// Unsigned sockets that one address may have.
pub const UNSIGNED_MAX: usize = 20;

/// The sockets that are open on this instance.
pub struct ConnectionRegistry {
    by_chatter: DashMap<ChatterId, Vec<Connection>>,
    /// Device sockets without a chatter, by the peer's network.
    unsigned: DashMap<IpAddr, Vec<Arc<UnsignedConnection>>>,
    /// Sockets in `by_chatter`.
    count: AtomicUsize,
    /// The most sockets that a chatter may have; 0 means no limit.
    per_chatter_max: usize,
}

/// A socket of the registry, whether or not a chatter has signed in on it.
pub enum OpenSocket {
    /// A device or chatroom socket of a chatter.
    SignedIn(Connection),
    /// A device socket before sign-in.
    Unsigned(Arc<UnsignedConnection>),
}

impl OpenSocket {
    /// Closes it with this code.
    pub fn close(&self, close: Close) {
        let socket: &Socket = match self {
            Self::SignedIn(connection) => connection.socket(),
            Self::Unsigned(connection) => connection.socket(),
        };
        socket.close(close);
    }
}

/// What has changed by adding a socket.
pub struct Added {
    /// Whether it is the chatter's only socket.
    pub is_first: bool,
    /// The chatter's oldest socket, which was removed because there was one too many.
    pub replaced: Option<Connection>,
}

/// What has changed by removing a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was not in the registry.
    Absent,
    /// It was removed, and the chatter has other sockets on this instance.
    OthersRemain,
    /// It was the chatter's last socket.
    Last,
}

/// The address has too many unsigned sockets.
#[derive(Clone, Copy, Debug)]
pub struct TooManyUnsigned;

impl ConnectionRegistry {
    /// An empty registry with a limit of sockets per chatter (0 means no limit).
    #[must_use]
    pub fn new(per_chatter_max: usize) -> Self {
        Self { by_chatter: DashMap::new(), unsigned: DashMap::new(), count: AtomicUsize::new(0), per_chatter_max }
    }

    /// Adds a chatter's socket; if there is one too many, the oldest is removed.
    pub fn add(&self, connection: Connection) -> Added {
        // Most chatters have one socket.
        let mut connections = self.by_chatter.entry(connection.chatter_id()).or_insert_with(|| Vec::with_capacity(1));
        connections.push(connection);
        let is_first = connections.len() == 1;
        if self.per_chatter_max != 0 && connections.len() > self.per_chatter_max {
            return Added { is_first, replaced: Some(connections.remove(0)) };
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Added { is_first, replaced: None }
    }

    /// Removes a chatter's socket.
    pub fn remove(&self, connection: &Connection) -> Removal {
        let id = connection.socket().id();
        let mut is_found = false;
        let emptied = self.by_chatter.remove_if_mut(&connection.chatter_id(), |_, connections| {
            let before = connections.len();
            connections.retain(|other| other.socket().id() != id);
            is_found = connections.len() < before;
            connections.is_empty()
        });
        if is_found {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        match (is_found, emptied) {
            (_, Some(_)) => Removal::Last,
            (true, None) => Removal::OthersRemain,
            (false, None) => Removal::Absent,
        }
    }

    /// Adds a socket without a chatter, unless its address has too many of them.
    pub fn add_unsigned(&self, address: IpAddr, connection: Arc<UnsignedConnection>) -> Result<(), TooManyUnsigned> {
        let mut connections = self.unsigned.entry(network(address)).or_default();
        if connections.len() >= UNSIGNED_MAX {
            return Err(TooManyUnsigned);
        }
        connections.push(connection);
        Ok(())
    }

    /// Removes a socket without a chatter: a chatter has signed in on it, or it has ended.
    pub fn remove_unsigned(&self, address: IpAddr, id: ConnectionId) {
        self.unsigned.remove_if_mut(&network(address), |_, connections| {
            connections.retain(|other| other.socket().id() != id);
            connections.is_empty()
        });
    }

    /// Calls `f` with each socket of this chatter.
    pub fn for_each(&self, chatter_id: ChatterId, f: impl FnMut(&Connection)) {
        if let Some(connections) = self.by_chatter.get(&chatter_id) {
            connections.iter().for_each(f);
        }
    }

    /// Makes the sockets of these two that were sent less than this version of the room read the database.
    pub fn check_version(&self, room: ChatroomId, pair: [ChatterId; 2], version: Version) {
        each_once(&pair)
            .for_each(|chatter| self.for_each(*chatter, |connection| connection.check_version(room, version)));
    }

    /// Whether the room has to be announced to any device socket of this chatter.
    #[must_use]
    pub fn lacks_announcement(&self, chatter_id: ChatterId, room: ChatroomId) -> bool {
        let mut is_lacking = false;
        self.for_each(chatter_id, |connection| {
            is_lacking |= matches!(connection, Connection::Device(device) if device.lacks_announcement(room));
        });
        is_lacking
    }

    /// Queues the announcement of a new room on each device socket of this chatter.
    pub fn announce_room(&self, chatter_id: ChatterId, room: ChatroomId, announcement: &RoomAnnouncement) {
        self.for_each(chatter_id, |connection| {
            if let Connection::Device(device) = connection {
                device.announce_room(room, announcement);
            }
        });
    }

    /// Queues a frame on each device socket of this chatter.
    pub fn send(&self, chatter_id: ChatterId, frame: &Bytes, durability: Durability) {
        self.for_each(chatter_id, |connection| {
            if let Connection::Device(device) = connection {
                match durability {
                    Durability::Ephemeral => device.send_ephemeral(frame),
                    Durability::Durable => device.send_durable(frame),
                }
            }
        });
    }

    /// Closes those sockets of the chatter that `is_chosen` selects.
    pub fn close_of(&self, chatter_id: ChatterId, close: Close, is_chosen: impl Fn(&Connection) -> bool) {
        let chosen = self.of(chatter_id).into_iter().filter(is_chosen);
        chosen.for_each(|connection| connection.close(close));
    }

    /// The room was deleted: closes its chatroom sockets, and sends the device sockets of both chatters a frame.
    pub fn close_room(&self, chatroom_id: ChatroomId, chatters: [ChatterId; 2]) {
        let connections = each_once(&chatters).flat_map(|chatter_id| self.of(*chatter_id));
        connections.for_each(|connection| connection.room_deleted(chatroom_id));
    }

    /// The chatters who have a live socket here.
    #[must_use]
    pub fn chatters(&self) -> Vec<ChatterId> {
        self.by_chatter.iter().map(|connections| *connections.key()).collect()
    }

    /// Whether the chatter has a live socket here.
    #[must_use]
    pub fn is_connected_here(&self, chatter_id: ChatterId) -> bool {
        self.by_chatter.contains_key(&chatter_id)
    }

    /// Whether the chatter has a device socket here.
    #[must_use]
    pub fn has_device(&self, chatter_id: ChatterId) -> bool {
        let is_device = |connection: &Connection| matches!(connection, Connection::Device(_));
        self.by_chatter.get(&chatter_id).is_some_and(|connections| connections.iter().any(is_device))
    }

    /// How many sockets of chatters are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Every open socket.
    #[must_use]
    pub fn all(&self) -> Vec<OpenSocket> {
        // The unsigned first: a socket on which a chatter signs in meanwhile is added by chatter before it is removed
        // here.
        let mut all = Vec::new();
        for connections in &self.unsigned {
            all.extend(connections.iter().cloned().map(OpenSocket::Unsigned));
        }
        for connections in &self.by_chatter {
            all.extend(connections.iter().cloned().map(OpenSocket::SignedIn));
        }
        all
    }

    /// Closes every socket; at shutdown.
    pub fn close_all(&self, close: Close) {
        self.all().iter().for_each(|socket| socket.close(close));
    }

    /// Closes every socket on which a chatter has signed in.
    pub fn close_signed_in(&self, close: Close) {
        for socket in self.all() {
            if let OpenSocket::SignedIn(connection) = socket {
                connection.close(close);
            }
        }
    }

    /// The chatter's sockets, without a lock on the map.
    fn of(&self, chatter_id: ChatterId) -> Vec<Connection> {
        self.by_chatter.get(&chatter_id).map(|connections| connections.clone()).unwrap_or_default()
    }
}

/// The two chatters of a room, or the one of notes to self.
fn each_once(pair: &[ChatterId; 2]) -> impl Iterator<Item = &ChatterId> {
    pair.iter().take(if pair[0] == pair[1] { 1 } else { 2 })
}
