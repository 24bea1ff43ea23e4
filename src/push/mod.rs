//! Pushes: the notification of a chat, and the result of sending it to one device.
//!
//! The notifier is the only caller. A push is sent at least once and may be repeated. The room is its collapse key, so
//! a repeat replaces the first notification instead of ringing twice.

pub mod fcm;
mod log;
pub mod notifier;
pub mod pusher;

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use unicode_normalization::char::is_combining_mark;

use crate::domain::chat::Chat;
use crate::domain::json::json_bytes;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq};

/// The title of every notification.
const TITLE: &str = "Hyper Chat New Message";

/// FCM refuses messages of more than 4,096 bytes. Everything but body and token takes at most 640 of them, as a test
/// checks. That leaves 384 for the token; today's tokens have about 160.
const BODY_JSON_BYTES_MAX: usize = 3_072;

/// How far a cut may move back to keep a grapheme whole; no language has longer chains of marks.
const CUT_BACK_CHARS_MAX: usize = 32;

/// The notification of one chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// The same for all pushes.
    pub title: &'static str,
    /// The content, cut to the length that fits.
    pub body: String,
    /// The chat's sender.
    pub sender_id: ChatterId,
    /// The chatter whose devices get the push.
    pub receiver_id: ChatterId,
    /// The chat's room.
    pub chatroom_id: ChatroomId,
    /// The chat's id.
    pub chat_id: ChatId,
    /// The chat's place in its room.
    pub seq: Seq,
}

impl Push {
    /// The push of a chat that is not deleted.
    #[must_use]
    pub fn new(chat: &Chat) -> Self {
        Self {
            title: TITLE,
            body: cut(&chat.content).to_owned(),
            sender_id: chat.sender_id,
            receiver_id: chat.receiver_id,
            chatroom_id: chat.chatroom_id,
            chat_id: chat.id,
            seq: chat.seq,
        }
    }

    /// The data for the app. FCM requires every value to be a string.
    #[must_use]
    pub fn data(&self) -> Value {
        json!({
            "sender_id": self.sender_id.to_string(),
            "receiver_id": self.receiver_id.to_string(),
            "chatroom_id": self.chatroom_id.to_string(),
            "chat_id": self.chat_id.to_string(),
            "seq": self.seq.to_string(),
        })
    }

    /// Pushes with the same key replace each other on the device.
    #[must_use]
    pub fn collapse_key(&self) -> String {
        format!("chatroom-{}", self.chatroom_id)
    }
}

/// Leaves the content out, since it must not reach a log.
impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("chatroom_id", &self.chatroom_id)
            .field("receiver_id", &self.receiver_id)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// The result of one send to one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// FCM accepted the push.
    Accepted,
    /// The token will never work again: it is to be removed.
    TokenGone,
    /// This message will never be accepted, though the token may be good: it is given up and logged.
    Refused {
        /// FCM's codes, without token and content.
        reason: String,
    },
    /// Refused for good because the token is of another Firebase project: that of a chatter, or all of them, where the
    /// service account is of the wrong project.
    OtherSender {
        /// FCM's codes, without token and content.
        reason: String,
    },
    /// A later attempt may succeed.
    RetryLater {
        /// The wait that FCM asked for.
        after: Option<Duration>,
        /// Which other sends would fail until then, too.
        scope: Scope,
        /// For the log, without token and content.
        reason: String,
    },
}

/// Which sends a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This push alone.
    Push,
    /// All pushes to this device: its own quota is used up.
    Device,
    /// The quota of the device or that of the project is used up; FCM did not say which.
    DeviceOrProject,
    /// All pushes to all devices.
    All,
}

/// The longest beginning of the content that fits, cut between graphemes unless that is too far back.
fn cut(content: &str) -> &str {
    let mut bytes = 0;
    let Some((end, _)) = content.char_indices().find(|(_, c)| {
        bytes += json_bytes(*c);
        bytes > BODY_JSON_BYTES_MAX
    }) else {
        return content;
    };
    let mut at = end;
    for _ in 0..CUT_BACK_CHARS_MAX {
        if !splits_grapheme(content, at) {
            return &content[..at];
        }
        at = content[..at].char_indices().next_back().map_or(0, |(before, _)| before);
    }
    &content[..end]
}

/// Whether a cut here would separate a mark, a joiner, a modifier or a jamo from the character before it.
fn splits_grapheme(content: &str, at: usize) -> bool {
    let joined = content[..at].ends_with('\u{200d}');
    let extends = content[at..].chars().next().is_some_and(|c| {
        is_combining_mark(c)
            || matches!(c, '\u{200d}' | '\u{1160}'..='\u{11ff}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
    });
    let flags = content[..at].chars().rev().take_while(|c| matches!(c, '\u{1f1e6}'..='\u{1f1ff}')).count();
    let flag_goes_on = content[at..].starts_with(|c| matches!(c, '\u{1f1e6}'..='\u{1f1ff}')) && flags % 2 == 1;
    joined || extends || flag_goes_on
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::clock::Micros;

    pub(crate) fn chat(content: &str) -> Chat {
        Chat {
            id: 9_007_199_254_740_991.into(),
            chatroom_id: 9_007_199_254_740_990.into(),
            seq: 9_007_199_254_740_989.into(),
            version: 1.into(),
            sender_id: 9_007_199_254_740_988.into(),
            receiver_id: 9_007_199_254_740_987.into(),
            content: content.to_owned(),
            client_id: None,
            create_time: Micros(0),
            edit_time: None,
            delete_time: None,
        }
    }

    #[test]
    fn a_short_content_is_pushed_unchanged() {
        assert_eq!(Push::new(&chat("안녕 👋")).body, "안녕 👋");
    }

    #[test]
    fn a_long_content_is_cut_to_the_longest_json_that_fits() {
        for unit in ["a", "é", "가", "👋", "\"", "\n", "\u{1}", "a\u{1}가"] {
            let content = unit.repeat(8_000);
            let body = Push::new(&chat(&content)).body;
            let json = json!(body).to_string().len() - 2;
            assert!(content.starts_with(&body) && json <= BODY_JSON_BYTES_MAX, "{unit:?}: {json}");
            assert!(json > BODY_JSON_BYTES_MAX - 16, "{unit:?}: {json} wastes room");
        }
    }

    #[test]
    fn a_cut_keeps_graphemes_whole() {
        for unit in ["e\u{301}", "👩\u{200d}👩\u{200d}👧", "👍\u{1f3fd}", "🇰🇷", "\u{1112}\u{116c}\u{11ab}", "❤\u{fe0f}"]
        {
            for shift in 0..unit.len() {
                let content = format!("{}{}", "x".repeat(shift), unit.repeat(2_000));
                let body = Push::new(&chat(&content)).body;
                assert_eq!((body.len() - shift) % unit.len(), 0, "{unit} is whole");
            }
        }
    }

    #[test]
    fn an_endless_chain_of_marks_is_cut_anyway() {
        let body = Push::new(&chat(&"\u{301}".repeat(8_000))).body;
        assert_eq!(body.len(), BODY_JSON_BYTES_MAX);
    }

    #[test]
    fn the_debug_output_of_a_push_leaves_its_content_out() {
        assert!(!format!("{:?}", Push::new(&chat("secret words"))).contains("secret"));
    }
}
