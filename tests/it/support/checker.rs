//! The checker after a fault: compares what clients received with the database and with each other.
//!
//! I1: an acknowledged chat is stored with equal content. I2: one row per `client_id`. I3: `seq` is 1..n in each room.
//! I4: the `seq` of the chats on a socket rises by exactly 1, and each equals its row. I5: both people see the same
//! chats in the end. I6: a chat that was sent after the acknowledgement of another comes after it.

use std::collections::{HashMap, HashSet};

use entity::chat;
use serde_json::Value;

use super::account::Person;
use super::chatroom_socket::ChatroomSocket;
use super::server::TestServer;

/// A chat whose storing the server acknowledged.
#[derive(Clone, Debug)]
pub struct Acked {
    /// Chats of one chain were sent one after the other, each after the acknowledgement of the one before.
    pub chain: usize,
    pub id: i64,
    pub room: i64,
    pub seq: i64,
    pub client_id: String,
    pub content: String,
}

impl Acked {
    /// From the answer to a POST.
    pub fn from_chat(chat: &Value, chain: usize, client_id: &str, content: &str) -> Self {
        let number = |key: &str| chat[key].as_i64().unwrap_or_else(|| panic!("{key} is no number in {chat}"));
        Self {
            chain,
            id: number("id"),
            room: number("chatroom_id"),
            seq: number("seq"),
            client_id: client_id.to_owned(),
            content: content.to_owned(),
        }
    }
}

/// The chats that a socket received.
struct Seen {
    room: i64,
    chats: Vec<Value>,
    /// How many chats had been acknowledged when it opened, if that is known.
    since: Option<usize>,
}

/// Collects what clients saw; `verify` checks it.
#[derive(Default)]
pub struct Checker {
    acked: Vec<Acked>,
    seen: Vec<Seen>,
    views: Vec<(i64, Person, Person)>,
}

impl Checker {
    pub fn acked(mut self, acked: Vec<Acked>) -> Self {
        self.acked.extend(acked);
        self
    }

    /// The chats that one socket received while it was open.
    pub fn saw(&mut self, room: i64, socket: &ChatroomSocket) {
        self.seen.push(Seen { room, chats: socket.chats.clone(), since: None });
    }

    /// The same for a socket that opened when so many of the chats given to `acked` had been acknowledged.
    pub fn saw_since(&mut self, room: i64, socket: &ChatroomSocket, acked: usize) {
        self.seen.push(Seen { room, chats: socket.chats.clone(), since: Some(acked) });
    }

    /// The histories of these two are compared in the end.
    pub fn compare_views(mut self, room: i64, one: &Person, other: &Person) -> Self {
        self.views.push((room, one.clone(), other.clone()));
        self
    }

    /// Checks I1 to I6; edits must not have happened. The number of chats in all rooms.
    pub async fn verify(self, server: &TestServer) -> usize {
        let dump = server.dump().await;
        let rooms: HashSet<i64> = self.views.iter().map(|v| v.0).chain(self.acked.iter().map(|a| a.room)).collect();
        let mut rows = HashMap::new();
        for room in rooms {
            let chats = dump.chats(room).await;
            let head = dump.room(room).await.expect("the room is there").last_seq;
            check_sequence(room, &chats, head);
            rows.insert(room, chats);
        }
        check_client_ids(rows.values().flatten());
        check_acked(&self.acked, &rows);
        check_chains(&self.acked);
        for seen in &self.seen {
            check_seen(seen.room, &seen.chats, &rows[&seen.room]);
            if let Some(since) = seen.since {
                check_start(seen.room, &seen.chats, &self.acked[since.min(self.acked.len())..]);
            }
        }
        for (room, one, other) in &self.views {
            let (left, right) = (one.history(*room).await, other.history(*room).await);
            check_views(*room, &left, &right, &rows[room]);
        }
        rows.values().map(Vec::len).sum()
    }
}

fn check_sequence(room: i64, chats: &[chat::Model], head: i64) {
    for (chat, expected) in chats.iter().zip(1..) {
        assert_eq!(chat.seq, expected, "I3: room {room} has a hole or a double before {expected}");
    }
    assert_eq!(chats.len() as i64, head, "I3: the counter of room {room} is not its number of chats");
    let times: Vec<_> = chats.iter().map(|c| c.create_time).collect();
    assert!(times.is_sorted(), "I3: create_time goes back in room {room}");
}

fn check_client_ids<'a>(chats: impl Iterator<Item = &'a chat::Model>) {
    let mut known = HashSet::new();
    for chat in chats {
        if let Some(client_id) = &chat.client_id {
            assert!(known.insert((chat.sender_id, client_id)), "I2: {client_id} of {} is stored twice", chat.sender_id);
        }
    }
}

fn check_acked(acked: &[Acked], rows: &HashMap<i64, Vec<chat::Model>>) {
    let mut places = HashSet::new();
    for ack in acked {
        let row = rows[&ack.room].get((ack.seq - 1) as usize);
        let row = row.unwrap_or_else(|| panic!("I1: acknowledged and lost: {ack:?}"));
        let stored = (row.id, row.seq, row.content.as_str(), row.client_id.as_deref());
        assert_eq!(stored, (ack.id, ack.seq, ack.content.as_str(), Some(ack.client_id.as_str())), "I1: {ack:?}");
        assert!(places.insert(ack.id), "I2: two chats were acknowledged as one row: {ack:?}");
    }
}

fn check_chains(acked: &[Acked]) {
    let mut last: HashMap<usize, &Acked> = HashMap::new();
    for ack in acked {
        if let Some(before) = last.insert(ack.chain, ack) {
            assert!(before.room != ack.room || before.seq < ack.seq, "I6: {before:?} was acknowledged before {ack:?}");
        }
    }
}

fn check_seen(room: i64, seen: &[Value], rows: &[chat::Model]) {
    let start = seen.first().and_then(|c| c["seq"].as_i64()).unwrap_or(1);
    for (expected, chat) in (start..).zip(seen) {
        assert_eq!(chat["seq"], expected, "I4: a socket of room {room} skipped or repeated: {chat}");
        let row = rows.get((expected - 1) as usize).unwrap_or_else(|| panic!("I4: shown and not stored: {chat}"));
        assert_eq!((&chat["id"], &chat["message"]), (&row.id.into(), &row.content.clone().into()), "I4: room {room}");
    }
}

/// Of the chats that were acknowledged after a socket opened, the first of each chain may have been stored before. The
/// rest was sent later, so the socket must have received it.
fn check_start(room: i64, seen: &[Value], later: &[Acked]) {
    let Some(start) = seen.first().and_then(|chat| chat["seq"].as_i64()) else { return };
    let mut begun = HashSet::new();
    for ack in later.iter().filter(|ack| ack.room == room) {
        let sent_later = !begun.insert(ack.chain);
        assert!(!sent_later || ack.seq >= start, "I4: a socket of room {room} begins with {start}, without {ack:?}");
    }
}

fn check_views(room: i64, left: &[Value], right: &[Value], rows: &[chat::Model]) {
    let shown = |chats: &[Value]| -> Vec<(i64, i64, String)> {
        let one = |c: &Value| Some((c["id"].as_i64()?, c["seq"].as_i64()?, c["content"].as_str()?.to_owned()));
        chats.iter().map(|c| one(c).unwrap_or_else(|| panic!("I5: not a chat: {c}"))).collect()
    };
    let stored: Vec<_> = rows.iter().filter(|r| r.delete_time.is_none()).collect();
    let stored: Vec<_> = stored.iter().map(|r| (r.id, r.seq, r.content.clone())).collect();
    assert_eq!(shown(left), shown(right), "I5: the two of room {room} see different chats");
    assert_eq!(shown(left), stored, "I5: the two of room {room} see something else than is stored");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(seq: i64, content: &str, client_id: Option<&str>) -> chat::Model {
        chat::Model {
            id: seq + 100,
            chatroom_id: 1,
            seq,
            version: seq,
            sender_id: 5,
            content: content.to_owned(),
            client_id: client_id.map(str::to_owned),
            client_key: None,
            first_hash: None,
            create_time: seq,
            edit_time: None,
            delete_time: None,
        }
    }

    fn ack(seq: i64, content: &str) -> Acked {
        let client_id = seq.to_string();
        Acked { chain: 0, id: seq + 100, room: 1, seq, client_id, content: content.to_owned() }
    }

    fn fails(check: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(check).is_err()
    }

    #[test]
    fn it_sees_a_hole_and_a_double_in_a_sequence() {
        check_sequence(1, &[row(1, "a", None), row(2, "b", None)], 2);
        assert!(fails(|| check_sequence(1, &[row(1, "a", None), row(3, "b", None)], 2)));
        assert!(fails(|| check_sequence(1, &[row(1, "a", None), row(1, "b", None)], 2)));
        assert!(fails(|| check_sequence(1, &[row(1, "a", None)], 2)));
    }

    #[test]
    fn it_sees_a_chat_that_is_stored_twice() {
        check_client_ids([row(1, "a", Some("x")), row(2, "a", None), row(3, "a", None)].iter());
        assert!(fails(|| check_client_ids([row(1, "a", Some("x")), row(2, "a", Some("x"))].iter())));
    }

    #[test]
    fn it_sees_an_acknowledged_chat_that_is_lost_or_changed() {
        let rows = || HashMap::from([(1, vec![row(1, "a", Some("1"))])]);
        check_acked(&[ack(1, "a")], &rows());
        assert!(fails(move || check_acked(&[ack(2, "a")], &rows())));
        assert!(fails(move || check_acked(&[ack(1, "b")], &rows())));
        assert!(fails(move || check_acked(&[ack(1, "a"), ack(1, "a")], &rows())));
    }

    #[test]
    fn it_sees_an_order_against_the_acknowledgements() {
        check_chains(&[ack(1, "a"), ack(2, "b")]);
        assert!(fails(|| check_chains(&[ack(2, "b"), ack(1, "a")])));
    }

    #[test]
    fn it_sees_what_a_socket_missed() {
        let rows = || vec![row(1, "a", None), row(2, "b", None), row(3, "c", None)];
        let chat = |seq: i64, text: &str| json!({"id": seq + 100, "seq": seq, "message": text});
        check_seen(1, &[chat(2, "b"), chat(3, "c")], &rows());
        assert!(fails(move || check_seen(1, &[chat(1, "a"), chat(3, "c")], &rows())));
        assert!(fails(move || check_seen(1, &[chat(2, "b"), chat(2, "b")], &rows())));
        assert!(fails(move || check_seen(1, &[chat(2, "other")], &rows())));
    }

    #[test]
    fn it_sees_that_a_socket_began_too_late() {
        let seen = || [json!({"seq": 3})];
        check_start(1, &seen(), &[ack(2, "stored before, perhaps"), ack(3, "a")]);
        check_start(2, &seen(), &[ack(1, "elsewhere"), ack(2, "elsewhere")]);
        assert!(fails(move || check_start(1, &seen(), &[ack(1, "a"), ack(2, "b")])));
    }

    #[test]
    fn it_sees_that_two_people_see_different_chats() {
        let chat = |seq: i64| json!({"id": seq + 100, "seq": seq, "content": "a"});
        check_views(1, &[chat(1)], &[chat(1)], &[row(1, "a", None)]);
        assert!(fails(move || check_views(1, &[chat(1)], &[], &[row(1, "a", None)])));
        assert!(fails(move || check_views(1, &[], &[], &[row(1, "a", None)])));
    }
}
