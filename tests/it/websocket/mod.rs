//! RFC 6455 as a hostile client sees it: frames, pings, closing, upgrades, and clients that never read.

mod closing;
mod floods;
mod frames;
mod slow_readers;
mod upgrades;

use crate::support::raw_socket::frame;
use crate::support::wait::s;
use crate::support::{Db, Person, RawSocket, TestServer};

pub struct Room {
    pub server: TestServer,
    pub ann: Person,
    pub bob: Person,
    pub id: i64,
}

impl Room {
    pub async fn new() -> Self {
        let server = TestServer::spawn(Db::Sqlite).await;
        let (ann, bob, id) = server.api().pair().await;
        Self { server, ann, bob, id }
    }

    pub fn path(&self) -> String {
        format!("/ws/chatrooms/{}/?jwt={}", self.id, self.ann.token)
    }

    pub async fn socket(&self) -> RawSocket {
        RawSocket::open(self.server.port, &self.path(), "").await.expect("a socket")
    }

    /// Sends these bytes on a fresh socket; the code that the server closes with.
    pub async fn close_code(&self, bytes: &[u8]) -> u16 {
        let mut socket = self.socket().await;
        socket.write(bytes).await;
        let code = socket.expect_close(s(10)).await;
        socket.expect_end(s(5)).await;
        code
    }

    /// The socket of the other chatter works as before.
    pub async fn still_works(&self) {
        self.bob.joins(self.id).await.expect_nothing_before_own("the others are unaffected").await;
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, Some([1, 2, 3, 4]), payload)
}
