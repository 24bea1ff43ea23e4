//! The writer on PostgreSQL: new chats are one statement that commits itself, so that no lock is held over a round
//! trip.
//!
//! Rooms are locked in id order with SKIP LOCKED; commands for a room that another transaction holds are tried again
//! later. The writer keeps a connection of its own: a pool would test it after every transaction.

mod connection;
mod statements;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnection, PgRow};
use sea_orm::sqlx::{self, Row as _};

use connection::{Connection, is_sound};
use statements::{APPEND_FULL, APPEND_PLAIN, FIND_CLIENT_IDS, FREE_CLIENT_IDS, MOVE_WATERMARKS, MUTATE};

use super::client_ids::{ClientKey, Known, client_keys, known_of};
use super::command::{Append, Attempt, Command, Mutate, Mutation, Refusal, Stored};
use super::plan::{Fresh, Plan, RoomResult};
use super::watermark_sql::moved_of;
use super::watermarks::{MovedWatermark, WatermarkRow};
use crate::domain::chat::Chat;
use crate::domain::clock::{Micros, micros};
use crate::domain::{ChatId, ChatroomId, Seq, Version};
use crate::store::epoch::{EpochNumber, Epochs};
use crate::store::error::StoreError;
use crate::store::pool::Pool;
use crate::store::rows::{chat_of, chat_row};

pub(super) struct Postgres {
    connection: Connection,
    grace_us: i64,
}

impl Postgres {
    pub(super) fn new(writes: Pool, push_grace: Duration, epochs: Arc<Epochs>) -> Self {
        Self { connection: Connection::new(writes, epochs), grace_us: micros(push_grace) }
    }

    pub(super) async fn commit(
        &mut self,
        epoch: EpochNumber,
        commands: &[&Command],
    ) -> Result<Vec<Attempt>, StoreError> {
        let grace_us = self.grace_us;
        let Carried { attempts, failed } =
            self.connection.within_deadline(epoch, async |db| carry_out(db, commands, grace_us).await).await?;
        if let Some((error, broken)) = failed {
            self.connection.report(&error, broken);
        }
        Ok(attempts)
    }

    pub(super) async fn move_watermarks(
        &mut self,
        epoch: EpochNumber,
        rows: &[WatermarkRow],
        moved: &mut Vec<MovedWatermark>,
    ) -> Result<(), StoreError> {
        let column = |of: fn(&WatermarkRow) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let found = self.connection.within_deadline(epoch, async |db| {
            sqlx::query(MOVE_WATERMARKS.as_str())
                .bind(column(|r| r.chatroom_id.get()))
                .bind(column(|r| r.chatter_id.get()))
                .bind(column(|r| r.from.get()))
                .bind(column(|r| r.delivered.get()))
                .bind(column(|r| r.read.get()))
                .bind(column(WatermarkRow::sent_at_or_minus_1))
                .fetch_all(db)
                .await
        });
        for row in found.await? {
            moved.push(moved_of(&row)?);
        }
        Ok(())
    }

    pub(super) async fn free_client_ids(&mut self, epoch: EpochNumber, keys: &[ClientKey]) -> Result<(), StoreError> {
        let keys: Vec<&[u8]> = keys.iter().map(ClientKey::as_slice).collect();
        self.connection
            .within_deadline(epoch, async |db| sqlx::query(FREE_CLIENT_IDS.as_str()).bind(keys).execute(db).await)
            .await?;
        Ok(())
    }
}

/// The attempts, and the last error of a command that changes a chat, with whether it broke the connection.
struct Carried {
    attempts: Vec<Attempt>,
    failed: Option<(StoreError, bool)>,
}

async fn carry_out(db: &mut PgConnection, commands: &[&Command], grace_us: i64) -> Result<Carried, sqlx::Error> {
    let appends: Vec<&Append> =
        commands.iter().filter_map(|c| if let Command::Append(a) = c { Some(a) } else { None }).collect();
    let mut appended = append_all(db, &appends, grace_us).await?.into_iter();
    let mut attempts = Vec::with_capacity(commands.len());
    let mut failed = None;
    // Commands of a room keep their order: behind a locked one the later ones wait too, even if the lock has ended.
    let mut locked = HashSet::new();
    for command in commands {
        let attempt = match command {
            Command::Append(_) => appended.next().unwrap_or(Attempt::refused(Refusal::Failed)),
            Command::Mutate(mutate) if locked.contains(&mutate.chatroom_id) => Attempt::Locked,
            // The new chats are committed by now, so an error here must not fail the whole call.
            Command::Mutate(mutate) => self::mutate(db, mutate).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "a chat could not be changed");
                let broken = !is_sound(&error);
                let error = StoreError::from(error);
                let refusal = match &error {
                    StoreError::Unavailable(_) => Refusal::Unavailable,
                    StoreError::Impossible(_) => Refusal::Impossible,
                    StoreError::Failed(_) | StoreError::SequenceBehind(_) => Refusal::Failed,
                };
                failed = Some((error, broken));
                Attempt::refused(refusal)
            }),
        };
        if matches!(attempt, Attempt::Locked) {
            locked.insert(command.chatroom_id());
        }
        attempts.push(attempt);
    }
    Ok(Carried { attempts, failed })
}

async fn append_all(db: &mut PgConnection, appends: &[&Append], grace_us: i64) -> Result<Vec<Attempt>, sqlx::Error> {
    if appends.is_empty() {
        return Ok(Vec::new());
    }
    let keys = client_keys(appends);
    let known = find_client_ids(db, appends, &keys).await?;
    let plan = Plan::new(appends, &keys, &known);
    if plan.fresh.is_empty() {
        return Ok(plan.attempts(&[], &[], false));
    }
    let mut stored = HashMap::with_capacity(plan.rooms.len());
    let mut push_pending = false;
    for row in insert(db, &plan, grace_us).await? {
        let room = StoredRoom::of_row(&row)?;
        push_pending = row.try_get("push_pending")?;
        stored.insert(room.id, room);
    }
    let mut rooms = Vec::with_capacity(plan.rooms.len());
    for room in &plan.rooms {
        rooms.push(match stored.get(&room.id) {
            Some(room) => room.numbers,
            // The chats are committed by now, so an error here must not make the caller try them again.
            None => why_missing(db, room.id).await.unwrap_or(RoomResult::Refused(Refusal::Unavailable)),
        });
    }
    let id =
        |fresh: &Fresh<'_>| stored.get(&fresh.append.chatroom_id).map_or(0, |room| room.first_id + fresh.place - 1);
    let ids: Vec<ChatId> = plan.fresh.iter().map(id).map(ChatId::new).collect();
    Ok(plan.attempts(&rooms, &ids, push_pending))
}

/// A room that got its chats.
struct StoredRoom {
    id: ChatroomId,
    numbers: RoomResult,
    first_id: i64,
}

impl StoredRoom {
    fn of_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (first_seq, first_version) =
            (Seq::new(row.try_get("first_seq")?), Version::new(row.try_get("first_version")?));
        let time = Micros(row.try_get("create_time")?);
        Ok(Self {
            id: ChatroomId::new(row.try_get("id")?),
            numbers: RoomResult::Numbers { first_seq, first_version, time },
            first_id: row.try_get("first_id")?,
        })
    }
}

async fn insert(db: &mut PgConnection, plan: &Plan<'_>, grace_us: i64) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut offset = 0;
    let mut before = |count: i64| {
        offset += count;
        offset - count
    };
    let offsets: Vec<i64> = plan.rooms.iter().map(|room| before(room.count)).collect();
    let fresh = &plan.fresh;
    let plain = fresh.iter().all(|f| f.key.is_none());
    let mut query = sqlx::query(if plain { APPEND_PLAIN } else { APPEND_FULL })
        .bind(plan.rooms.iter().map(|room| room.id.get()).collect::<Vec<i64>>())
        .bind(plan.rooms.iter().map(|room| room.count).collect::<Vec<i64>>())
        .bind(offsets)
        .bind(plan.pushes.iter().map(|push| plan.rooms[push.room].id.get()).collect::<Vec<i64>>())
        .bind(plan.pushes.iter().map(|push| push.receiver_id.get()).collect::<Vec<i64>>())
        .bind(plan.pushes.iter().map(|push| push.place).collect::<Vec<i64>>())
        .bind(grace_us)
        .bind(fresh.iter().map(|f| f.append.chatroom_id.get()).collect::<Vec<i64>>())
        .bind(fresh.iter().map(|f| f.place).collect::<Vec<i64>>())
        .bind(fresh.iter().map(|f| f.append.sender_id.get()).collect::<Vec<i64>>())
        .bind(fresh.iter().map(|f| f.append.content.as_str()).collect::<Vec<&str>>());
    if !plain {
        query = query
            .bind(
                fresh.iter().map(|f| f.append.client_id.as_ref().map(|id| id.as_str())).collect::<Vec<Option<&str>>>(),
            )
            .bind(fresh.iter().map(|f| f.key.as_ref().map(|key| key.as_slice())).collect::<Vec<Option<&[u8]>>>())
            .bind(fresh.iter().map(|f| f.first_hash).collect::<Vec<Option<i64>>>());
    }
    query.fetch_all(db).await
}

/// The chats that are already stored under one of these client_ids. Another instance may store one right after: then
/// the unique index refuses the whole statement, and the caller tries once more.
async fn find_client_ids(
    db: &mut PgConnection,
    appends: &[&Append],
    keys: &[Option<ClientKey>],
) -> Result<HashMap<ClientKey, Known>, sqlx::Error> {
    let wanted: Vec<&[u8]> = keys.iter().flatten().map(ClientKey::as_slice).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let found = sqlx::query(FIND_CLIENT_IDS.as_str()).bind(wanted).fetch_all(db).await?;
    let rows = found.into_iter().map(chat_row).collect::<Result<_, _>>()?;
    Ok(known_of(rows, appends, keys))
}

/// Why a room got no chats.
async fn why_missing(db: &mut PgConnection, chatroom_id: ChatroomId) -> Result<RoomResult, sqlx::Error> {
    let row = sqlx::query("SELECT closed_time IS NOT NULL FROM chatrooms WHERE id = $1")
        .bind(chatroom_id.get())
        .fetch_optional(db)
        .await?;
    Ok(match row {
        None => RoomResult::Refused(Refusal::NoRoom),
        Some(row) if row.try_get(0)? => RoomResult::Refused(Refusal::Closed),
        Some(_) => RoomResult::Locked,
    })
}

async fn mutate(db: &mut PgConnection, mutate: &Mutate) -> Result<Attempt, sqlx::Error> {
    let (content, stored): (_, fn(Chat) -> Stored) = match &mutate.mutation {
        Mutation::Edit(content) => (content.as_str(), Stored::Edited),
        Mutation::Delete => ("", Stored::Deleted),
    };
    let query = sqlx::query(MUTATE.as_str())
        .bind(mutate.chatroom_id.get())
        .bind(mutate.chat_id.get())
        .bind(mutate.by.get())
        .bind(content)
        .bind(matches!(mutate.mutation, Mutation::Delete));
    let Some(row) = query.fetch_optional(&mut *db).await? else { return why_unchanged(db, mutate).await };
    Ok(Attempt::Done(Ok(stored(chat_of(chat_row(row)?, mutate.receiver_id)))))
}

/// Why a chat was not changed.
async fn why_unchanged(db: &mut PgConnection, mutate: &Mutate) -> Result<Attempt, sqlx::Error> {
    let sql = "SELECT c.sender_id FROM chats c JOIN chatrooms r ON r.id = c.chatroom_id
               WHERE c.id = $1 AND c.chatroom_id = $2 AND c.delete_time IS NULL";
    let row = sqlx::query(sql).bind(mutate.chat_id.get()).bind(mutate.chatroom_id.get()).fetch_optional(db).await?;
    Ok(match row {
        None => Attempt::refused(Refusal::NoChat),
        Some(row) if row.try_get::<i64, _>(0)? != mutate.by.get() => Attempt::refused(Refusal::NotSender),
        // The chat exists and is the sender's own, so its room was locked.
        Some(_) => Attempt::Locked,
    })
}
