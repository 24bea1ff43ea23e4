//! A batch on SQLite: one transaction on the one connection that writes.

mod statements;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Either, Row as _, Sqlite as Driver};
use sea_orm::{DbErr, FromQueryResult, QueryResult, RuntimeErr};

use statements::{ROWS_MAX, Statements, size_for};

use super::batch::{ClientKey, Fresh, Known, Owed, Plan, RoomGot, client_keys};
use super::moves::Row;
use super::run::Verdict;
use super::{Alter, Append, Change, Command, Outcome, Refusal, Stored};
use crate::domain::ChatroomId;
use crate::domain::clock::{Micros, micros};
use crate::store::StoreError;
use crate::store::chats::{chat_of, known_of};
use crate::store::pool::Pool;

pub(super) struct Sqlite {
    writes: Pool,
    grace_us: i64,
    statements: Statements,
}

/// What SQLite gave a batch.
struct Got {
    rooms: HashMap<ChatroomId, RoomGot>,
    /// The id of each chat that was inserted, in the order of the batch.
    last_ids: Vec<i64>,
    push_owed: bool,
}

impl Sqlite {
    pub(super) fn new(writes: Pool, push_grace: Duration) -> Self {
        Self { writes, grace_us: micros(push_grace), statements: Statements::new() }
    }

    pub(super) async fn commit(&mut self, commands: &[&Command]) -> Result<Vec<Verdict>, StoreError> {
        let mut db = self.connection().await?;
        let done = self.batch(&mut db, commands).await;
        Self::leave_no_transaction(db, done.is_err()).await;
        done.map_err(store_error)
    }

    pub(super) async fn move_watermarks(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        for rows in rows.chunks(ROWS_MAX) {
            let size = size_for(rows.len());
            let mut query = sqlx::query(AssertSqlSafe(self.statements.moves.text(size)));
            for row in rows {
                query = query.bind(row.chatroom_id).bind(row.chatter_id).bind(row.from);
                query = query.bind(row.delivered).bind(row.read).bind(row.sent);
            }
            for _ in 0..(size - rows.len()) * 6 {
                query = query.bind(0_i64);
            }
            query.execute(&mut *db).await.map_err(store_error)?;
        }
        Ok(())
    }

    async fn connection(&self) -> Result<PoolConnection<Driver>, StoreError> {
        self.writes.db().get_sqlite_connection_pool().acquire().await.map_err(store_error)
    }

    /// The next one to write shall not find itself in a transaction that failed.
    async fn leave_no_transaction(mut db: PoolConnection<Driver>, failed: bool) {
        // Where SQLite has rolled back by itself this is refused, which is as good.
        if failed && sqlx::query("ROLLBACK").execute(&mut *db).await.is_err() {
            tracing::debug!("nothing was left to roll back");
        }
    }

    async fn batch(&self, db: &mut SqliteConnection, commands: &[&Command]) -> Result<Vec<Verdict>, sqlx::Error> {
        let appends: Vec<&Append> =
            commands.iter().filter_map(|c| if let Command::Append(append) = c { Some(append) } else { None }).collect();
        let keys = client_keys(&appends);
        let known = look_up(db, &appends, &keys).await?;
        let plan = Plan::new(&appends, &keys, &known);
        let alone = plan.fresh.len() <= ROWS_MAX && appends.len() == commands.len();
        if !alone {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
        }
        let got = self.append_all(db, &plan, alone).await?;
        let rooms = self.rooms_of(db, &plan, got.rooms).await?;
        let mut appended = plan.verdicts(appends.len(), &rooms, &got.last_ids, got.push_owed).into_iter();
        let mut verdicts = Vec::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Append(_) => verdicts.extend(appended.next()),
                Command::Alter(alter) => verdicts.push(Verdict::Done(self::alter(db, alter).await?)),
            }
        }
        if !alone {
            sqlx::query("COMMIT").execute(&mut *db).await?;
        }
        Ok(verdicts)
    }

    /// Stores the new chats, at most [`ROWS_MAX`] with one question.
    async fn append_all(&self, db: &mut SqliteConnection, plan: &Plan<'_>, alone: bool) -> Result<Got, sqlx::Error> {
        let mut got = Got { rooms: HashMap::new(), last_ids: Vec::with_capacity(plan.fresh.len()), push_owed: false };
        for part in plan.fresh.chunks(ROWS_MAX) {
            let part = Part::new(plan, part);
            let size = size_for(part.chats.len());
            let text = if alone { self.statements.whole.text(size) } else { self.statements.part.text(size) };
            let query = sqlx::query_with(AssertSqlSafe(text), part.arguments(plan, size, self.grace_us)?);
            let mut answers = sqlx::Executor::fetch_many(&mut *db, query);
            let mut inserted = Vec::new();
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Right(row) => part.take_room(&row, &mut got.rooms)?,
                    Either::Left(done) => inserted.push((done.last_insert_rowid(), done.rows_affected())),
                }
            }
            // The chats' statement is the second, or the third behind BEGIN.
            let chats = usize::from(alone) + 1;
            let (last_id, count) = inserted.get(chats).copied().unwrap_or_default();
            got.push_owed |= inserted.get(chats + 1).is_some_and(|(_, owed)| *owed > 0);
            part.give_ids(last_id - i64::try_from(count).unwrap_or(0), &got.rooms, &mut got.last_ids);
        }
        Ok(got)
    }

    async fn rooms_of(
        &self,
        db: &mut SqliteConnection,
        plan: &Plan<'_>,
        found: HashMap<ChatroomId, RoomGot>,
    ) -> Result<Vec<RoomGot>, sqlx::Error> {
        let mut rooms = Vec::with_capacity(plan.rooms.len());
        for room in &plan.rooms {
            rooms.push(match found.get(&room.id) {
                Some(numbers) => *numbers,
                None => RoomGot::Refused(why_refused(db, room.id).await.unwrap_or(Refusal::Unavailable)),
            });
        }
        Ok(rooms)
    }
}

/// Chats that go with one question, and what each room gets of them.
struct Part<'p, 'a> {
    chats: &'p [Fresh<'a>],
    /// Rooms with how many chats each gets here.
    rooms: Vec<(ChatroomId, i64)>,
    /// The room's index in `rooms` by its index in the plan.
    index: HashMap<usize, usize>,
    /// Chats of the rooms that went before this part, by index in `rooms`.
    before: Vec<i64>,
}

impl<'p, 'a> Part<'p, 'a> {
    fn new(plan: &Plan<'_>, chats: &'p [Fresh<'a>]) -> Self {
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

    fn arguments(&self, plan: &Plan<'_>, size: usize, grace_us: i64) -> Result<SqliteArguments, sqlx::Error> {
        let now = Micros::now().0;
        let mut values = Arguments(SqliteArguments::default());
        for at in 0..size {
            let (id, count) = self.rooms.get(at).copied().unwrap_or_default();
            values.add(id)?;
            values.add(count)?;
        }
        values.add(now)?;
        for at in 0..size {
            values
                .add_chat(self.chats.get(at).map(|fresh| (fresh, self.after(fresh.room, fresh.place).unwrap_or(0))))?;
        }
        // What is owed for the last chat of a room in the whole batch belongs to the part that has that chat.
        let here = |owed: &&Owed| {
            self.after(owed.room, owed.place).is_some_and(|after| {
                let at = self.index[&owed.room];
                (0..self.rooms[at].1).contains(&after)
            })
        };
        let owed: Vec<&Owed> = plan.owed.iter().filter(here).collect();
        for at in 0..size {
            let (room, receiver, after) = owed.get(at).map_or((0, 0, 0), |owed| {
                (plan.rooms[owed.room].id, owed.receiver_id, self.after(owed.room, owed.place).unwrap_or(0))
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
    fn take_room(&self, row: &SqliteRow, rooms: &mut HashMap<ChatroomId, RoomGot>) -> Result<(), sqlx::Error> {
        let (id, last_seq, version, time): (i64, i64, i64, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let count = self.rooms.iter().find(|(room, _)| *room == id).map_or(0, |(_, count)| *count);
        let (first_seq, first_version, time) = (last_seq - count + 1, version - count + 1, Micros(time));
        rooms.entry(id).or_insert(RoomGot::Numbers { first_seq, first_version, time });
        Ok(())
    }

    /// SQLite numbers the rows of one statement upwards without a gap; chats of refused rooms have none.
    fn give_ids(&self, mut last: i64, rooms: &HashMap<ChatroomId, RoomGot>, ids: &mut Vec<i64>) {
        for fresh in self.chats {
            let stored = rooms.contains_key(&fresh.append.chatroom_id);
            last += i64::from(stored);
            ids.push(if stored { last } else { 0 });
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
        self.add(append.chatroom_id)?;
        self.add(after)?;
        self.add(append.sender_id)?;
        self.add(append.content.as_str().to_owned())?;
        self.add(fresh.folded.clone())?;
        self.add(append.client_id.as_ref().map(|id| id.as_str().to_owned()))?;
        self.add(fresh.key.map(|key| key.to_vec()))?;
        self.add(fresh.first_hash)
    }
}

fn store_error(error: sqlx::Error) -> StoreError {
    StoreError::from(DbErr::Query(RuntimeErr::SqlxError(std::sync::Arc::new(error))))
}

/// The chats that are already stored under one of these client_ids.
async fn look_up(
    db: &mut SqliteConnection,
    appends: &[&Append],
    keys: &[Option<ClientKey>],
) -> Result<HashMap<ClientKey, Known>, sqlx::Error> {
    let asked: Vec<Vec<u8>> = keys.iter().flatten().map(|key| key.to_vec()).collect();
    let mut rows = Vec::new();
    for part in asked.chunks(ROWS_MAX) {
        let size = size_for(part.len());
        let text = format!("SELECT * FROM chats WHERE client_key IN ({})", vec!["?"; size].join(","));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for at in 0..size {
            query = query.bind(part.get(at).cloned());
        }
        for row in query.fetch_all(&mut *db).await? {
            rows.push(model_of(row)?);
        }
    }
    Ok(known_of(rows, appends, keys))
}

fn model_of(row: SqliteRow) -> Result<::entity::chat::Model, sqlx::Error> {
    let model = ::entity::chat::Model::from_query_result(&QueryResult::from(row), "");
    model.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

async fn why_refused(db: &mut SqliteConnection, chatroom_id: i64) -> Result<Refusal, sqlx::Error> {
    let row = sqlx::query("SELECT 1 FROM chatrooms WHERE id = ?").bind(chatroom_id).fetch_optional(db).await?;
    Ok(if row.is_some() { Refusal::Closed } else { Refusal::NoRoom })
}

async fn alter(db: &mut SqliteConnection, alter: &Alter) -> Result<Outcome, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM chats WHERE id = ?").bind(alter.chat_id).fetch_optional(&mut *db).await?;
    let Some(row) = row.map(model_of).transpose()? else { return Ok(Err(Refusal::NoChat)) };
    if row.chatroom_id != alter.chatroom_id || row.delete_time.is_some() {
        return Ok(Err(Refusal::NoChat));
    }
    if row.sender_id != alter.by {
        return Ok(Err(Refusal::NotSender));
    }
    let bump = "UPDATE chatrooms SET version = version + 1 WHERE id = ? RETURNING version";
    let version = sqlx::query(bump).bind(alter.chatroom_id).fetch_optional(&mut *db).await?;
    let Some(version) = version else { return Ok(Err(Refusal::NoRoom)) };
    let now = Micros::now();
    let mut chat = chat_of(row, alter.receiver_id);
    chat.version = version.try_get(0)?;
    let (content, folded) = match &alter.change {
        Change::Edit(content) => {
            chat.edit_time = Some(now);
            (content.as_str(), content.folded())
        }
        Change::Delete => {
            chat.delete_time = Some(now);
            ("", None)
        }
    };
    content.clone_into(&mut chat.content);
    sqlx::query("UPDATE chats SET content = ?, folded = ?, version = ?, edit_time = ?, delete_time = ? WHERE id = ?")
        .bind(content)
        .bind(folded)
        .bind(chat.version)
        .bind(chat.edit_time.map(|time| time.0))
        .bind(chat.delete_time.map(|time| time.0))
        .bind(alter.chat_id)
        .execute(db)
        .await?;
    Ok(Ok(match alter.change {
        Change::Edit(_) => Stored::Edited(chat),
        Change::Delete => Stored::Deleted(chat),
    }))
}
