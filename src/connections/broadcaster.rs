//! Sends frames to a chatter's sockets on all instances, and closes them: on this one at once, on the others through
//! the broker.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::Connection;
use super::registry::ConnectionRegistry;
use crate::broker::{Broker, ClusterMessage, Durability, State};
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, Grant, SignInId};
use crate::websocket::framing::{Close, text_of};

/// Reaches a chatter's sockets wherever they are.
#[derive(Clone)]
pub struct Broadcaster {
    connections: Arc<ConnectionRegistry>,
    broker: Arc<dyn Broker>,
}

impl Broadcaster {
    /// Reaches the sockets of this registry, and by this broker those of the other instances.
    #[must_use]
    pub fn new(connections: Arc<ConnectionRegistry>, broker: Arc<dyn Broker>) -> Self {
        Self { connections, broker }
    }

    /// Queues a frame that must arrive on each device socket of this chatter.
    pub fn send_durable(&self, chatter_id: ChatterId, frame: &Bytes) {
        self.send(chatter_id, frame, Durability::Durable);
    }

    /// Queues a frame that may be lost on each device socket of this chatter.
    pub fn send_ephemeral(&self, chatter_id: ChatterId, frame: &Bytes) {
        self.send(chatter_id, frame, Durability::Ephemeral);
    }

    fn send(&self, chatter_id: ChatterId, frame: &Bytes, durability: Durability) {
        self.connections.send(chatter_id, frame, durability);
        self.broker.publish(ClusterMessage::Frame { chatter_id, text: text_of(frame), durability });
    }

    /// All tokens of the chatter have ended, except this one and, if it names no sign-in, those that are no older: closes
    /// their sockets.
    pub fn end_other_tokens(&self, chatter_id: ChatterId, keep: Grant) {
        let before = Some(keep.ends_all_but_own_before(Micros::now()));
        let has_ended = |connection: &Connection| match connection.grant() {
            Grant::SignIn(id) => Some(id) != keep.sign_in_id(),
            issued @ Grant::Issued(_) => issued.is_void(before),
        };
        self.connections.close_of(chatter_id, Close::TOKEN_REFUSED, has_ended);
        self.broker.publish(ClusterMessage::AccessEnded { chatter_id });
    }

    /// These sign-ins of the chatter have ended: closes their sockets.
    pub fn end_these_sign_ins(&self, chatter_id: ChatterId, ended: &[SignInId]) {
        let has_ended = |connection: &Connection| connection.grant().sign_in_id().is_some_and(|id| ended.contains(&id));
        self.connections.close_of(chatter_id, Close::TOKEN_REFUSED, has_ended);
        self.broker.publish(ClusterMessage::AccessEnded { chatter_id });
    }

    /// The chatter's tokens without a sign-in that were issued before this time have ended: closes their sockets.
    pub fn end_tokens_before(&self, chatter_id: ChatterId, before: Micros) {
        let has_ended = |connection: &Connection| connection.grant().is_void(Some(before));
        self.connections.close_of(chatter_id, Close::TOKEN_REFUSED, has_ended);
        self.broker.publish(ClusterMessage::AccessEnded { chatter_id });
    }

    /// The account was deleted: closes its sockets.
    pub fn end_account(&self, chatter_id: ChatterId) {
        self.connections.close_of(chatter_id, Close::TOKEN_REFUSED, |_| true);
        self.broker.publish(ClusterMessage::AccessEnded { chatter_id });
    }

    /// The room was deleted: closes its chatroom sockets, and sends the device sockets of both chatters a frame.
    pub fn close_room(&self, chatroom_id: ChatroomId, chatters: [ChatterId; 2]) {
        self.connections.close_room(chatroom_id, chatters);
        self.broker.publish(ClusterMessage::RoomDeleted { chatroom_id, chatters });
    }

    /// Whether the chatter may have a device socket: one here, or any on another instance.
    #[must_use]
    pub fn may_have_device(&self, chatter_id: ChatterId) -> bool {
        self.broker.state() != State::Single || self.connections.has_device(chatter_id)
    }

    /// Those of these chatters who have a live socket on any instance. While the presence directory does not answer,
    /// those who have one on this instance.
    pub async fn connected(&self, chatters: &[ChatterId]) -> HashSet<ChatterId> {
        let (here, others): (Vec<_>, Vec<_>) =
            chatters.iter().copied().partition(|id| self.connections.is_connected_here(*id));
        let elsewhere = self.broker.connected_elsewhere(&others).await.unwrap_or_default();
        here.into_iter().chain(elsewhere).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::chatroom::{ChatroomConnection, Subscription};
    use crate::connections::socket::Socket;
    use crate::websocket::out_queue::OutQueue;

    fn connection(room: i64) -> Connection {
        let (out, body) = OutQueue::new(1_000);
        std::mem::forget(body);
        let socket = Socket::new(out, Arc::default());
        Connection::Chatroom(Arc::new(ChatroomConnection::new(
            ChatterId::new(7),
            Grant::Issued(None),
            room.into(),
            Subscription::NewChats,
            socket,
        )))
    }

    #[test]
    fn only_the_sockets_of_a_deleted_room_are_closed() {
        let connections = Arc::new(ConnectionRegistry::new(0));
        let (of_deleted, of_other) = (connection(1), connection(2));
        [&of_deleted, &of_other].into_iter().for_each(|connection| {
            let _ = connections.add(connection.clone());
        });
        Broadcaster::new(connections, crate::broker::single())
            .close_room(ChatroomId::new(1), [7, 8].map(ChatterId::new));
        assert!(of_deleted.socket().out().is_closing() && !of_other.socket().out().is_closing());
    }
}
