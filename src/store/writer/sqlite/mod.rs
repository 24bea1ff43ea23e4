//! The writer on SQLite: one transaction on the one connection that writes.

mod part;
mod statements;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, Either, Row as _, Sqlite as Driver};

use part::Part;
use statements::{AppendTexts, ROWS_MAX, Statements, Step, size_for};

use super::client_ids::{ClientKey, HAS_ROOM, Known, client_keys, known_of};
use super::command::{Append, Attempt, Command, Mutate, Mutation, Outcome, Refusal, Stored};
use super::plan::{Plan, RoomResult};
use super::watermark_sql::moved_of;
use super::watermarks::{MovedWatermark, WatermarkRow};
use crate::domain::clock::{Micros, micros};
use crate::domain::{ChatId, ChatroomId, Version};
use crate::store::error::StoreError;
use crate::store::file_identity::FileIdentity;
use crate::store::pool::Pool;
use crate::store::rows::{chat_of, chat_row};
use crate::store::sql::select_chats;

pub(super) struct Sqlite {
    writes: Pool,
    grace_us: i64,
    statements: Statements,
    file: Option<FileIdentity>,
}

/// SQLite's answer for the new chats of a plan.
#[derive(Default)]
struct Inserted {
    rooms: HashMap<ChatroomId, RoomResult>,
    /// The id of each new chat, in the order of the plan.
    ids: Vec<ChatId>,
    push_pending: bool,
}

impl Sqlite {
    pub(super) fn new(writes: Pool, push_grace: Duration) -> Self {
        let file = writes.db().get_sqlite_connection_pool().connect_options().get_filename().to_owned();
        Self { writes, grace_us: micros(push_grace), statements: Statements::new(), file: FileIdentity::at(&file) }
    }

    pub(super) async fn commit(&mut self, commands: &[&Command]) -> Result<Vec<Attempt>, StoreError> {
        let mut db = self.connection().await?;
        let done = self.carry_out(&mut db, commands).await;
        if done.is_err() {
            Self::roll_back(db).await;
        }
        done.map_err(StoreError::from)
    }

    pub(super) async fn move_watermarks(
        &mut self,
        rows: &[WatermarkRow],
        moved: &mut Vec<MovedWatermark>,
    ) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        for rows in rows.chunks(ROWS_MAX) {
            let size = size_for(rows.len());
            let mut query = sqlx::query(AssertSqlSafe(self.statements.watermarks.text(size)));
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

    pub(super) async fn free_client_ids(&mut self, keys: &[ClientKey]) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        let free = format!("DELETE FROM chats WHERE client_key = ? AND {HAS_ROOM} IS NULL");
        for key in keys {
            let query = sqlx::query(AssertSqlSafe(free.as_str())).bind(key.to_vec());
            query.execute(&mut *db).await.map_err(StoreError::from)?;
        }
        Ok(())
    }

    async fn connection(&mut self) -> Result<PoolConnection<Driver>, StoreError> {
        self.file.as_mut().map_or(Ok(()), FileIdentity::check)?;
        self.writes.db().get_sqlite_connection_pool().acquire().await.map_err(StoreError::from)
    }

    /// Ends a failed transaction, so that the next user of the connection does not continue it.
    async fn roll_back(mut db: PoolConnection<Driver>) {
        // SQLite refuses this where it has rolled back by itself.
        if sqlx::query("ROLLBACK").execute(&mut *db).await.is_err() {
            tracing::debug!("there was nothing to roll back");
        }
    }

    async fn carry_out(&self, db: &mut SqliteConnection, commands: &[&Command]) -> Result<Vec<Attempt>, sqlx::Error> {
        let appends: Vec<&Append> =
            commands.iter().filter_map(|c| if let Command::Append(append) = c { Some(append) } else { None }).collect();
        let keys = client_keys(&appends);
        let known = find_client_ids(db, &appends, &keys).await?;
        let plan = Plan::new(&appends, &keys, &known);
        // One text that is a transaction of its own, where one is enough.
        if plan.fresh.len() <= ROWS_MAX && appends.len() == commands.len() {
            return self.append(db, plan, &self.statements.whole).await;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
        let mut appended = self.append(db, plan, &self.statements.part).await?.into_iter();
        let mut attempts = Vec::with_capacity(commands.len());
        for command in commands {
            attempts.push(match command {
                Command::Append(_) => appended.next().unwrap_or(Attempt::refused(Refusal::Failed)),
                Command::Mutate(mutate) => Attempt::Done(self::mutate(db, mutate).await?),
            });
        }
        sqlx::query("COMMIT").execute(&mut *db).await?;
        Ok(attempts)
    }

    /// Stores the new chats of a plan, at most [`ROWS_MAX`] with one text.
    async fn append(
        &self,
        db: &mut SqliteConnection,
        plan: Plan<'_>,
        texts: &AppendTexts,
    ) -> Result<Vec<Attempt>, sqlx::Error> {
        let mut inserted = Inserted::default();
        for chats in plan.fresh.chunks(ROWS_MAX) {
            let part = Part::new(&plan, chats);
            let size = size_for(chats.len());
            let arguments = part.arguments(&plan, size, self.grace_us)?;
            let query = sqlx::query_with(AssertSqlSafe(texts.sized.text(size)), arguments);
            let mut answers = sqlx::Executor::fetch_many(&mut *db, query);
            let (mut steps, mut first_id) = (texts.steps.iter(), 0);
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Right(row) => part.take_room(&row, &mut inserted.rooms)?,
                    Either::Left(done) => match steps.next() {
                        Some(Step::InsertChats) => {
                            first_id = done.last_insert_rowid() - i64::try_from(done.rows_affected()).unwrap_or(0) + 1;
                        }
                        Some(Step::UpsertPushes) => inserted.push_pending |= done.rows_affected() > 0,
                        Some(Step::Begin | Step::UpdateRooms | Step::Commit) | None => {}
                    },
                }
            }
            part.give_ids(first_id, &inserted.rooms, &mut inserted.ids);
        }
        let mut rooms = Vec::with_capacity(plan.rooms.len());
        for room in &plan.rooms {
            rooms.push(match inserted.rooms.get(&room.id) {
                Some(numbers) => *numbers,
                None => RoomResult::Refused(why_refused(db, room.id).await.unwrap_or(Refusal::Unavailable)),
            });
        }
        Ok(plan.attempts(&rooms, &inserted.ids, inserted.push_pending))
    }
}

/// The chats that are already stored under one of these client_ids.
async fn find_client_ids(
    db: &mut SqliteConnection,
    appends: &[&Append],
    keys: &[Option<ClientKey>],
) -> Result<HashMap<ClientKey, Known>, sqlx::Error> {
    let wanted: Vec<Vec<u8>> = keys.iter().flatten().map(|key| key.to_vec()).collect();
    let mut rows = Vec::new();
    for part in wanted.chunks(ROWS_MAX) {
        let size = size_for(part.len());
        let text = select_chats(&format!("client_key IN ({}) AND {HAS_ROOM}", vec!["?"; size].join(",")));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for at in 0..size {
            query = query.bind(part.get(at).cloned());
        }
        for row in query.fetch_all(&mut *db).await? {
            rows.push(chat_row(row)?);
        }
    }
    Ok(known_of(rows, appends, keys))
}

/// Why a room got no chats.
async fn why_refused(db: &mut SqliteConnection, chatroom_id: ChatroomId) -> Result<Refusal, sqlx::Error> {
    let row = sqlx::query("SELECT 1 FROM chatrooms WHERE id = ?").bind(chatroom_id.get()).fetch_optional(db).await?;
    Ok(if row.is_some() { Refusal::Closed } else { Refusal::NoRoom })
}

async fn mutate(db: &mut SqliteConnection, mutate: &Mutate) -> Result<Outcome, sqlx::Error> {
    let find = sqlx::query(AssertSqlSafe(select_chats(&format!("id = ? AND {HAS_ROOM}")))).bind(mutate.chat_id.get());
    let row = find.fetch_optional(&mut *db).await?;
    let Some(row) = row.map(chat_row).transpose()? else { return Ok(Err(Refusal::NoChat)) };
    if row.chatroom_id != mutate.chatroom_id.get() || row.delete_time.is_some() {
        return Ok(Err(Refusal::NoChat));
    }
    if row.sender_id != mutate.by.get() {
        return Ok(Err(Refusal::NotSender));
    }
    let bump = "UPDATE chatrooms SET version = version + 1 WHERE id = ? RETURNING version";
    let version = sqlx::query(bump).bind(mutate.chatroom_id.get()).fetch_optional(&mut *db).await?;
    let Some(version) = version else { return Ok(Err(Refusal::NoRoom)) };
    let now = Micros::now();
    let mut chat = chat_of(row, mutate.receiver_id);
    chat.version = Version::new(version.try_get(0)?);
    let content = match &mutate.mutation {
        Mutation::Edit(content) => {
            chat.edit_time = Some(now);
            content.as_str()
        }
        Mutation::Delete => {
            chat.delete_time = Some(now);
            ""
        }
    };
    content.clone_into(&mut chat.content);
    // `folded` is a copy of the content in rows of former releases.
    sqlx::query(
        "UPDATE chats SET content = ?, folded = NULL, version = ?, edit_time = ?, delete_time = ? WHERE id = ?",
    )
    .bind(content)
    .bind(chat.version.get())
    .bind(chat.edit_time.map(|time| time.0))
    .bind(chat.delete_time.map(|time| time.0))
    .bind(mutate.chat_id.get())
    .execute(db)
    .await?;
    Ok(Ok(match mutate.mutation {
        Mutation::Edit(_) => Stored::Edited(chat),
        Mutation::Delete => Stored::Deleted(chat),
    }))
}
