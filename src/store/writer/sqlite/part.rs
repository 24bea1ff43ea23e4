//! Up to 64 chats of a batch as the arguments of one text, and what comes back for them.

use std::collections::HashMap;

use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteRow};
use sea_orm::sqlx::{self, Row as _, Sqlite as Driver};

use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, Seq, Version};
use crate::store::writer::plan::{Fresh, PendingPush, Plan, RoomGot};

/// Chats that go with one question, and what each room gets of them.
pub(super) struct Part<'p, 'a> {
    pub(super) chats: &'p [Fresh<'a>],
    /// Rooms with how many chats each gets here.
    rooms: Vec<(ChatroomId, i64)>,
    /// The room's index in `rooms` by its index in the plan.
    index: HashMap<usize, usize>,
    /// Chats of the rooms that went before this part, by index in `rooms`.
    before: Vec<i64>,
}

impl<'p, 'a> Part<'p, 'a> {
    pub(super) fn new(plan: &Plan<'_>, chats: &'p [Fresh<'a>]) -> Self {
        let mut part = Self { chats, rooms: Vec::new(), index: HashMap::new(), before: Vec::new() };
        for fresh in chats {
            let at = *part.index.entry(fresh.room).or_insert_with(|| {
                part.rooms.push((plan.rooms[fresh.room].id, 0));
                part.before.push(fresh.place - 1);
                part.rooms.len() - 1
            });
            part.rooms[at].1 += 1;
        }
        part
    }

    /// How many chats of the same room follow the one at this place.
    fn after(&self, room: usize, place: i64) -> Option<i64> {
        let at = *self.index.get(&room)?;
        Some(self.before[at] + self.rooms[at].1 - place)
    }

    pub(super) fn arguments(
        &self,
        plan: &Plan<'_>,
        size: usize,
        grace_us: i64,
    ) -> Result<SqliteArguments, sqlx::Error> {
        let now = Micros::now().0;
        let mut values = Arguments(SqliteArguments::default());
        for at in 0..size {
            let (id, count) = self.rooms.get(at).map_or((0, 0), |(id, count)| (id.get(), *count));
            values.add(id)?;
            values.add(count)?;
        }
        values.add(now)?;
        for at in 0..size {
            values
                .add_chat(self.chats.get(at).map(|fresh| (fresh, self.after(fresh.room, fresh.place).unwrap_or(0))))?;
        }
        // What is owed for the last chat of a room in the whole batch belongs to the part that has that chat.
        let here = |owed: &&PendingPush| {
            self.after(owed.room, owed.place).is_some_and(|after| {
                let at = self.index[&owed.room];
                (0..self.rooms[at].1).contains(&after)
            })
        };
        let owed: Vec<&PendingPush> = plan.owed.iter().filter(here).collect();
        for at in 0..size {
            let (room, receiver, after) = owed.get(at).map_or((0, 0, 0), |owed| {
                (plan.rooms[owed.room].id.get(), owed.receiver_id.get(), self.after(owed.room, owed.place).unwrap_or(0))
            });
            values.add(room)?;
            values.add(receiver)?;
            values.add(after)?;
        }
        values.add(now)?;
        values.add(now + grace_us)?;
        Ok(values.0)
    }

    /// One room's numbers; where the room got chats in an earlier part, the first numbers are known already.
    pub(super) fn take_room(
        &self,
        row: &SqliteRow,
        rooms: &mut HashMap<ChatroomId, RoomGot>,
    ) -> Result<(), sqlx::Error> {
        let (id, time) = (ChatroomId::new(row.try_get(0)?), Micros(row.try_get(3)?));
        let (last_seq, version) = (Seq::new(row.try_get(1)?), Version::new(row.try_get(2)?));
        let count = self.rooms.iter().find(|(room, _)| *room == id).map_or(0, |(_, count)| *count);
        let (first_seq, first_version) = (last_seq - count + 1, version - count + 1);
        rooms.entry(id).or_insert(RoomGot::Numbers { first_seq, first_version, time });
        Ok(())
    }

    /// SQLite numbers the rows of one statement upwards without a gap; chats of refused rooms have none.
    pub(super) fn give_ids(&self, mut last: i64, rooms: &HashMap<ChatroomId, RoomGot>, ids: &mut Vec<ChatId>) {
        for fresh in self.chats {
            let stored = rooms.contains_key(&fresh.append.chatroom_id);
            last += i64::from(stored);
            ids.push(ChatId::new(if stored { last } else { 0 }));
        }
    }
}

/// Arguments of a text, in its order.
struct Arguments(SqliteArguments);

impl Arguments {
    fn add<'q, T: sqlx::Encode<'q, Driver> + sqlx::Type<Driver> + 'q>(&mut self, value: T) -> Result<(), sqlx::Error> {
        sqlx::Arguments::add(&mut self.0, value).map_err(sqlx::Error::Encode)
    }

    fn add_chat(&mut self, chat: Option<(&Fresh<'_>, i64)>) -> Result<(), sqlx::Error> {
        let Some((fresh, after)) = chat else {
            return (0..8).try_for_each(|_| self.add(0_i64));
        };
        let append = fresh.append;
        self.add(append.chatroom_id.get())?;
        self.add(after)?;
        self.add(append.sender_id.get())?;
        self.add(append.content.as_str().to_owned())?;
        self.add(fresh.folded.clone())?;
        self.add(append.client_id.as_ref().map(|id| id.as_str().to_owned()))?;
        self.add(fresh.key.map(|key| key.to_vec()))?;
        self.add(fresh.first_hash)
    }
}
