//! A batch on PostgreSQL: one statement that commits itself, so that no lock is held over a round trip.
//!
//! Rooms are locked in id order with SKIP LOCKED; those that something else holds are tried again with the next
//! batch. The writer keeps a connection of its own: a pool would ask it for a sign of life after every batch.

mod statements;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sea_orm::sqlx::postgres::{PgConnection, PgRow};
use sea_orm::sqlx::{self, Row as _};

use statements::{ALTER, APPEND_FULL, APPEND_PLAIN, LOOK_UP, MOVE_INPUT};

use super::plan::{ClientKey, Fresh, Known, Plan, RoomGot, client_keys};
use super::task::Attempt;
use super::watermarks::{MOVE_SQL, Row, moved_of};
use super::{Append, Change, Command, MovedWatermark, Mutation, Outcome, Refusal, Stored};
use crate::domain::clock::{Micros, micros};
use crate::domain::{ChatId, ChatroomId, Seq, Version};
use crate::store::chats::{chat_of, known_of, model_of};
use crate::store::pool::{Pool, is_outage_sqlx};
use crate::store::{DEADLINE, StoreError};

pub(super) struct Postgres {
    writes: Pool,
    grace_us: i64,
    connection: Option<PgConnection>,
    move_sql: String,
}

impl Postgres {
    pub(super) fn new(writes: Pool, push_grace: Duration) -> Self {
        Self {
            writes,
            grace_us: micros(push_grace),
            connection: None,
            move_sql: MOVE_SQL.replace("{input}", MOVE_INPUT),
        }
    }

    pub(super) async fn commit(&mut self, commands: &[&Command]) -> Result<Vec<Attempt>, StoreError> {
        let grace_us = self.grace_us;
        self.within_deadline(async |db| batch(db, commands, grace_us).await).await
    }

    pub(super) async fn move_watermarks(
        &mut self,
        rows: &[Row],
        moved: &mut Vec<MovedWatermark>,
    ) -> Result<(), StoreError> {
        let column = |of: fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let sql = self.move_sql.clone();
        let found = self.within_deadline(async |db| {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(column(|r| r.chatroom_id.get()))
                .bind(column(|r| r.chatter_id.get()))
                .bind(column(|r| r.from.get()))
                .bind(column(|r| r.delivered.get()))
                .bind(column(|r| r.read.get()))
                .bind(column(Row::sent_at_or_minus_1))
                .fetch_all(db)
                .await
        });
        for row in found.await? {
            moved.push(moved_of(&row)?);
        }
        Ok(())
    }

    /// Runs on the writer's own connection; one that failed or did not answer is thrown away.
    async fn within_deadline<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let (writes, slot) = (self.writes.clone(), &mut self.connection);
        let answer = tokio::time::timeout(DEADLINE, async move {
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => connect(&writes).await?,
            };
            let answer = ask(&mut connection).await;
            // A refusal by the database leaves the connection sound, unless it ends it (57P01 and its like) or its plans are of
            // a table that has changed since (0A000); nothing else does.
            let sound = match &answer {
                Ok(_) => true,
                Err(sqlx::Error::Database(error)) => {
                    !error.code().is_some_and(|code| code.starts_with("57P") || code == "0A000")
                }
                Err(_) => false,
            };
            if sound {
                *slot = Some(connection);
            }
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(StoreError::from),
            Err(_) => {
                self.writes.replace(asked).await;
                Err(StoreError::Unavailable(None))
            }
        }
    }
}

/// A connection of the writer's own; its few statements are planned once, for any batch.
async fn connect(writes: &Pool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = writes.db().get_postgres_connection_pool().acquire().await?.detach();
    sqlx::query("SET plan_cache_mode = force_generic_plan").execute(&mut connection).await?;
    Ok(connection)
}

async fn batch(db: &mut PgConnection, commands: &[&Command], grace_us: i64) -> Result<Vec<Attempt>, sqlx::Error> {
    let appends: Vec<&Append> =
        commands.iter().filter_map(|c| if let Command::Append(a) = c { Some(a) } else { None }).collect();
    let mut appended = append_all(db, &appends, grace_us).await?.into_iter();
    let mut verdicts = Vec::with_capacity(commands.len());
    // What comes after a command that has to wait, waits too: the lock may be gone by now, and the older one would win.
    let mut locked = HashSet::new();
    for command in commands {
        let verdict = match command {
            Command::Append(_) => appended.next().unwrap_or(Attempt::Done(Err(Refusal::Failed))),
            Command::Mutation(alter) if locked.contains(&alter.chatroom_id) => Attempt::Locked,
            // What is committed stays committed, whatever becomes of the changes after it.
            Command::Mutation(alter) => self::alter(db, alter).await.unwrap_or_else(|error| {
                let unavailable = is_outage_sqlx(&error);
                tracing::warn!(error = &error as &dyn std::error::Error, "a chat could not be changed");
                Attempt::Done(Err(if unavailable { Refusal::Unavailable } else { Refusal::Failed }))
            }),
        };
        if matches!(verdict, Attempt::Locked) {
            locked.insert(command.chatroom_id());
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

async fn append_all(db: &mut PgConnection, appends: &[&Append], grace_us: i64) -> Result<Vec<Attempt>, sqlx::Error> {
    if appends.is_empty() {
        return Ok(Vec::new());
    }
    let keys = client_keys(appends);
    let known = look_up(db, appends, &keys).await?;
    let plan = Plan::new(appends, &keys, &known);
    if plan.fresh.is_empty() {
        return Ok(plan.verdicts(appends.len(), &[], &[], false));
    }
    let rows = insert(db, &plan, grace_us).await?;
    let mut found: HashMap<ChatroomId, (RoomGot, i64)> = HashMap::with_capacity(rows.len());
    let mut push_owed = false;
    for row in &rows {
        let numbers = RoomGot::Numbers {
            first_seq: Seq::new(row.try_get(1)?),
            first_version: Version::new(row.try_get(2)?),
            time: Micros(row.try_get(3)?),
        };
        found.insert(ChatroomId::new(row.try_get(0)?), (numbers, row.try_get(4)?));
        push_owed = row.try_get(5)?;
    }
    let mut got = Vec::with_capacity(plan.rooms.len());
    for room in &plan.rooms {
        got.push(match found.get(&room.id) {
            Some((numbers, _)) => *numbers,
            // The batch is committed by now, so a failure here must not send it round again.
            None => why_missing(db, room.id).await.unwrap_or(RoomGot::Refused(Refusal::Unavailable)),
        });
    }
    let id = |fresh: &Fresh<'_>| found.get(&fresh.append.chatroom_id).map_or(0, |(_, first)| first + fresh.place - 1);
    let ids: Vec<ChatId> = plan.fresh.iter().map(id).map(ChatId::new).collect();
    Ok(plan.verdicts(appends.len(), &got, &ids, push_owed))
}

async fn insert(db: &mut PgConnection, plan: &Plan<'_>, grace_us: i64) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut offset = 0;
    let mut before = |count: i64| {
        offset += count;
        offset - count
    };
    let offsets: Vec<i64> = plan.rooms.iter().map(|room| before(room.count)).collect();
    let fresh = &plan.fresh;
    let plain = fresh.iter().all(|f| f.key.is_none() && f.folded.is_none());
    let mut query = sqlx::query(if plain { APPEND_PLAIN } else { APPEND_FULL })
        .bind(plan.rooms.iter().map(|room| room.id.get()).collect::<Vec<i64>>())
        .bind(plan.rooms.iter().map(|room| room.count).collect::<Vec<i64>>())
        .bind(offsets)
        .bind(plan.owed.iter().map(|owed| plan.rooms[owed.room].id.get()).collect::<Vec<i64>>())
        .bind(plan.owed.iter().map(|owed| owed.receiver_id.get()).collect::<Vec<i64>>())
        .bind(plan.owed.iter().map(|owed| owed.place).collect::<Vec<i64>>())
        .bind(grace_us)
        .bind(fresh.iter().map(|f| f.append.chatroom_id.get()).collect::<Vec<i64>>())
        .bind(fresh.iter().map(|f| f.place).collect::<Vec<i64>>())
        .bind(fresh.iter().map(|f| f.append.sender_id.get()).collect::<Vec<i64>>())
        .bind(fresh.iter().map(|f| f.append.content.as_str()).collect::<Vec<&str>>());
    if !plain {
        query = query
            .bind(fresh.iter().map(|f| f.folded.as_deref()).collect::<Vec<Option<&str>>>())
            .bind(
                fresh.iter().map(|f| f.append.client_id.as_ref().map(|id| id.as_str())).collect::<Vec<Option<&str>>>(),
            )
            .bind(fresh.iter().map(|f| f.key.as_ref().map(|key| key.as_slice())).collect::<Vec<Option<&[u8]>>>())
            .bind(fresh.iter().map(|f| f.first_hash).collect::<Vec<Option<i64>>>());
    }
    query.fetch_all(db).await
}

/// The chats that are already stored under one of these client_ids. Another instance may store one right after: then the
/// unique index refuses the batch, which is tried once more.
async fn look_up(
    db: &mut PgConnection,
    appends: &[&Append],
    keys: &[Option<ClientKey>],
) -> Result<HashMap<ClientKey, Known>, sqlx::Error> {
    let asked: Vec<&[u8]> = keys.iter().flatten().map(ClientKey::as_slice).collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let found = sqlx::query(LOOK_UP.as_str()).bind(asked).fetch_all(db).await?;
    let rows = found.into_iter().map(model_of).collect::<Result<_, _>>()?;
    Ok(known_of(rows, appends, keys))
}

async fn why_missing(db: &mut PgConnection, chatroom_id: ChatroomId) -> Result<RoomGot, sqlx::Error> {
    let row = sqlx::query("SELECT closed_time IS NOT NULL FROM chatrooms WHERE id = $1")
        .bind(chatroom_id.get())
        .fetch_optional(db)
        .await?;
    Ok(match row {
        None => RoomGot::Refused(Refusal::NoRoom),
        Some(row) if row.try_get(0)? => RoomGot::Refused(Refusal::Closed),
        Some(_) => RoomGot::Locked,
    })
}

async fn alter(db: &mut PgConnection, alter: &Mutation) -> Result<Attempt, sqlx::Error> {
    let (content, folded, deleted) = match &alter.change {
        Change::Edit(content) => (content.as_str(), content.folded(), false),
        Change::Delete => ("", None, true),
    };
    let query = sqlx::query(ALTER.as_str())
        .bind(alter.chatroom_id.get())
        .bind(alter.chat_id.get())
        .bind(alter.by.get())
        .bind(content)
        .bind(folded)
        .bind(deleted);
    let Some(row) = query.fetch_optional(&mut *db).await? else { return why_unchanged(db, alter).await };
    let chat = chat_of(model_of(row)?, alter.receiver_id);
    Ok(Attempt::Done(Ok(if deleted { Stored::Deleted(chat) } else { Stored::Edited(chat) })))
}

async fn why_unchanged(db: &mut PgConnection, alter: &Mutation) -> Result<Attempt, sqlx::Error> {
    let sql = "SELECT sender_id FROM chats WHERE id = $1 AND chatroom_id = $2 AND delete_time IS NULL";
    let row = sqlx::query(sql).bind(alter.chat_id.get()).bind(alter.chatroom_id.get()).fetch_optional(db).await?;
    let refused: Outcome = match row {
        None => Err(Refusal::NoChat),
        Some(row) if row.try_get::<i64, _>(0)? != alter.by.get() => Err(Refusal::NotSender),
        // There, and one's own: its room was locked.
        Some(_) => return Ok(Attempt::Locked),
    };
    Ok(Attempt::Done(refused))
}
