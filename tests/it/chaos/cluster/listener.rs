//! A chatroom socket on one instance that is opened again whenever it has closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::burst::Record;
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Person};

/// A chatroom socket on one instance, opened again whenever it has closed.
pub struct Listener {
    pub person: Person,
    pub room: i64,
    pub record: Arc<Record>,
    /// With the number of chats that were acknowledged when it opened.
    pub open: Option<(ChatroomSocket, usize)>,
    pub over: Vec<(ChatroomSocket, usize)>,
}

impl Listener {
    pub fn new(person: Person, room: i64, record: Arc<Record>) -> Self {
        Self { person, room, record, open: None, over: Vec::new() }
    }

    pub async fn lives(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) || self.open.is_none() {
            match &mut self.open {
                None => self.opens().await,
                Some((socket, _)) => {
                    if let Some(code) = socket.reads_for(Duration::from_millis(50)).await {
                        assert!(matches!(code, 1001 | 1006), "closed with {code}");
                        self.over.extend(self.open.take());
                    }
                }
            }
        }
        self
    }

    async fn opens(&mut self) {
        let path = format!("/ws/chatrooms/{}/?jwt={}", self.room, self.person.token);
        let opening = ChatroomSocket::try_open(&self.person.api, &path, &[]);
        match tokio::time::timeout(s(3), opening).await {
            Ok(Ok(socket)) => self.open = Some((socket, self.record.acked())),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
