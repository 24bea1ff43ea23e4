//! Where the order of a room begins when its row has just been read. Pure.

use super::command::Command;
use crate::broker::Changes;
use crate::delivery::order::Head;
use crate::domain::Seq;
use crate::domain::chat::ChangeKind;
use crate::domain::chatroom::Chatroom;

/// An event of another instance that is more than this many changes old does not set a room's beginning back.
const REWIND_MAX: i64 = 1_000;

/// The head of a room that is newly in use: its row's, or the version before a change of another instance that is among
/// the waiting commands. An early beginning is harmless: each connection's cursor drops what it was given already.
pub(super) fn first_head(chatroom: &Chatroom, waiting: &[Command]) -> Head {
    let head = Head { version: chatroom.version, seq: chatroom.last_seq };
    let relayed = waiting.iter().filter_map(|command| match command {
        Command::Relayed(changes) => Some(changes),
        _ => None,
    });
    relayed.fold(head, |head, changes| rewound(head, chatroom, changes))
}

fn rewound(head: Head, chatroom: &Chatroom, changes: &Changes) -> Head {
    if changes.from >= head.version || changes.from + REWIND_MAX < chatroom.version {
        return head;
    }
    let created = changes.changes.iter().filter(|(kind, _)| *kind == ChangeKind::Created);
    let first = created.map(|(_, chat)| chat.seq - 1).min().unwrap_or(head.seq);
    // Each change since then may have been a new chat.
    let least = chatroom.last_seq - (chatroom.version - changes.from);
    Head { version: changes.from, seq: first.min(head.seq).min(least).max(Seq::ZERO) }
}
