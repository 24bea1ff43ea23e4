//! The last chat that each of a room's chatters has sent while a socket of theirs was open on this instance. Pure.
//!
//! What such a socket was sent before the chat, its chatter has been shown before it. The sockets confirm it a moment
//! later, and then it counts as read, as what was confirmed before the chat does.

use crate::domain::{ChatterId, Seq};

/// Two at most; it is empty for a chatter whose sockets have confirmed the chat.
#[derive(Default)]
pub(super) struct SentChats(Vec<(ChatterId, Seq)>);

impl SentChats {
    /// The chatter has sent this chat, and their sockets get it behind all that they were sent before.
    pub(super) fn add(&mut self, sender: ChatterId, seq: Seq) {
        self.0.retain(|(chatter, _)| *chatter != sender);
        self.0.push((sender, seq));
    }

    /// The chatter has received everything up to here: gives how far that is read.
    pub(super) fn delivered(&mut self, chatter: ChatterId, seq: Seq) -> Option<Seq> {
        let at = self.0.iter().position(|(sender, _)| *sender == chatter)?;
        let (_, sent) = self.0[at];
        if seq >= sent {
            self.0.swap_remove(at);
        }
        // An older confirmation may be of chats that no socket was sent as they came.
        (seq.next() >= sent).then(|| seq.min(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e13_a_confirmation_of_what_was_sent_before_the_own_chat_reads_it_once() {
        let (ann, bob) = (ChatterId::new(1), ChatterId::new(2));
        let mut sent = SentChats::default();
        sent.add(ann, Seq::new(3));
        sent.add(ann, Seq::new(8));
        assert_eq!(sent.delivered(bob, Seq::new(8)), None);
        assert_eq!(sent.delivered(ann, Seq::new(6)), None);
        assert_eq!(sent.delivered(ann, Seq::new(7)), Some(Seq::new(7)));
        assert_eq!(sent.delivered(ann, Seq::new(9)), Some(Seq::new(8)), "a chat behind the own one stays unread");
        assert_eq!(sent.delivered(ann, Seq::new(9)), None);
    }
}
