//! Reading the database for one device socket, no faster than its peer reads: its rooms, and their changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::pages::{Pages, fitting};
use crate::connections::device::DeviceConnection;
use crate::delivery::device_cursors::DeviceCursors;
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, Version};
use crate::limits::Sender;
use crate::problem::Problem;
use crate::protocol::device::client::RESUME_ROOMS_MAX;
use crate::protocol::device::server::{RoomBody, ServerFrame};
use crate::protocol::rest::{ChatBody, ChatterBody};
use crate::sessions::bulk::SMALL_BYTES;
use crate::sessions::{HEARTBEAT, Parts};
use crate::store::StoreError;
use crate::store::unread::RoomState;
use crate::websocket::framing::text_frame;

/// Rooms in one `ready` or `chatrooms` frame.
const ROOMS_A_FRAME: usize = 200;
/// Rows per query for changes.
const CHANGES_A_QUERY: u64 = 200;
/// A socket that is further behind gets a `reset` of the room.
const BEHIND_MAX: i64 = 1_000;
/// The chats of a `reset`.
const RESET_CHATS: u64 = 50;
/// How long changes of a room wait for its announcement before the room is listed.
const UNANNOUNCED_MAX: Duration = Duration::from_secs(5);

/// Whether versions that a client names are of the current epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cursors {
    Current,
    OfOtherEpoch,
}

/// The reads for one socket.
pub(super) struct CatchUp {
    connection: Arc<DeviceConnection>,
    parts: Arc<Parts>,
}

impl CatchUp {
    pub(super) fn new(connection: Arc<DeviceConnection>, parts: Arc<Parts>) -> Self {
        Self { connection, parts }
    }

    /// Queues one frame.
    pub(super) fn push(&self, frame: Bytes) {
        self.connection.push(frame);
    }

    /// Reads the database when it is a turn of the chatter.
    async fn read<T>(&self, query: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let _turn = self.parts.turn(self.connection.chatter_id).await;
        query.await
    }

    /// The same for the chats of a room. Where they are many bytes, they pass the gate for bulk reads.
    async fn read_chats<T>(
        &self,
        query: impl Future<Output = Result<Option<T>, StoreError>>,
        chats: impl FnOnce(&T) -> &[Chat],
    ) -> Result<Option<T>, StoreError> {
        let timed = async {
            let begun = Instant::now();
            Ok((query.await?, begun.elapsed()))
        };
        let (read, took) = self.read(timed).await?;
        let chats = read.as_ref().map_or(&[][..], chats);
        self.pass_gate(chats.iter().map(|chat| chat.content.len()).sum(), took).await;
        Ok(read)
    }

    /// Waits for the turn of what was read, if that is much.
    async fn pass_gate(&self, bytes: usize, took: Duration) {
        if bytes > SMALL_BYTES {
            self.parts.bulk.pass_built(Sender::Chatter(self.connection.chatter_id), took).await;
        }
    }

    /// Sends `ready` and the `chatrooms` that follow it. Everything in `ready` is read in one turn, so that of many
    /// sockets of one chatter the first is ready first.
    pub(super) async fn list_rooms<T>(&self, turn: T) -> Result<(), Problem> {
        let (viewer, store) = (self.connection.chatter_id, &self.parts.store);
        let chatter = store.chatter(viewer).await?.ok_or_else(Problem::account_deleted)?;
        let chatter = ChatterBody::own(&chatter, store.account_token(viewer).await?);
        let unread_total = store.unread_total(viewer).await?;
        let (mut after, mut is_first, mut first_turn) = (None, true, Some(turn));
        loop {
            let (mut rooms, begun) = {
                let _turn = match first_turn.take() {
                    Some(turn) => (Some(turn), None),
                    None => (None, Some(self.parts.turn(viewer).await)),
                };
                let begun = Instant::now();
                (store.room_states(viewer, after, ROOMS_A_FRAME as u64 + 1).await?, begun)
            };
            let has_more = rooms.len() > ROOMS_A_FRAME;
            rooms.truncate(ROOMS_A_FRAME);
            after = rooms.last().map_or(after, |room| Some(room.id));
            let versions: Vec<_> = rooms.iter().map(|room| (room.id, room.version)).collect();
            let chatrooms: Vec<RoomBody> = rooms.into_iter().map(body_of).collect();
            let frame = if std::mem::take(&mut is_first) {
                text_frame(&ServerFrame::Ready {
                    chatter: &chatter,
                    socket_id: self.connection.socket().id().to_string(),
                    server_time: Micros::now(),
                    heartbeat_s: HEARTBEAT.as_secs(),
                    epoch: &store.epochs().name(),
                    unread_total,
                    chatrooms,
                    has_more,
                })
            } else {
                text_frame(&ServerFrame::Chatrooms { chatrooms, has_more })
            };
            let bytes = frame.len();
            self.connection.list(frame, &versions);
            self.pass_gate(bytes, begun.elapsed()).await;
            if !has_more {
                break;
            }
            if !self.wait_until_roomy().await {
                return Ok(());
            }
        }
        self.connection.all_listed();
        Ok(())
    }

    /// Sends what has changed in these rooms since these versions. If the read fails, the rooms have to be read later.
    /// Versions of another epoch say nothing, so these rooms are sent anew.
    pub(super) async fn resume(&self, rooms: &[(ChatroomId, Version)], epoch: Option<&str>) -> Result<(), StoreError> {
        let is_current = epoch.is_none_or(|epoch| *epoch == *self.parts.store.epochs().name());
        let read = self.read_rooms(rooms, if is_current { Cursors::Current } else { Cursors::OfOtherEpoch }).await;
        if read.is_err() {
            self.require_requery(rooms);
        }
        read
    }

    /// Reads the rooms of which the socket lacks changes.
    pub(super) async fn requery(&self) -> Result<(), StoreError> {
        self.list_unannounced().await?;
        let rooms = self.connection.cursors(DeviceCursors::take_requeries);
        self.connection.socket().metrics().socket_gap_reads.add(rooms.len());
        for (at, some) in rooms.chunks(RESUME_ROOMS_MAX).enumerate() {
            if let Err(error) = self.read_rooms(some, Cursors::Current).await {
                self.require_requery(&rooms[at * RESUME_ROOMS_MAX..]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lists rooms whose changes have waited too long for an announcement: the instance that created the room may have
    /// died before it could publish that.
    async fn list_unannounced(&self) -> Result<(), StoreError> {
        let (viewer, store) = (self.connection.chatter_id, &self.parts.store);
        for id in self.connection.cursors(|cursors| cursors.unannounced(UNANNOUNCED_MAX)) {
            let before = Some(ChatroomId::new(id.get() - 1));
            let found = self.read(store.room_states(viewer, before, 1)).await?;
            match found.into_iter().find(|found| found.id == id) {
                Some(room) => {
                    let version = room.version;
                    let page = ServerFrame::Chatrooms { chatrooms: vec![body_of(room)], has_more: false };
                    self.connection.list(text_frame(&page), &[(id, version)]);
                }
                None => self.connection.room_deleted(id),
            }
        }
        Ok(())
    }

    fn require_requery(&self, rooms: &[(ChatroomId, Version)]) {
        self.connection.cursors(|cursors| rooms.iter().for_each(|(room, _)| cursors.require_requery(*room)));
    }

    async fn read_rooms(&self, rooms: &[(ChatroomId, Version)], cursors: Cursors) -> Result<(), StoreError> {
        let ids: Vec<ChatroomId> = rooms.iter().map(|(room, _)| *room).collect();
        self.connection.cursors(|cursors| ids.iter().for_each(|room| cursors.buffer_if_known(*room)));
        let found = self.read(self.parts.store.rooms_among(self.connection.chatter_id, &ids)).await?;
        let found: HashMap<ChatroomId, Chatroom> = found.into_iter().map(|room| (room.id, room)).collect();
        for (id, since) in rooms {
            match found.get(id) {
                Some(room) if cursors == Cursors::OfOtherEpoch => self.reset(room).await?,
                Some(room) if room.version == *since => self.send_no_changes(room),
                Some(room) => self.read_room(room, *since).await?,
                None => self.connection.room_not_found(*id),
            }
        }
        Ok(())
    }

    /// The room has not changed: sends an empty page and the buffered changes, or has the room read after all.
    fn send_no_changes(&self, room: &Chatroom) {
        let frame = text_frame(&ServerFrame::changes(room.id, room.version, &[], room.version, false));
        self.connection.list(frame, &[(room.id, room.version)]);
    }

    /// Sends the changes of a room, page by page, until the socket is up to date.
    async fn read_room(&self, room: &Chatroom, mut since: Version) -> Result<(), StoreError> {
        // A version above the room's: the database was set back since the client read it.
        if since > room.version || room.version - since > BEHIND_MAX {
            return self.reset(room).await;
        }
        loop {
            self.connection.cursors(|cursors| cursors.buffer(room.id));
            let query = self.parts.store.changes(room, since, CHANGES_A_QUERY);
            let Some(read) = self.read_chats(query, |read| &read.chats).await? else {
                self.connection.room_deleted(room.id);
                return Ok(());
            };
            for page in Pages::new(&read.chats, since, read.version, read.has_more) {
                if !self.wait_until_roomy().await {
                    return Ok(());
                }
                let changes = ServerFrame::changes(room.id, page.since, page.chats, page.version, page.has_more);
                since = page.version;
                if page.has_more {
                    self.push(text_frame(&changes));
                } else if let Some(version) = self.connection.caught_up(room.id, since, text_frame(&changes)) {
                    since = version;
                } else {
                    return Ok(());
                }
            }
        }
    }

    /// Sends the newest chats of a room instead of its changes.
    async fn reset(&self, room: &Chatroom) -> Result<(), StoreError> {
        if !self.wait_until_roomy().await {
            return Ok(());
        }
        self.connection.cursors(|cursors| cursors.buffer(room.id));
        let query = self.parts.store.newest(room, RESET_CHATS);
        let Some((chats, version)) = self.read_chats(query, |(chats, _)| chats).await? else {
            self.connection.room_deleted(room.id);
            return Ok(());
        };
        let fit = fitting(chats.iter().rev());
        let chats = chats[chats.len() - fit..].iter().map(ChatBody::new).collect();
        let frame = text_frame(&ServerFrame::Reset { chatroom_id: room.id, chats, version });
        if self.connection.caught_up(room.id, version, frame).is_some() {
            self.require_requery(&[(room.id, version)]);
        }
        Ok(())
    }

    /// Waits until the peer has read most of the queue. False if the socket is closing.
    async fn wait_until_roomy(&self) -> bool {
        self.connection.socket().out().roomy().await
    }
}

fn body_of(room: RoomState) -> RoomBody {
    let receipts = room.receipts.into_iter().map(|(id, marks)| (id.to_string(), marks.into())).collect();
    RoomBody { id: room.id, version: room.version, last_seq: room.last_seq, unread_count: room.unread_count, receipts }
}
