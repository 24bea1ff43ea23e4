//! Rooms: creating one, showing it to a viewer, deleting it; and the frames about that for the devices of its chatters.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{Service, answered};
use crate::broker::ClusterMessage;
use crate::connections::device::RoomAnnouncement;
use crate::domain::chatter::Chatter;
use crate::domain::{ChatroomId, ChatterId};
use crate::problem::Problem;
use crate::protocol::device::server::ServerFrame;
use crate::protocol::rest::{ChatroomBody, ChatterBody};
use crate::rooms::command::Command;
use crate::store::chatrooms::Created;
use crate::store::room_views::RoomView;
use crate::websocket::framing::text_frame;

/// A room with its two chatters as one viewer sees it. The other chatter's view is never the same.
pub struct ShownChatroom {
    view: RoomView,
    owner: ChatterBody,
    opponent: ChatterBody,
}

impl ShownChatroom {
    /// The body that REST and the sockets send.
    #[must_use]
    pub fn body(&self) -> ChatroomBody<'_> {
        let receipts = self.view.receipts.iter().map(|(id, marks)| (*id, *marks));
        let (owner, opponent) = (self.owner.clone(), self.opponent.clone());
        ChatroomBody::new(
            &self.view.room,
            owner,
            opponent,
            self.view.last_chat.as_ref(),
            self.view.unread_count,
            receipts,
        )
    }

    fn announcement(&self) -> RoomAnnouncement {
        let frame = text_frame(&ServerFrame::ChatroomCreated { chatroom: &self.body() });
        RoomAnnouncement { frame, version: self.view.room.version }
    }
}

impl Service {
    /// Creates the room of two chatters and sends `chatroom_created` to their devices on all instances.
    pub async fn create_chatroom(&self, owner: ChatterId, opponent: ChatterId) -> Result<ShownChatroom, Problem> {
        let room = match self.store.create_chatroom(owner, opponent).await? {
            Created::New(room) => room,
            Created::NoOpponent => {
                return Err(Problem::invalid("opponent_id", "There is no chatter with this id."));
            }
            Created::Exists(id) => return Err(Problem::chatroom_exists(id)),
        };
        let other = room.other(owner);
        if other != owner && self.connections.is_connected_here(other) {
            self.announce_here(other, room.id).await;
        }
        let own = self.chatroom(owner, room.id).await;
        if let Ok(own) = &own {
            self.connections.announce_room(owner, room.id, &own.announcement());
        }
        let chatters = [owner, other];
        self.broker.publish(ClusterMessage::RoomCreated { chatroom_id: room.id, chatters });
        own
    }

    /// Sends `chatroom_created` to the devices that these two chatters have on this instance, unless they know the
    /// room.
    pub async fn announce_chatroom_here(&self, room: ChatroomId, pair: [ChatterId; 2]) {
        for chatter in pair {
            if self.connections.lacks_announcement(chatter, room) {
                self.announce_here(chatter, room).await;
            }
        }
    }

    /// A room that was deleted meanwhile, or that cannot be read, is not announced: the next poll of the database
    /// finds it.
    async fn announce_here(&self, chatter: ChatterId, room: ChatroomId) {
        match self.chatroom(chatter, room).await {
            Ok(shown) => self.connections.announce_room(chatter, room, &shown.announcement()),
            Err(problem) => problem.log_cause(),
        }
    }

    /// A room as this viewer sees it now; not found if it was deleted.
    pub async fn chatroom(&self, viewer: ChatterId, room: ChatroomId) -> Result<ShownChatroom, Problem> {
        let view = self.store.room_view(viewer, room).await?;
        let shown = self.chatrooms(viewer, view.into_iter().collect()).await?;
        shown.into_iter().next().ok_or_else(|| Problem::not_found("chatroom"))
    }

    /// These rooms with the two chatters of each.
    pub async fn chatrooms(&self, viewer: ChatterId, views: Vec<RoomView>) -> Result<Vec<ShownChatroom>, Problem> {
        let mut ids: Vec<ChatterId> = views.iter().flat_map(|v| [v.room.owner_id, v.room.opponent_id]).collect();
        ids.sort_unstable();
        ids.dedup();
        let others: Vec<ChatterId> = ids.iter().filter(|id| **id != viewer).copied().collect();
        let (people, connected) = tokio::join!(
            async { if ids.is_empty() { Ok(HashMap::new()) } else { self.store.chatters_by_id(ids).await } },
            self.broadcaster.connected(&others)
        );
        let people = people?;
        let own_token = if views.is_empty() { None } else { self.store.account_token(viewer).await? };
        let body = |id: ChatterId| {
            let person = people.get(&id).cloned().unwrap_or_else(|| Chatter::deleted(id));
            if id == viewer {
                return ChatterBody::own(&person, own_token.clone());
            }
            ChatterBody::known(&person, connected.contains(&id))
        };
        let shown = |view: RoomView| {
            let (owner, opponent) = (body(view.room.owner_id), body(view.room.opponent_id));
            ShownChatroom { view, owner, opponent }
        };
        Ok(views.into_iter().map(shown).collect())
    }

    /// Deletes a room with all its chats, on behalf of one of its chatters. The room actor closes its sockets.
    pub async fn delete_chatroom(&self, room: ChatroomId, by: ChatterId) -> Result<(), Problem> {
        let (reply, answer) = oneshot::channel();
        self.registry.send(room, Command::Delete { by, reply })?;
        answered(answer).await
    }

    /// A room was deleted without its actor: closes its sockets on all instances and ends the actor.
    pub fn chatroom_deleted(&self, room: ChatroomId, pair: [ChatterId; 2]) {
        self.broadcaster.close_room(room, pair);
        self.registry.send_if_running(room, Command::Deleted);
    }

    /// Another instance deleted a room: closes its sockets on this instance and ends the actor.
    pub fn chatroom_deleted_elsewhere(&self, room: ChatroomId, pair: [ChatterId; 2]) {
        self.connections.close_room(room, pair);
        self.registry.send_if_running(room, Command::Deleted);
    }
}
