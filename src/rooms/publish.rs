//! Commits on their way to the other instances, as runs of consecutive changes.

use super::commit::Commit;
use crate::broker::{Broker, Changes, ClusterMessage, State};
use crate::domain::Version;
use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::chatroom::Chatroom;
use crate::metrics::DeliveryMetrics;

/// Publishes a commit's changes, and once more the chats that were retried: the instance that stored them may have died
/// before it published them.
pub(super) fn publish(broker: &dyn Broker, metrics: &DeliveryMetrics, chatroom: &Chatroom, commit: &Commit) {
    if broker.state() == State::Single {
        return;
    }
    for run in runs(chatroom, commit) {
        metrics.changes_published.add(run.changes.len());
        broker.publish(ClusterMessage::Changes(run));
    }
}

fn runs(chatroom: &Chatroom, commit: &Commit) -> Vec<Changes> {
    let mut runs: Vec<Changes> = Vec::new();
    for event in &commit.events {
        let version = event.version();
        match runs.last_mut() {
            Some(run) if run.to + 1 == version => {
                run.to = version;
                run.changes.push((event.kind, event.chat.clone()));
            }
            _ => runs.push(run(chatroom, version, event.kind, &event.chat)),
        }
    }
    runs.extend(commit.retried.iter().map(|chat| run(chatroom, chat.version, last_change(chat), chat)));
    runs
}

fn run(chatroom: &Chatroom, version: Version, kind: ChangeKind, chat: &Chat) -> Changes {
    Changes {
        chatroom_id: chatroom.id,
        owner_id: chatroom.owner_id,
        opponent_id: chatroom.opponent_id,
        from: version - 1,
        to: version,
        changes: vec![(kind, chat.clone())],
    }
}

/// The change that gave a chat its version.
fn last_change(chat: &Chat) -> ChangeKind {
    if chat.delete_time.is_some() {
        ChangeKind::Deleted
    } else if chat.edit_time.is_some() {
        ChangeKind::Edited
    } else {
        ChangeKind::Created
    }
}
