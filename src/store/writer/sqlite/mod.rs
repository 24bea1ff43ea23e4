//! A batch on SQLite: one transaction on the one connection that writes.

mod file;
mod part;
mod statements;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, Either, Row as _, Sqlite as Driver};

use file::DatabaseFile;
use part::Part;
use statements::{ROWS_MAX, Statements, size_for};

use super::plan::{ClientKey, Known, Plan, RoomGot, client_keys};
use super::task::Attempt;
use super::watermarks::{Row, moved_of};
use super::{Append, Change, Command, MovedWatermark, Mutation, Outcome, Refusal, Stored};
use crate::domain::clock::{Micros, micros};
use crate::domain::{ChatId, ChatroomId, Version};
use crate::store::StoreError;
use crate::store::chats::{chat_of, find_sql, known_of, model_of};
use crate::store::pool::Pool;

pub(super) struct Sqlite {
    writes: Pool,
    grace_us: i64,
    statements: Statements,
    file: Option<DatabaseFile>,
}

/// What SQLite gave a batch.
struct Got {
    rooms: HashMap<ChatroomId, RoomGot>,
    /// The id of each chat that was inserted, in the order of the batch.
    last_ids: Vec<ChatId>,
    push_owed: bool,
}

impl Sqlite {
    pub(super) fn new(writes: Pool, push_grace: Duration) -> Self {
        let file = writes.db().get_sqlite_connection_pool().connect_options().get_filename().to_owned();
        Self { writes, grace_us: micros(push_grace), statements: Statements::new(), file: DatabaseFile::at(&file) }
    }

    pub(super) async fn commit(&mut self, commands: &[&Command]) -> Result<Vec<Attempt>, StoreError> {
        let mut db = self.connection().await?;
        let done = self.batch(&mut db, commands).await;
        Self::leave_no_transaction(db, done.is_err()).await;
        done.map_err(StoreError::from)
    }

    pub(super) async fn move_watermarks(
        &mut self,
        rows: &[Row],
        moved: &mut Vec<MovedWatermark>,
    ) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        for rows in rows.chunks(ROWS_MAX) {
            let size = size_for(rows.len());
            let mut query = sqlx::query(AssertSqlSafe(self.statements.moves.text(size)));
            for row in rows {
                query = query.bind(row.chatroom_id.get()).bind(row.chatter_id.get()).bind(row.from.get());
                query = query.bind(row.delivered.get()).bind(row.read.get()).bind(row.sent_at_or_minus_1());
            }
            for _ in 0..(size - rows.len()) * 6 {
                query = query.bind(0_i64);
            }
            for row in query.fetch_all(&mut *db).await.map_err(StoreError::from)? {
                moved.push(moved_of(&row)?);
            }
        }
        Ok(())
    }

    async fn connection(&mut self) -> Result<PoolConnection<Driver>, StoreError> {
        self.file.as_mut().map_or(Ok(()), DatabaseFile::is_there)?;
        self.writes.db().get_sqlite_connection_pool().acquire().await.map_err(StoreError::from)
    }

    /// The next one to write shall not find itself in a transaction that failed.
    async fn leave_no_transaction(mut db: PoolConnection<Driver>, failed: bool) {
        // Where SQLite has rolled back by itself this is refused, which is as good.
        if failed && sqlx::query("ROLLBACK").execute(&mut *db).await.is_err() {
            tracing::debug!("nothing was left to roll back");
        }
    }

    async fn batch(&self, db: &mut SqliteConnection, commands: &[&Command]) -> Result<Vec<Attempt>, sqlx::Error> {
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
                Command::Mutation(alter) => verdicts.push(Attempt::Done(self::alter(db, alter).await?)),
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
        let text = find_sql(&format!("client_key IN ({})", vec!["?"; size].join(",")));
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

async fn why_refused(db: &mut SqliteConnection, chatroom_id: ChatroomId) -> Result<Refusal, sqlx::Error> {
    let row = sqlx::query("SELECT 1 FROM chatrooms WHERE id = ?").bind(chatroom_id.get()).fetch_optional(db).await?;
    Ok(if row.is_some() { Refusal::Closed } else { Refusal::NoRoom })
}

async fn alter(db: &mut SqliteConnection, alter: &Mutation) -> Result<Outcome, sqlx::Error> {
    let find = sqlx::query(AssertSqlSafe(find_sql("id = ?"))).bind(alter.chat_id.get());
    let row = find.fetch_optional(&mut *db).await?;
    let Some(row) = row.map(model_of).transpose()? else { return Ok(Err(Refusal::NoChat)) };
    if row.chatroom_id != alter.chatroom_id.get() || row.delete_time.is_some() {
        return Ok(Err(Refusal::NoChat));
    }
    if row.sender_id != alter.by.get() {
        return Ok(Err(Refusal::NotSender));
    }
    let bump = "UPDATE chatrooms SET version = version + 1 WHERE id = ? RETURNING version";
    let version = sqlx::query(bump).bind(alter.chatroom_id.get()).fetch_optional(&mut *db).await?;
    let Some(version) = version else { return Ok(Err(Refusal::NoRoom)) };
    let now = Micros::now();
    let mut chat = chat_of(row, alter.receiver_id);
    chat.version = Version::new(version.try_get(0)?);
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
        .bind(chat.version.get())
        .bind(chat.edit_time.map(|time| time.0))
        .bind(chat.delete_time.map(|time| time.0))
        .bind(alter.chat_id.get())
        .execute(db)
        .await?;
    Ok(Ok(match alter.change {
        Change::Edit(_) => Stored::Edited(chat),
        Change::Delete => Stored::Deleted(chat),
    }))
}
