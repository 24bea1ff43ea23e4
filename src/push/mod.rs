//! The push contract: what a device is told of a chat, and what came of telling it.
//!
//! `actors::notifier` is the only caller. A push is sent at least once and may be repeated; the room is its
//! collapse key, so that a repeat replaces the first instead of ringing twice.

pub mod fcm;
mod log;
pub mod notifier;

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use unicode_normalization::char::is_combining_mark;

use crate::domain::chat::Chat;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq};

/// What every notification is called.
const TITLE: &str = "Hyper Chat New Message";

/// FCM refuses more than 4,096 bytes. Everything but body and token takes at most 640 of them (a test holds
/// that), which leaves 384 for the token; today's have about 160.
const BODY_JSON_BYTES_MAX: usize = 3_072;

/// How far a cut may move back to keep a grapheme whole; longer chains of marks are nobody's language.
const CUT_BACK_CHARS_MAX: usize = 32;

/// What a device is told of one chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// The same for all.
    pub title: &'static str,
    /// The content, cut to what fits.
    pub body: String,
    /// Who wrote it.
    pub sender_id: ChatterId,
    /// Whose devices are told.
    pub receiver_id: ChatterId,
    /// In which room.
    pub chatroom_id: ChatroomId,
    /// Which chat.
    pub chat_id: ChatId,
    /// Its place in the room.
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

    /// What the app reads; FCM wants every value as a string.
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

/// Leaves the content out: it must not reach a log.
impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("chatroom_id", &self.chatroom_id)
            .field("receiver_id", &self.receiver_id)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// What came of one send to one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// FCM has taken it over.
    Accepted,
    /// The token will never work again: remove it.
    TokenGone,
    /// This message will never be taken, though the token may be good: give up on it and tell the operator.
    Refused {
        /// FCM's codes; holds no token and no content.
        reason: String,
    },
    /// Not now.
    RetryLater {
        /// What FCM asked to wait.
        after: Option<Duration>,
        /// No send to any token can work until then.
        pause_all: bool,
        /// For the log; holds no token and no content.
        reason: String,
    },
}

/// Where pushes go.
#[derive(Debug)]
pub enum Pusher {
    /// To Google.
    Fcm(Box<fcm::Fcm>),
    /// To the log, since FCM is not configured.
    Log,
    /// Nowhere, since the key that is configured cannot be used: what is owed is left to instances whose key can, and to the next
    /// start.
    Off,
}

impl Pusher {
    /// FCM where it is configured, else the log. A key that cannot be used is told to the operator in one line and the
    /// server runs without pushes. Called once by the composition root.
    #[must_use]
    pub fn open(settings: &fcm::Settings) -> Self {
        let Some(path) = &settings.service_account else {
            tracing::info!("pushes are logged, not sent: FCM is not configured");
            return Self::Log;
        };
        match fcm::Fcm::open(path, settings) {
            Ok(fcm) => Self::Fcm(Box::new(fcm)),
            Err(error) => {
                tracing::error!(
                    error = %error,
                    "pushes are left to other instances and to the next start: the FCM service account cannot be used"
                );
                Self::Off
            }
        }
    }

    /// Sends to one device. Ends within the time limit of the settings.
    pub async fn send(&self, token: &str, push: &Push) -> Outcome {
        match self {
            Self::Fcm(fcm) => fcm.send(token, push).await,
            Self::Log => log::send(push),
            Self::Off => {
                let reason = "the service account cannot be used".to_owned();
                Outcome::RetryLater { after: None, pause_all: true, reason }
            }
        }
    }
}

/// The longest head of the content that fits, cut between graphemes where that is not far back.
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

/// Whether a cut here would part a mark, a joiner, a modifier or a jamo from what it belongs to.
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

/// How many bytes this character takes inside a JSON string.
fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
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
    fn a_short_content_is_told_as_it_is() {
        assert_eq!(Push::new(&chat("안녕 👋")).body, "안녕 👋");
    }

    #[test]
    fn a_long_content_is_cut_to_what_its_json_may_take() {
        for unit in ["a", "é", "가", "👋", "\"", "\n", "\u{1}", "a\u{1}가"] {
            let content = unit.repeat(8_000);
            let body = Push::new(&chat(&content)).body;
            let json = json!(body).to_string().len() - 2;
            assert!(content.starts_with(&body) && json <= BODY_JSON_BYTES_MAX, "{unit:?}: {json}");
            assert!(json > BODY_JSON_BYTES_MAX - 16, "{unit:?}: {json} wastes room");
        }
    }

    #[test]
    fn a_cut_does_not_part_what_is_seen_as_one() {
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
    fn a_chain_of_marks_without_end_is_cut_all_the_same() {
        let body = Push::new(&chat(&"\u{301}".repeat(8_000))).body;
        assert_eq!(body.len(), BODY_JSON_BYTES_MAX);
    }

    #[test]
    fn a_push_does_not_show_its_content_when_debugged() {
        assert!(!format!("{:?}", Push::new(&chat("secret words"))).contains("secret"));
    }
}
