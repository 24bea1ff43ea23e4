//! What the frames of a seed socket mean: a chat for its one room.

use actix::Context;
use bytes::Bytes;

use super::Session;
use crate::actors::room::messages::Reply;
use crate::domain::Broken;
use crate::domain::chat::{ClientId, Content};
use crate::error::{Code, Problem};
use crate::wire::seed::ClientFrame;

impl Session {
    pub(super) fn on_seed_text(&mut self, text: &Bytes, ctx: &mut Context<Self>) {
        let Ok(frame) = serde_json::from_slice::<ClientFrame>(text) else {
            let detail = "Send {\"message\": \"text\"}, optionally with a \"client_id\".";
            return self.link.refuse(&Problem::new(Code::Malformed, detail), None);
        };
        let client_id = frame.client_id.clone();
        if let Err(problem) = self.post_seed(frame) {
            self.link.refuse(&problem, client_id.as_deref());
            if problem.code == Code::RateLimited {
                self.count_refusal(ctx);
            }
        }
    }

    fn post_seed(&self, frame: ClientFrame) -> Result<(), Problem> {
        let field = |e: Broken| {
            Problem::invalid(if e.field == "content" { "message" } else { e.field }, format!("It {}.", e.rule))
        };
        let content = Content::parse(frame.message).map_err(field)?;
        let client_id = frame.client_id.map(ClientId::parse).transpose().map_err(field)?;
        let Some(chatroom_id) = self.link.seed_room() else { return Ok(()) };
        let reply = Reply::Seed(self.link.clone(), client_id.as_ref().map(|id| id.as_str().into()));
        self.post(chatroom_id, content, client_id, reply)
    }
}
