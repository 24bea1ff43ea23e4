//! The parts of the instance that its sessions use, and what all kinds of sessions do with them.

use std::sync::Arc;

use crate::auth::token::Claims;
use crate::connections::admission::Admission;
use crate::connections::drain_flag::DrainFlag;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::chat::{ClientId, Content};
use crate::domain::{ChatroomId, ChatterId};
use crate::limits::{Limits, Sender};
use crate::problem::{Code, Problem};
use crate::rooms::command::{Command, Post, Reply};
use crate::rooms::registry::Registry;
use crate::service::bearers::Bearers;
use crate::sessions::bulk::BulkGate;
use crate::sessions::turns::{Turn, Turns};
use crate::store::Store;

/// One for all sessions of the instance.
pub struct Parts {
    /// Read for tokens, rooms and missed changes; sessions write only through rooms.
    pub store: Arc<Store>,
    /// Passes the commands of frames to their rooms.
    pub rooms: Arc<Registry>,
    /// Holds the sockets before sign-in, up to a limit for each peer's network.
    pub connections: Arc<ConnectionRegistry>,
    /// Registers the sockets of chatters who have signed in.
    pub admission: Admission,
    /// The rates of chats and of other frames; beyond them a frame is refused with `rate_limited`.
    pub limits: Arc<Limits>,
    /// Verifies the tokens that clients send.
    pub bearers: Arc<Bearers>,
    /// Read before each chat, edit or deletion: a draining instance refuses them with `draining`.
    pub drain: Arc<DrainFlag>,
    /// Turns at reading the database for sockets that sign in or catch up.
    pub turns: Arc<Turns>,
    /// What sockets and REST read in bulk passes it.
    pub bulk: Arc<BulkGate>,
}

impl Parts {
    /// A turn at reading the database for a socket of this chatter.
    pub(super) async fn turn(&self, chatter: ChatterId) -> Turn {
        self.turns.take(Sender::Chatter(chatter)).await
    }

    /// Whether the account and the sign-in of this token still exist. The caller has a turn.
    pub(super) async fn check_standing(&self, claims: &Claims) -> Result<(), Problem> {
        Ok(self.store.standing(claims.chatter_id, claims.grant).await??)
    }

    /// Hands a new chat to its room, if this chatter may send now.
    pub(super) fn post(
        &self,
        chatroom_id: ChatroomId,
        sender_id: ChatterId,
        content: Content,
        client_id: Option<ClientId>,
        reply: Reply,
    ) -> Result<(), Problem> {
        self.check_may_change(sender_id)?;
        let post = Post { sender_id, receiver_id: None, content, client_id, reply };
        self.rooms.send(chatroom_id, Command::Post(post))
    }

    /// Counts a frame that is neither a chat nor a change of one.
    pub(super) fn count_frame(&self, sender: Sender) -> Result<(), Problem> {
        let too_fast =
            |wait| Problem::new(Code::RateLimited, "Too many frames; wait before the next.").retry_after(wait);
        self.limits.frame(sender).map_err(too_fast)
    }

    /// Whether this chatter may send, edit or delete now.
    pub(super) fn check_may_change(&self, chatter_id: ChatterId) -> Result<(), Problem> {
        if !self.drain.takes_chats() {
            return Err(Problem::new(
                Code::Draining,
                "This instance is shutting down; connect again and send the same client_id.",
            ));
        }
        self.limits.send(chatter_id).map_err(Problem::sending_too_fast)
    }
}
