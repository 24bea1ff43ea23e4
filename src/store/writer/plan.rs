//! What the writer works out before and after the database: which chats need a row, their places in their rooms, and
//! the pending pushes. No I/O.

use std::collections::HashMap;

use super::client_ids::{ClientKey, Known, hash_of};
use super::command::{Append, Attempt, Outcome, Refusal, Stored};
use crate::domain::chat::Chat;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// The appends of one transaction, ready for the database.
pub(super) struct Plan<'a> {
    /// What happens to each append, in their order.
    fates: Vec<Fate>,
    pub(super) fresh: Vec<Fresh<'a>>,
    pub(super) rooms: Vec<RoomLoad>,
    pub(super) pushes: Vec<PlannedPush>,
}

/// What happens to one append.
enum Fate {
    /// It is inserted: its index in [`Plan::fresh`].
    Insert(usize),
    /// It repeats the client_id of the chat at this index in [`Plan::fresh`].
    Repeat(usize),
    /// It needs no row: a retry of a stored chat, or a conflict.
    Known(Outcome),
}

/// A new chat, with the columns that the command does not have.
pub(super) struct Fresh<'a> {
    pub(super) append: &'a Append,
    pub(super) key: Option<ClientKey>,
    pub(super) first_hash: Option<i64>,
    /// Its room's index in [`Plan::rooms`].
    pub(super) room: usize,
    /// Its place among the room's chats in this plan: 1, 2, 3 …
    pub(super) place: i64,
}

/// How many chats one room gets.
pub(super) struct RoomLoad {
    pub(super) id: ChatroomId,
    pub(super) count: i64,
}

/// The newest chat in the plan for which a receiver in a room gets a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlannedPush {
    /// The room's index in [`Plan::rooms`].
    pub(super) room: usize,
    pub(super) receiver_id: ChatterId,
    pub(super) place: i64,
}

/// The database's answer for one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomResult {
    /// The numbers of the room's first chat in the plan.
    Numbers {
        first_seq: Seq,
        first_version: Version,
        time: Micros,
    },
    Refused(Refusal),
    Locked,
}

impl<'a> Plan<'a> {
    pub(super) fn new(appends: &[&'a Append], keys: &[Option<ClientKey>], known: &HashMap<ClientKey, Known>) -> Self {
        let (fates, fresh) = sort(appends, keys, known);
        let mut plan = Self { fates, fresh, rooms: Vec::new(), pushes: Vec::new() };
        plan.give_places();
        plan.plan_pushes();
        plan
    }

    /// Groups the new chats by room and numbers those of each room.
    fn give_places(&mut self) {
        let mut indices: HashMap<ChatroomId, usize> = HashMap::new();
        for fresh in &mut self.fresh {
            let id = fresh.append.chatroom_id;
            fresh.room = *indices.entry(id).or_insert_with(|| {
                self.rooms.push(RoomLoad { id, count: 0 });
                self.rooms.len() - 1
            });
            let room = &mut self.rooms[fresh.room];
            room.count += 1;
            fresh.place = room.count;
        }
    }

    /// One push per room and receiver, for the newest chat; none in notes to self.
    fn plan_pushes(&mut self) {
        for fresh in &self.fresh {
            let (room, receiver_id, place) = (fresh.room, fresh.append.receiver_id, fresh.place);
            if receiver_id == fresh.append.sender_id {
                continue;
            }
            match self.pushes.iter_mut().rev().find(|push| push.room == room && push.receiver_id == receiver_id) {
                Some(push) => push.place = place,
                None => self.pushes.push(PlannedPush { room, receiver_id, place }),
            }
        }
    }

    /// The attempts in the order of the appends. `rooms` follow [`Plan::rooms`] and `ids` [`Plan::fresh`]; an id counts
    /// only where the room got numbers.
    pub(super) fn attempts(self, rooms: &[RoomResult], ids: &[ChatId], push_pending: bool) -> Vec<Attempt> {
        let attempt = |at: usize, stored: &dyn Fn(Chat) -> Stored| {
            let fresh = &self.fresh[at];
            match rooms[fresh.room] {
                RoomResult::Numbers { first_seq, first_version, time } => {
                    Attempt::Done(Ok(stored(chat(fresh, ids[at], first_seq, first_version, time))))
                }
                RoomResult::Refused(refusal) => Attempt::refused(refusal),
                RoomResult::Locked => Attempt::Locked,
            }
        };
        let outcome = |fate| match fate {
            Fate::Insert(at) => attempt(at, &|chat| Stored::New { chat, push_pending }),
            Fate::Repeat(at) => attempt(at, &Stored::Again),
            Fate::Known(outcome) => Attempt::Done(outcome),
        };
        self.fates.into_iter().map(outcome).collect()
    }
}

/// Finds the appends that need a row. Their rooms and places are given later.
fn sort<'a>(
    appends: &[&'a Append],
    keys: &[Option<ClientKey>],
    known: &HashMap<ClientKey, Known>,
) -> (Vec<Fate>, Vec<Fresh<'a>>) {
    let mut fresh: Vec<Fresh<'a>> = Vec::with_capacity(appends.len());
    let mut first: HashMap<ClientKey, usize> = HashMap::new();
    let mut fate = |append: &'a Append, key: Option<ClientKey>| {
        let first_hash = hash_of(append);
        if let Some(key) = key {
            if let Some(known) = known.get(&key) {
                return Fate::Known(known.outcome(first_hash));
            }
            if let Some(&at) = first.get(&key) {
                let same = fresh[at].first_hash == first_hash;
                return if same { Fate::Repeat(at) } else { Fate::Known(Err(Refusal::ClientIdConflict)) };
            }
            first.insert(key, fresh.len());
        }
        fresh.push(Fresh { append, key, first_hash, room: 0, place: 0 });
        Fate::Insert(fresh.len() - 1)
    };
    let fates = appends.iter().zip(keys).map(|(append, key)| fate(append, *key)).collect();
    (fates, fresh)
}

fn chat(fresh: &Fresh<'_>, id: ChatId, first_seq: Seq, first_version: Version, create_time: Micros) -> Chat {
    let append = fresh.append;
    Chat {
        id,
        chatroom_id: append.chatroom_id,
        seq: first_seq + fresh.place - 1,
        version: first_version + fresh.place - 1,
        sender_id: append.sender_id,
        receiver_id: append.receiver_id,
        content: append.content.as_str().to_owned(),
        client_id: append.client_id.as_ref().map(|id| id.as_str().to_owned()),
        create_time,
        edit_time: None,
        delete_time: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{ClientId, Content, first_hash};
    use crate::store::writer::client_ids::client_keys;

    fn append(room: i64, sender: i64, client_id: Option<&str>, content: &str) -> Append {
        Append {
            chatroom_id: room.into(),
            sender_id: sender.into(),
            receiver_id: (3 - sender).into(),
            client_id: client_id.map(|id| ClientId::parse(id.to_owned()).unwrap()),
            content: Content::parse(content.to_owned()).unwrap(),
        }
    }

    fn outcomes(appends: &[Append], known: &HashMap<ClientKey, Known>, rooms: &[RoomResult]) -> Vec<String> {
        let appends: Vec<&Append> = appends.iter().collect();
        let plan = Plan::new(&appends, &client_keys(&appends), known);
        let ids: Vec<ChatId> = (100..).map(ChatId::new).take(plan.fresh.len()).collect();
        plan.attempts(rooms, &ids, false)
            .into_iter()
            .map(|attempt| match attempt {
                Attempt::Done(Ok(Stored::New { chat, .. })) => format!("new {} at {}", chat.seq, chat.id),
                Attempt::Done(Ok(Stored::Again(chat))) => format!("again {}", chat.seq),
                Attempt::Done(other) => format!("{other:?}"),
                Attempt::Locked => "locked".to_owned(),
            })
            .collect()
    }

    const FROM_5: RoomResult =
        RoomResult::Numbers { first_seq: Seq::new(5), first_version: Version::new(9), time: Micros(0) };

    #[test]
    fn places_follow_the_order_of_each_rooms_chats() {
        let batch = [append(1, 1, None, "a"), append(2, 1, None, "b"), append(1, 2, None, "c")];
        let from_1 = RoomResult::Numbers { first_seq: Seq::FIRST, first_version: Version::FIRST, time: Micros(0) };
        assert_eq!(
            outcomes(&batch, &HashMap::new(), &[FROM_5, from_1]),
            ["new 5 at 100", "new 1 at 101", "new 6 at 102"]
        );
    }

    #[test]
    fn a_client_id_repeated_within_a_plan_is_stored_once() {
        let batch = [
            append(1, 1, Some("x"), "a"),
            append(1, 1, Some("x"), "a"),
            append(1, 1, Some("x"), "b"),
            append(1, 2, Some("x"), "b"),
        ];
        assert_eq!(
            outcomes(&batch, &HashMap::new(), &[FROM_5]),
            ["new 5 at 100", "again 5", "Err(ClientIdConflict)", "new 6 at 101"],
            "and another sender may use the same client_id"
        );
    }

    #[test]
    fn a_known_client_id_needs_the_same_room_and_content() {
        let stored = append(1, 1, Some("x"), "a");
        let key = stored.client_id.as_ref().unwrap().key(ChatterId::new(1));
        let known = || {
            let chat = Chat {
                id: 7.into(),
                chatroom_id: 1.into(),
                seq: 4.into(),
                version: 4.into(),
                sender_id: 1.into(),
                receiver_id: 2.into(),
                content: "edited since".into(),
                client_id: Some("x".into()),
                create_time: Micros(0),
                edit_time: None,
                delete_time: None,
            };
            HashMap::from([(key, Known { chat, first_hash: first_hash(1.into(), "a") })])
        };
        assert_eq!(outcomes(&[append(1, 1, Some("x"), "a")], &known(), &[]), ["again 4"]);
        assert_eq!(outcomes(&[append(1, 1, Some("x"), "b")], &known(), &[]), ["Err(ClientIdConflict)"]);
        assert_eq!(outcomes(&[append(2, 1, Some("x"), "a")], &known(), &[]), ["Err(ClientIdConflict)"]);
    }

    #[test]
    fn a_receiver_gets_one_push_for_the_newest_chat() {
        let batch = [append(1, 1, None, "a"), append(1, 2, None, "b"), append(1, 1, None, "c")];
        let appends: Vec<&Append> = batch.iter().collect();
        let plan = Plan::new(&appends, &client_keys(&appends), &HashMap::new());
        assert_eq!(
            plan.pushes,
            [
                PlannedPush { room: 0, receiver_id: 2.into(), place: 3 },
                PlannedPush { room: 0, receiver_id: 1.into(), place: 2 }
            ]
        );
    }

    #[test]
    fn a_refused_or_locked_room_affects_only_its_own_chats() {
        let batch = [append(1, 1, None, "a"), append(2, 1, None, "b"), append(3, 1, None, "c")];
        let got = [RoomResult::Refused(Refusal::Closed), RoomResult::Locked, FROM_5];
        assert_eq!(outcomes(&batch, &HashMap::new(), &got), ["Err(Closed)", "locked", "new 5 at 102"]);
    }
}
