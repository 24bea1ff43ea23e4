//! What the writer works out before and after the database: places in the room, repeated client_ids, pushes owed. No I/O.

use std::collections::HashMap;

use super::task::Attempt;
use super::{Append, Outcome, Refusal, Stored};
use crate::domain::chat::{Chat, first_hash};
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// The key that the unique index holds for a client_id.
pub(in crate::store) type ClientKey = [u8; 16];

/// A chat that is already stored under a client_id.
pub(in crate::store) struct Known {
    pub(in crate::store) chat: Chat,
    pub(in crate::store) first_hash: i64,
}

/// A new chat with what the row needs beyond the command.
pub(super) struct Fresh<'a> {
    /// Its index among the batch's appends.
    pub(super) at: usize,
    pub(super) append: &'a Append,
    pub(super) key: Option<ClientKey>,
    pub(super) first_hash: Option<i64>,
    pub(super) folded: Option<String>,
    /// Its room's index in [`Plan::rooms`].
    pub(super) room: usize,
    /// Its place among the room's chats in this batch: 1, 2, 3 …
    pub(super) place: i64,
}

/// How many chats one room gets.
pub(super) struct RoomLoad {
    pub(super) id: ChatroomId,
    pub(super) count: i64,
}

/// The newest chat of the batch that a receiver in a room is owed a push for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PendingPush {
    /// The room's index in [`Plan::rooms`].
    pub(super) room: usize,
    pub(super) receiver_id: ChatterId,
    pub(super) place: i64,
}

/// What to ask of the database for the appends of a batch.
#[derive(Default)]
pub(super) struct Plan<'a> {
    pub(super) fresh: Vec<Fresh<'a>>,
    pub(super) rooms: Vec<RoomLoad>,
    pub(super) owed: Vec<PendingPush>,
    /// Outcomes that need no row: retries and conflicts, by index among the appends.
    settled: Vec<(usize, Outcome)>,
    /// Appends that repeat a client_id of the same batch: index, and the index into `fresh` that they repeat.
    repeats: Vec<(usize, usize)>,
}

/// What the database gave one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomGot {
    Numbers { first_seq: Seq, first_version: Version, time: Micros },
    Refused(Refusal),
    Locked,
}

/// The keys to look up before anything is inserted.
pub(super) fn client_keys(appends: &[&Append]) -> Vec<Option<ClientKey>> {
    appends.iter().map(|a| a.client_id.as_ref().map(|id| id.key(a.sender_id))).collect()
}

impl<'a> Plan<'a> {
    pub(super) fn new(appends: &[&'a Append], keys: &[Option<ClientKey>], known: &HashMap<ClientKey, Known>) -> Self {
        let mut plan = Self::default();
        let mut rooms: HashMap<ChatroomId, usize> = HashMap::new();
        let mut first: HashMap<ClientKey, usize> = HashMap::new();
        for (at, (append, key)) in appends.iter().zip(keys).enumerate() {
            let hash = key.map(|_| first_hash(append.chatroom_id, append.content.as_str()));
            if let Some(key) = key {
                if let Some(known) = known.get(key) {
                    let same = Some(known.first_hash) == hash;
                    plan.settled.push((
                        at,
                        if same { Ok(Stored::Again(known.chat.clone())) } else { Err(Refusal::ClientIdConflict) },
                    ));
                    continue;
                }
                if let Some(&of) = first.get(key) {
                    if plan.fresh[of].first_hash == hash {
                        plan.repeats.push((at, of));
                    } else {
                        plan.settled.push((at, Err(Refusal::ClientIdConflict)));
                    }
                    continue;
                }
                first.insert(*key, plan.fresh.len());
            }
            let room = *rooms.entry(append.chatroom_id).or_insert_with(|| {
                plan.rooms.push(RoomLoad { id: append.chatroom_id, count: 0 });
                plan.rooms.len() - 1
            });
            plan.rooms[room].count += 1;
            let place = plan.rooms[room].count;
            plan.owe(room, append, place);
            plan.fresh.push(Fresh {
                at,
                append,
                key: *key,
                first_hash: hash,
                folded: append.content.folded(),
                room,
                place,
            });
        }
        plan
    }

    fn owe(&mut self, room: usize, append: &Append, place: i64) {
        if append.receiver_id == append.sender_id {
            return;
        }
        match self.owed.iter_mut().rev().find(|o| o.room == room && o.receiver_id == append.receiver_id) {
            Some(owed) => owed.place = place,
            None => self.owed.push(PendingPush { room, receiver_id: append.receiver_id, place }),
        }
    }

    /// The verdicts in the order of the appends. `ids` follow `fresh`; they are read only where the room got numbers.
    pub(super) fn verdicts(self, appends: usize, rooms: &[RoomGot], ids: &[ChatId], push_owed: bool) -> Vec<Attempt> {
        let mut verdicts: Vec<Option<Attempt>> = (0..appends).map(|_| None).collect();
        let done: Vec<(usize, Result<Chat, Option<Refusal>>)> =
            self.fresh.iter().zip(ids).map(|(fresh, id)| (fresh.at, chat(fresh, *id, rooms[fresh.room]))).collect();
        for (at, of) in self.repeats {
            verdicts[at] = Some(match &done[of].1 {
                Ok(chat) => Attempt::Done(Ok(Stored::Again(chat.clone()))),
                Err(refusal) => refused(*refusal),
            });
        }
        for (at, result) in done {
            verdicts[at] = Some(match result {
                Ok(chat) => Attempt::Done(Ok(Stored::New { chat, push_owed })),
                Err(refusal) => refused(refusal),
            });
        }
        for (at, outcome) in self.settled {
            verdicts[at] = Some(Attempt::Done(outcome));
        }
        verdicts.into_iter().map(|v| v.unwrap_or(Attempt::Done(Err(Refusal::Failed)))).collect()
    }
}

fn refused(refusal: Option<Refusal>) -> Attempt {
    refusal.map_or(Attempt::Locked, |refusal| Attempt::Done(Err(refusal)))
}

fn chat(fresh: &Fresh<'_>, id: ChatId, got: RoomGot) -> Result<Chat, Option<Refusal>> {
    let (first_seq, first_version, create_time) = match got {
        RoomGot::Numbers { first_seq, first_version, time } => (first_seq, first_version, time),
        RoomGot::Refused(refusal) => return Err(Some(refusal)),
        RoomGot::Locked => return Err(None),
    };
    let append = fresh.append;
    Ok(Chat {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{ClientId, Content};

    fn append(room: i64, sender: i64, client_id: Option<&str>, content: &str) -> Append {
        Append {
            chatroom_id: room.into(),
            sender_id: sender.into(),
            receiver_id: (3 - sender).into(),
            client_id: client_id.map(|id| ClientId::parse(id.to_owned()).unwrap()),
            content: Content::parse(content.to_owned()).unwrap(),
        }
    }

    fn outcomes(appends: &[Append], known: &HashMap<ClientKey, Known>, got: &[RoomGot]) -> Vec<String> {
        let appends: Vec<&Append> = appends.iter().collect();
        let plan = Plan::new(&appends, &client_keys(&appends), known);
        let ids: Vec<ChatId> = (100..).map(ChatId::new).take(plan.fresh.len()).collect();
        plan.verdicts(appends.len(), got, &ids, false)
            .into_iter()
            .map(|verdict| match verdict {
                Attempt::Done(Ok(Stored::New { chat, .. })) => format!("new {} at {}", chat.seq, chat.id),
                Attempt::Done(Ok(Stored::Again(chat))) => format!("again {}", chat.seq),
                Attempt::Done(other) => format!("{other:?}"),
                Attempt::Locked => "locked".to_owned(),
            })
            .collect()
    }

    const FROM_5: RoomGot =
        RoomGot::Numbers { first_seq: Seq::new(5), first_version: Version::new(9), time: Micros(0) };

    #[test]
    fn places_are_given_per_room_in_the_order_of_the_batch() {
        let batch = [append(1, 1, None, "a"), append(2, 1, None, "b"), append(1, 2, None, "c")];
        let from_1 = RoomGot::Numbers { first_seq: Seq::FIRST, first_version: Version::FIRST, time: Micros(0) };
        assert_eq!(
            outcomes(&batch, &HashMap::new(), &[FROM_5, from_1]),
            ["new 5 at 100", "new 1 at 101", "new 6 at 102"]
        );
    }

    #[test]
    fn a_client_id_repeated_within_a_batch_is_stored_once() {
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
    fn a_receiver_is_owed_the_newest_chat_once() {
        let batch = [append(1, 1, None, "a"), append(1, 2, None, "b"), append(1, 1, None, "c")];
        let appends: Vec<&Append> = batch.iter().collect();
        let plan = Plan::new(&appends, &client_keys(&appends), &HashMap::new());
        assert_eq!(
            plan.owed,
            [
                PendingPush { room: 0, receiver_id: 2.into(), place: 3 },
                PendingPush { room: 0, receiver_id: 1.into(), place: 2 }
            ]
        );
    }

    #[test]
    fn a_refused_or_locked_room_costs_only_its_own_chats() {
        let batch = [append(1, 1, None, "a"), append(2, 1, None, "b"), append(3, 1, None, "c")];
        let got = [RoomGot::Refused(Refusal::Closed), RoomGot::Locked, FROM_5];
        assert_eq!(outcomes(&batch, &HashMap::new(), &got), ["Err(Closed)", "locked", "new 5 at 102"]);
    }
}
