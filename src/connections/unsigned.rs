//! A device socket on which no chatter has signed in yet.

use bytes::Bytes;

use super::device::DeviceConnection;
use super::socket::Socket;
use crate::domain::{ChatterId, Grant};
use crate::problem::Problem;
use crate::protocol::device::Ref;
use crate::protocol::device::server::ServerFrame;
use crate::websocket::framing::text_frame;

/// A device socket without a chatter.
pub struct UnsignedConnection {
    socket: Socket,
}

impl UnsignedConnection {
    /// A socket that waits for a token.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self { socket }
    }

    /// What it has in common with every other socket.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The connection of the chatter who has signed in; it writes to the same queue.
    #[must_use]
    pub fn sign_in(&self, chatter_id: ChatterId, grant: Grant) -> DeviceConnection {
        DeviceConnection::new(chatter_id, grant, self.socket.succeed())
    }

    /// Queues one frame.
    pub fn push(&self, frame: Bytes) {
        self.socket.push([frame], None);
    }

    /// Refuses a frame; the socket stays open.
    pub fn refuse(&self, reference: Option<Ref>, problem: &Problem) {
        problem.log_cause();
        self.socket.metrics().refusals.add(problem.code as usize);
        self.push(text_frame(&ServerFrame::Error { reference, problem }));
    }
}
