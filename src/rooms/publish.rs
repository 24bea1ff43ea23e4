//! What a room tells the other instances of its commits: runs of changes that follow each other.

use crate::broker::Changes;
use crate::delivery::event::Event;
use crate::domain::Version;
use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::chatroom::Chatroom;

/// The runs of these events, and of chats that were sent again: the try before may have died before it was told.
pub(super) fn runs(room: &Chatroom, events: &[Event], again: &[Chat]) -> Vec<Changes> {
    let mut runs: Vec<Changes> = Vec::new();
    for event in events {
        let version = event.version();
        match runs.last_mut() {
            Some(run) if run.to + 1 == version => {
                run.to = version;
                run.changes.push((event.kind, event.chat.clone()));
            }
            _ => runs.push(run(room, version, event.kind, &event.chat)),
        }
    }
    runs.extend(again.iter().map(|chat| run(room, chat.version, kind_of(chat), chat)));
    runs
}

fn run(room: &Chatroom, version: Version, kind: ChangeKind, chat: &Chat) -> Changes {
    Changes {
        chatroom_id: room.id,
        owner_id: room.owner_id,
        opponent_id: room.opponent_id,
        from: version - 1,
        to: version,
        changes: vec![(kind, chat.clone())],
    }
}

/// What the change was that gave a chat its version.
fn kind_of(chat: &Chat) -> ChangeKind {
    if chat.delete_time.is_some() {
        ChangeKind::Deleted
    } else if chat.edit_time.is_some() {
        ChangeKind::Edited
    } else {
        ChangeKind::Created
    }
}
