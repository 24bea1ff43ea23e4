//! A room's frames on their way to its participants' connections: events on this instance, typing and the end of the
//! room on all.

use std::sync::Arc;

use super::command::TypingChange;
use crate::connections::broadcaster::Broadcaster;
use crate::connections::registry::ConnectionRegistry;
use crate::delivery::event::{Batch, Event};
use crate::domain::chat::ChangeKind;
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatterId, Seq, Version};
use crate::protocol::device::server::ServerFrame;
use crate::websocket::framing::text_frame;

/// Gives a batch to every connection of the two participants.
pub(super) fn deliver(connections: &ConnectionRegistry, chatroom: &Chatroom, batch: &Arc<Batch>) {
    let deliver_to = |chatter_id| connections.for_each(chatter_id, |connection| connection.deliver(batch));
    deliver_to(chatroom.owner_id);
    if !chatroom.with_oneself() {
        deliver_to(chatroom.opponent_id);
    }
}

/// Has the connections read the database whose cursor is below this version.
pub(super) fn check_version(connections: &ConnectionRegistry, chatroom: &Chatroom, version: Version) {
    connections.check_version(chatroom.id, [chatroom.owner_id, chatroom.opponent_id], version);
}

/// Closes the room's chatroom sockets and sends its deletion to the device sockets, on all instances.
pub(super) fn close(broadcaster: &Broadcaster, chatroom: &Chatroom) {
    broadcaster.close_room(chatroom.id, [chatroom.owner_id, chatroom.opponent_id]);
}

/// Sends the other participant's devices, on all instances, that a chatter started or stopped typing.
pub(super) fn send_typing(broadcaster: &Broadcaster, chatroom: &Chatroom, chatter_id: ChatterId, change: TypingChange) {
    let frame = text_frame(&ServerFrame::Typing { chatroom_id: chatroom.id, chatter_id, typing: change.flag() });
    broadcaster.send_ephemeral(chatroom.other(chatter_id), &frame);
}

/// The last of these new chats of each sender who has a connection on this instance.
pub(super) fn last_sent(connections: &ConnectionRegistry, events: &[Event]) -> impl Iterator<Item = (ChatterId, Seq)> {
    let mut last: [Option<(ChatterId, Seq)>; 2] = [None; 2];
    for chat in events.iter().filter(|event| event.kind == ChangeKind::Created).map(|event| &event.chat) {
        let own = last.iter().position(|of| of.is_none_or(|(sender, _)| sender == chat.sender_id));
        if let Some(own) = own {
            last[own] = Some((chat.sender_id, chat.seq));
        }
    }
    last.into_iter().flatten().filter(|(sender, _)| connections.is_connected_here(*sender))
}

/// The receivers of these new chats who have no connection on this instance, each once.
pub(super) fn receivers_not_connected(connections: &ConnectionRegistry, events: &[Event]) -> Vec<ChatterId> {
    let created = events.iter().filter(|event| event.kind == ChangeKind::Created).map(|event| &event.chat);
    let mut receivers: Vec<ChatterId> =
        created.filter(|chat| chat.sender_id != chat.receiver_id).map(|chat| chat.receiver_id).collect();
    receivers.sort_unstable();
    receivers.dedup();
    receivers.retain(|receiver_id| !connections.is_connected_here(*receiver_id));
    receivers
}
