//! Up to 64 chats of a plan as the arguments of one text, and the numbers that SQLite gives them.

use std::collections::HashMap;

use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteRow};
use sea_orm::sqlx::{self, Row as _, Sqlite as Driver};

use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, Seq, Version};
use crate::store::writer::plan::{Fresh, Plan, PlannedPush, RoomResult};

/// The chats of one text, and how many of them each room gets.
pub(super) struct Part<'p, 'a> {
    chats: &'p [Fresh<'a>],
    /// Rooms, and how many chats each gets in this text.
    rooms: Vec<(ChatroomId, i64)>,
    /// The room's index in `rooms` by its index in the plan.
    index: HashMap<usize, usize>,
    /// How many chats of each room went before this part, by index in `rooms`.
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
        // A push belongs to the part that has its chat.
        let here = |push: &&PlannedPush| {
            self.after(push.room, push.place).is_some_and(|after| {
                let at = self.index[&push.room];
                (0..self.rooms[at].1).contains(&after)
            })
        };
        let pushes: Vec<&PlannedPush> = plan.pushes.iter().filter(here).collect();
        for at in 0..size {
            let (room, receiver, after) = pushes.get(at).map_or((0, 0, 0), |push| {
                (plan.rooms[push.room].id.get(), push.receiver_id.get(), self.after(push.room, push.place).unwrap_or(0))
            });
            values.add(room)?;
            values.add(receiver)?;
            values.add(after)?;
        }
        values.add(now)?;
        values.add(now + grace_us)?;
        Ok(values.0)
    }

    /// Reads one room's numbers. Where an earlier part had chats of the room, its first numbers stay.
    pub(super) fn take_room(
        &self,
        row: &SqliteRow,
        rooms: &mut HashMap<ChatroomId, RoomResult>,
    ) -> Result<(), sqlx::Error> {
        let (id, time) = (ChatroomId::new(row.try_get(0)?), Micros(row.try_get(3)?));
        let (last_seq, version) = (Seq::new(row.try_get(1)?), Version::new(row.try_get(2)?));
        let count = self.rooms.iter().find(|(room, _)| *room == id).map_or(0, |(_, count)| *count);
        let (first_seq, first_version) = (last_seq - count + 1, version - count + 1);
        rooms.entry(id).or_insert(RoomResult::Numbers { first_seq, first_version, time });
        Ok(())
    }

    /// Gives the chats their ids: SQLite numbers the rows of one statement upwards without a gap, and chats of refused
    /// rooms have no row.
    pub(super) fn give_ids(&self, first_id: i64, rooms: &HashMap<ChatroomId, RoomResult>, ids: &mut Vec<ChatId>) {
        let mut next = first_id;
        for fresh in self.chats {
            let stored = rooms.contains_key(&fresh.append.chatroom_id);
            ids.push(ChatId::new(if stored { next } else { 0 }));
            next += i64::from(stored);
        }
    }
}

/// The arguments of a text, in its order.
struct Arguments(SqliteArguments);

impl Arguments {
    fn add<'q, T: sqlx::Encode<'q, Driver> + sqlx::Type<Driver> + 'q>(&mut self, value: T) -> Result<(), sqlx::Error> {
        sqlx::Arguments::add(&mut self.0, value).map_err(sqlx::Error::Encode)
    }

    fn add_chat(&mut self, chat: Option<(&Fresh<'_>, i64)>) -> Result<(), sqlx::Error> {
        let Some((fresh, after)) = chat else {
            return (0..7).try_for_each(|_| self.add(0_i64));
        };
        let append = fresh.append;
        self.add(append.chatroom_id.get())?;
        self.add(after)?;
        self.add(append.sender_id.get())?;
        self.add(append.content.as_str().to_owned())?;
        self.add(append.client_id.as_ref().map(|id| id.as_str().to_owned()))?;
        self.add(fresh.key.map(|key| key.to_vec()))?;
        self.add(fresh.first_hash)
    }
}
