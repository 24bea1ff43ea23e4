//! One room as a good client holds it: a cursor, the chats by `seq`, and how many of them are unread.

use std::collections::BTreeMap;

use serde_json::Value;

/// A chat, or its tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub version: i64,
    /// Unknown if only the deletion was received.
    pub sender: Option<i64>,
    /// None once it is deleted.
    pub content: Option<String>,
}

/// The counts of the server at one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub version: i64,
    pub last_seq: i64,
    pub read_seq: i64,
    pub unread: i64,
}

/// What an event did to the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// Applied before.
    Old,
    /// Another event is missing before it.
    Gap,
}

#[derive(Debug, Default)]
pub struct RoomView {
    /// Whose view it is.
    me: i64,
    pub cursor: i64,
    /// Chats below this `seq` are not held.
    pub floor: i64,
    /// The cursor when the view began, or was reset.
    pub began: i64,
    pub chats: BTreeMap<i64, Entry>,
    /// The versions of the applied events, in that order, since the view began.
    pub applied: Vec<i64>,
    /// `delivered_seq` and `read_seq` of both.
    pub marks: BTreeMap<i64, (i64, i64)>,
    counted: Counted,
    /// A change up to this version may or may not be in the counts.
    uncertain_since: Option<i64>,
}

impl RoomView {
    /// An empty view at the beginning of the room.
    pub fn new(me: i64) -> Self {
        Self { me, ..Self::default() }
    }

    /// A live event.
    pub fn live(&mut self, frame: &Value) -> Outcome {
        let row = match frame["type"].as_str() {
            Some("chat_deleted") => frame,
            _ => &frame["chat"],
        };
        let version = number(row, "version");
        if version <= self.cursor {
            return Outcome::Old;
        }
        if version > self.cursor + 1 {
            return Outcome::Gap;
        }
        self.apply(row, frame["type"] == "chat_deleted");
        self.cursor = version;
        Outcome::Applied
    }

    /// A page of changes: a gap where the view does not reach its beginning.
    pub fn page(&mut self, page: &Value) -> Outcome {
        if self.cursor < number(page, "since") {
            return Outcome::Gap;
        }
        let version = number(page, "version");
        if version <= self.cursor {
            return Outcome::Old;
        }
        for row in page["changes"].as_array().into_iter().flatten() {
            if number(row, "version") > self.cursor {
                self.apply(row, row["deleted"] == true);
            }
        }
        self.cursor = version;
        Outcome::Applied
    }

    /// Drops all chats and begins again with these.
    pub fn reset(&mut self, frame: &Value) {
        self.chats.clear();
        self.applied.clear();
        (self.cursor, self.began) = (number(frame, "version"), number(frame, "version"));
        let chats = frame["chats"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.floor = chats.first().map_or(i64::MAX, |chat| number(chat, "seq"));
        for chat in chats {
            self.chats.insert(number(chat, "seq"), kept(chat));
        }
        // A reset does not show what was sent and deleted between the count and these chats.
        if self.cursor > self.counted.version {
            self.uncertain_since = Some(self.cursor);
        }
    }

    fn apply(&mut self, row: &Value, deleted: bool) {
        let seq = number(row, "seq");
        let version = number(row, "version");
        self.applied.push(version);
        if !deleted {
            if seq >= self.floor {
                self.chats.insert(seq, kept(row));
            }
            return;
        }
        let known = self.chats.get(&seq).and_then(|entry| entry.sender);
        let sender = row["sender_id"].as_i64().or(known);
        let counted = seq > self.counted.read_seq && seq <= self.counted.last_seq;
        if sender.is_none() && counted && version > self.counted.version {
            self.uncertain_since = Some(version);
        }
        let id = row["chat_id"].as_i64().unwrap_or_else(|| number(row, "id"));
        if seq >= self.floor {
            self.chats.insert(seq, Entry { id, version, sender, content: None });
        }
    }

    /// The server counted; false if these counts are neither newer nor older than the last ones.
    pub fn count(&mut self, counted: Counted) -> bool {
        let newer = counted.version >= self.counted.version && counted.read_seq >= self.counted.read_seq;
        let older = counted.version <= self.counted.version && counted.read_seq <= self.counted.read_seq;
        if newer {
            self.counted = counted;
            self.uncertain_since = self.uncertain_since.filter(|version| *version > counted.version);
        }
        newer || older
    }

    /// Chats were read, and the server did not count the rest.
    pub fn uncounted(&mut self) {
        self.uncertain_since = self.uncertain_since.max(Some(self.counted.version));
    }

    /// Whether only the server knows how many chats are unread.
    pub fn needs_requery(&self) -> bool {
        self.uncertain_since.is_some()
    }

    /// The server's count, and the changes since.
    pub fn unread(&self) -> i64 {
        let other = |entry: &Entry| entry.sender.is_some_and(|sender| sender != self.me);
        let new = self.chats.range(self.counted.last_seq + 1..).filter(|(_, e)| e.content.is_some() && other(e));
        let read = self.counted.read_seq.min(self.counted.last_seq);
        let gone = self.chats.range(read + 1..self.counted.last_seq.max(read) + 1);
        let gone = gone.filter(|(_, e)| e.content.is_none() && e.version > self.counted.version && other(e));
        self.counted.unread + new.count() as i64 - gone.count() as i64
    }

    /// The highest `seq` that is held.
    pub fn last_seq(&self) -> i64 {
        self.chats.last_key_value().map_or(0, |(seq, _)| *seq)
    }
}

fn kept(chat: &Value) -> Entry {
    Entry {
        id: number(chat, "id"),
        version: number(chat, "version"),
        sender: chat["sender_id"].as_i64(),
        content: Some(chat["content"].as_str().unwrap_or_else(|| panic!("no content: {chat}")).to_owned()),
    }
}

/// A number that must be there.
pub fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ME: i64 = 1;
    const OTHER: i64 = 2;

    fn chat(seq: i64, version: i64, sender: i64) -> Value {
        json!({"id": seq + 100, "seq": seq, "version": version, "sender_id": sender, "content": "a"})
    }

    fn event(seq: i64, version: i64, sender: i64) -> Value {
        json!({"type": "chat", "chat": chat(seq, version, sender)})
    }

    fn deleted(seq: i64, version: i64) -> Value {
        json!({"type": "chat_deleted", "chat_id": seq + 100, "seq": seq, "version": version})
    }

    fn page(since: i64, version: i64, rows: &[Value]) -> Value {
        json!({"since": since, "version": version, "changes": rows})
    }

    #[test]
    fn only_the_next_version_is_applied() {
        let mut view = RoomView::new(ME);
        assert_eq!(view.live(&event(2, 2, OTHER)), Outcome::Gap);
        assert_eq!(view.live(&event(1, 1, OTHER)), Outcome::Applied);
        assert_eq!(view.live(&event(1, 1, OTHER)), Outcome::Old);
        assert_eq!((view.cursor, view.last_seq(), view.applied.as_slice()), (1, 1, &[1][..]));
    }

    #[test]
    fn a_page_is_applied_above_the_cursor_and_moves_it_to_its_version() {
        let mut view = RoomView::new(ME);
        view.live(&event(1, 1, OTHER));
        assert_eq!(view.page(&page(2, 9, &[chat(2, 3, OTHER)])), Outcome::Gap);
        assert_eq!(view.page(&page(0, 9, &[chat(1, 1, OTHER), chat(2, 3, ME)])), Outcome::Applied);
        assert_eq!((view.cursor, view.applied.as_slice()), (9, &[1, 3][..]));
        assert_eq!(view.page(&page(0, 8, &[chat(1, 1, OTHER)])), Outcome::Old);
    }

    #[test]
    fn a_reset_begins_anew() {
        let mut view = RoomView::new(ME);
        view.live(&event(1, 1, OTHER));
        view.reset(&json!({"version": 2_000, "chats": [chat(900, 950, OTHER), chat(901, 951, ME)]}));
        assert_eq!((view.cursor, view.floor, view.last_seq(), view.applied.len()), (2_000, 900, 901, 0));
        view.page(&page(2_000, 2_001, &[chat(5, 2_001, OTHER)]));
        assert!(!view.chats.contains_key(&5), "below the floor");
        assert!(view.needs_requery(), "only the server knows what was unread in between");
    }

    #[test]
    fn only_what_comes_above_the_count_changes_it() {
        let mut view = RoomView::new(ME);
        // Counted at version 3: chats 1 to 3 of the other, of which the first was read.
        assert!(view.count(Counted { version: 3, last_seq: 3, read_seq: 1, unread: 2 }));
        view.page(&page(0, 3, &[chat(1, 1, OTHER), chat(2, 2, OTHER), chat(3, 3, OTHER)]));
        assert_eq!(view.unread(), 2, "what was counted is not counted again");
        view.live(&event(4, 4, OTHER));
        view.live(&event(5, 5, ME));
        assert_eq!(view.unread(), 3, "one's own are never unread");
        view.live(&deleted(1, 6));
        assert_eq!(view.unread(), 3, "it was read");
        view.live(&deleted(2, 7));
        view.live(&deleted(4, 8));
        assert_eq!(view.unread(), 1, "one that was counted and one that came later are gone");
        assert!(view.count(Counted { version: 8, last_seq: 5, read_seq: 5, unread: 0 }));
        assert_eq!(view.unread(), 0);
    }

    #[test]
    fn counts_come_in_order_or_contradict_each_other() {
        let mut view = RoomView::new(ME);
        let at = |version, read_seq| Counted { version, last_seq: 9, read_seq, unread: read_seq };
        assert!(view.count(at(5, 3)));
        assert!(view.count(at(4, 2)), "older, and passed over");
        assert_eq!(view.unread(), 3);
        assert!(!view.count(at(6, 2)), "neither");
    }

    #[test]
    fn the_deletion_of_a_chat_that_was_never_seen_needs_a_requery() {
        let mut view = RoomView::new(ME);
        view.count(Counted { version: 3, last_seq: 3, read_seq: 1, unread: 2 });
        view.page(&page(0, 4, &[chat(1, 1, OTHER), json!({"id": 102, "seq": 2, "version": 4, "deleted": true})]));
        assert!(view.needs_requery());
        view.count(Counted { version: 4, last_seq: 3, read_seq: 1, unread: 1 });
        assert!(!view.needs_requery());
        assert_eq!(view.unread(), 1);
    }
}
