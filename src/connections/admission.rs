//! Adds signed-in sockets to the registry and removes them, and keeps the broker's subscriptions, the presence
//! directory and the presence changes in step.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Connection;
use super::presence_changes::PresenceChanges;
use super::registry::{ConnectionRegistry, Removal};
use crate::broker::Broker;
use crate::websocket::framing::Close;

/// Adds sockets of chatters and removes them.
#[derive(Clone)]
pub struct Admission {
    connections: Arc<ConnectionRegistry>,
    broker: Arc<dyn Broker>,
    presence_changes: Arc<PresenceChanges>,
}

impl Admission {
    /// For this registry.
    #[must_use]
    pub fn new(
        connections: Arc<ConnectionRegistry>,
        broker: Arc<dyn Broker>,
        presence_changes: Arc<PresenceChanges>,
    ) -> Self {
        Self { connections, broker, presence_changes }
    }

    /// Adds a socket, which may replace the chatter's oldest one. The future is done when this instance receives what
    /// other instances publish for the chatter, or after a deadline; only then may the database be read for the socket.
    pub fn admit(&self, connection: Connection) -> BoxFuture<'static, bool> {
        let chatter_id = connection.chatter_id();
        let subscribed = self.broker.subscribe(chatter_id);
        let added = self.connections.add(connection);
        if let Some(oldest) = added.replaced {
            self.broker.unsubscribe(chatter_id);
            oldest.close(Close::REPLACED);
        }
        if added.is_first {
            self.broker.join(chatter_id);
            self.presence_changes.note(chatter_id);
        }
        subscribed
    }

    /// Removes a socket, if it was not replaced before. Called once by its session when it ends.
    pub fn release(&self, connection: &Connection) {
        let chatter_id = connection.chatter_id();
        let removal = self.connections.remove(connection);
        if removal != Removal::Absent {
            self.broker.unsubscribe(chatter_id);
        }
        if removal == Removal::Last {
            self.broker.leave(chatter_id);
            self.presence_changes.note(chatter_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::chatroom::{ChatroomConnection, Subscription};
    use crate::connections::socket::Socket;
    use crate::domain::{ChatterId, Grant};
    use crate::websocket::out_queue::OutQueue;

    #[test]
    fn one_socket_too_many_replaces_the_oldest() {
        let connections = Arc::new(ConnectionRegistry::new(2));
        let admission = Admission::new(connections.clone(), crate::broker::single(), Arc::default());
        let sockets: Vec<_> = (1..=3)
            .map(|room| {
                let (out, body) = OutQueue::new(1_000);
                std::mem::forget(body);
                let (token, socket) = (Grant::Issued(None), Socket::new(out, Arc::default()));
                let connection =
                    ChatroomConnection::new(ChatterId::new(7), token, room.into(), Subscription::NewChats, socket);
                Connection::Chatroom(Arc::new(connection))
            })
            .collect();
        for connection in &sockets {
            drop(admission.admit(connection.clone()));
        }
        assert!(sockets[0].socket().out().is_closing());
        assert!(!sockets[1].socket().out().is_closing());
        assert_eq!(connections.count(), 2);
        sockets.iter().for_each(|connection| admission.release(connection));
        assert_eq!(connections.count(), 0);
        assert!(!connections.is_connected_here(ChatterId::new(7)));
    }
}
