//! Reading the database for one device socket, no faster than its peer reads: its rooms, and what changed in them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::connections::connection::Connection;
use crate::delivery::device_cursors::Cursors;
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::json::json_bytes;
use crate::domain::{ChatroomId, Version};
use crate::problem::Problem;
use crate::protocol::device::client::RESUME_ROOMS_MAX;
use crate::protocol::device::server::{RoomBody, ServerFrame};
use crate::protocol::rest::{ChatBody, ChatterBody};
use crate::sessions::{HEARTBEAT, Parts};
use crate::store::unread::RoomState;
use crate::store::{Store, StoreError};
use crate::websocket::framing::text_frame;

/// Rooms in one `ready` or `chatrooms` frame.
const ROOMS_A_FRAME: usize = 200;
/// Rows that one question gives.
const CHANGES_A_PAGE: u64 = 200;
/// A page of changes ends with the chat that reaches so many bytes of JSON.
const PAGE_BYTES: usize = 49_152;
/// A room that is further behind begins anew.
const BEHIND_MAX: i64 = 1_000;
/// So long somebody has for telling that a room is new of which changes have come.
const UNANNOUNCED_MAX: Duration = Duration::from_secs(5);
/// The chats that it begins anew with.
const RESET_CHATS: u64 = 50;

/// One socket's reading.
pub(super) struct CatchUp {
    pub(super) connection: Arc<Connection>,
    pub(super) store: Arc<Store>,
    turns: Arc<Semaphore>,
}

impl CatchUp {
    pub(super) fn new(connection: Arc<Connection>, parts: &Parts) -> Self {
        Self { connection, store: parts.store.clone(), turns: parts.turns.clone() }
    }

    /// Asks the database in turn: when a whole instance's sockets come back at once, they wait for each other here and not
    /// for a connection, where everybody else waits too and time runs out.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let _turn = self.turns.acquire().await;
        question.await
    }

    /// `ready` and the `chatrooms` that follow it.
    pub(super) async fn list_rooms(&self) -> Result<(), Problem> {
        let viewer = self.connection.chatter_id;
        let chatter = self.ask(self.store.chatter(viewer)).await?.ok_or_else(Problem::account_deleted)?;
        let chatter = ChatterBody::own(&chatter, self.ask(self.store.account_token(viewer)).await?);
        let unread_total = self.ask(self.store.unread_total(viewer)).await?;
        let (mut after, mut first) = (None, true);
        loop {
            let mut rooms = self.ask(self.store.room_states(viewer, after, ROOMS_A_FRAME as u64 + 1)).await?;
            let has_more = rooms.len() > ROOMS_A_FRAME;
            rooms.truncate(ROOMS_A_FRAME);
            after = rooms.last().map_or(after, |room| Some(room.id));
            let versions: Vec<_> = rooms.iter().map(|room| (room.id, room.version)).collect();
            let chatrooms: Vec<RoomBody> = rooms.into_iter().map(body_of).collect();
            let frame = if std::mem::take(&mut first) {
                text_frame(&ServerFrame::Ready {
                    chatter: &chatter,
                    socket_id: self.connection.id.to_string(),
                    server_time: Micros::now(),
                    heartbeat_s: HEARTBEAT.as_secs(),
                    unread_total,
                    chatrooms,
                    has_more,
                })
            } else {
                text_frame(&ServerFrame::Chatrooms { chatrooms, has_more })
            };
            self.connection.list(frame, &versions);
            if !has_more {
                break;
            }
            if !self.connection.out.roomy().await {
                return Ok(());
            }
        }
        self.connection.all_listed();
        Ok(())
    }

    /// What changed in these rooms since these versions. Rooms that could not be read any more are noted as behind.
    pub(super) async fn resume(&self, cursors: &[(ChatroomId, Version)]) -> Result<(), StoreError> {
        let read = self.read_rooms(cursors).await;
        if read.is_err() {
            self.still_behind(cursors.iter().map(|(room, _)| *room));
        }
        read
    }

    /// Lists rooms of which something is held, since nobody has said that they are there: whoever made them may have gone
    /// before it could tell.
    async fn list_unannounced(&self) -> Result<(), StoreError> {
        for room in self.connection.cursors(|cursors| cursors.unannounced(UNANNOUNCED_MAX)) {
            let before = Some(ChatroomId::new(room.get() - 1));
            let found = self.ask(self.store.room_states(self.connection.chatter_id, before, 1)).await?;
            match found.into_iter().find(|found| found.id == room) {
                Some(found) => {
                    let version = found.version;
                    let chatrooms = vec![body_of(found)];
                    self.connection
                        .list(text_frame(&ServerFrame::Chatrooms { chatrooms, has_more: false }), &[(room, version)]);
                }
                None => self.connection.room_ended(room),
            }
        }
        Ok(())
    }

    /// Brings the rooms up that the socket is behind in.
    pub(super) async fn fill(&self) -> Result<(), StoreError> {
        self.list_unannounced().await?;
        let behind = self.connection.cursors(Cursors::take_behind);
        self.connection.out.metrics().socket_gap_reads.add(behind.len());
        for (at, cursors) in behind.chunks(RESUME_ROOMS_MAX).enumerate() {
            if let Err(error) = self.read_rooms(cursors).await {
                self.still_behind(behind[at * RESUME_ROOMS_MAX..].iter().map(|(room, _)| *room));
                return Err(error);
            }
        }
        Ok(())
    }

    fn still_behind(&self, rooms: impl Iterator<Item = ChatroomId>) {
        self.connection.cursors(|cursors| rooms.for_each(|room| cursors.still_behind(room)));
    }

    async fn read_rooms(&self, cursors: &[(ChatroomId, Version)]) -> Result<(), StoreError> {
        let ids: Vec<ChatroomId> = cursors.iter().map(|(room, _)| *room).collect();
        self.connection.cursors(|cursors| ids.iter().for_each(|room| cursors.hold_known(*room)));
        let rooms = self.ask(self.store.rooms_among(self.connection.chatter_id, &ids)).await?;
        let rooms: HashMap<ChatroomId, Chatroom> = rooms.into_iter().map(|room| (room.id, room)).collect();
        for (id, since) in cursors {
            match rooms.get(id) {
                Some(room) if room.version == *since => self.nothing_new(room),
                Some(room) => self.read_room(room, *since).await?,
                None => self.connection.room_gone(*id),
            }
        }
        Ok(())
    }

    /// The room has not changed; what was held for it goes out, or is read after all.
    fn nothing_new(&self, room: &Chatroom) {
        let frame = text_frame(&ServerFrame::changes(room.id, room.version, &[], room.version, false));
        self.connection.list(frame, &[(room.id, room.version)]);
    }

    async fn read_room(&self, room: &Chatroom, since: Version) -> Result<(), StoreError> {
        // From the future: the database is older than this client's view of it.
        if since > room.version || room.version - since > BEHIND_MAX {
            return self.reset(room).await;
        }
        let mut since = since;
        loop {
            self.connection.cursors(|cursors| cursors.hold(room.id));
            let Some(page) = self.ask(self.store.changes(room, since, CHANGES_A_PAGE)).await? else {
                self.connection.room_ended(room.id);
                return Ok(());
            };
            let mut rest = page.chats.as_slice();
            loop {
                if !self.connection.out.roomy().await {
                    return Ok(());
                }
                let (chats, more) = rest.split_at(fitting(rest.iter()));
                let has_more = page.has_more || !more.is_empty();
                let version =
                    if more.is_empty() { page.version } else { chats.last().map_or(since, |chat| chat.version) };
                let frame = text_frame(&ServerFrame::changes(room.id, since, chats, version, has_more));
                since = version;
                rest = more;
                if !has_more {
                    let Some(again) = self.connection.caught_up(room.id, version, frame) else { return Ok(()) };
                    since = again;
                } else {
                    self.connection.push(frame);
                }
                if rest.is_empty() {
                    break;
                }
            }
        }
    }

    async fn reset(&self, room: &Chatroom) -> Result<(), StoreError> {
        if !self.connection.out.roomy().await {
            return Ok(());
        }
        self.connection.cursors(|cursors| cursors.hold(room.id));
        let Some((chats, version)) = self.ask(self.store.newest(room, RESET_CHATS)).await? else {
            self.connection.room_ended(room.id);
            return Ok(());
        };
        let fit = fitting(chats.iter().rev());
        let chats = chats[chats.len() - fit..].iter().map(ChatBody::new).collect();
        let frame: Bytes = text_frame(&ServerFrame::Reset { chatroom_id: room.id, chats, version });
        if self.connection.caught_up(room.id, version, frame).is_some() {
            self.still_behind(std::iter::once(room.id));
        }
        Ok(())
    }
}

/// How many of these chats go into one frame; at least one, if there is one.
fn fitting<'a>(chats: impl Iterator<Item = &'a Chat>) -> usize {
    let mut bytes = 0;
    chats
        .take_while(|chat| {
            let fits = bytes < PAGE_BYTES;
            bytes += chat.content.chars().map(json_bytes).sum::<usize>() + 256;
            fits
        })
        .count()
}

fn body_of(room: RoomState) -> RoomBody {
    let receipts = room.receipts.into_iter().map(|(id, marks)| (id.to_string(), marks.into())).collect();
    RoomBody { id: room.id, version: room.version, last_seq: room.last_seq, unread_count: room.unread_count, receipts }
}
