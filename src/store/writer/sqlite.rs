//! A batch on SQLite: one transaction on the one connection that writes.
//!
//! Statements with many rows come in sizes of powers of two, so that a few prepared texts serve every batch.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Value,
};

use super::batch::{ClientKey, Fresh, Known, Plan, RoomGot, RoomLoad, client_keys};
use super::moves::{MOVE_SQL, Row};
use super::run::Verdict;
use super::{Alter, Append, Change, Command, Outcome, Refusal, Stored};
use crate::domain::clock::{Micros, micros};
use crate::store::StoreError;
use crate::store::chats::{chat_of, known_of};
use crate::store::pool::Pool;

/// The most rows in one statement, far below SQLite's 32,766 parameters.
const ROWS_MAX: usize = 64;

pub(super) struct Sqlite {
    writes: Pool,
    grace_us: i64,
}

impl Sqlite {
    pub(super) fn new(writes: Pool, push_grace: Duration) -> Self {
        Self { writes, grace_us: micros(push_grace) }
    }

    pub(super) async fn commit(&mut self, commands: &[&Command]) -> Result<Vec<Verdict>, StoreError> {
        let grace_us = self.grace_us;
        self.writes
            .run(async move |db| {
                let tx = begin(db).await?;
                let verdicts = batch(&tx, commands, grace_us).await?;
                tx.commit().await?;
                Ok(verdicts)
            })
            .await
    }

    pub(super) async fn move_watermarks(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let sql = MOVE_SQL.replace("GREATEST(", "max(").replace("LEAST(", "min(").replace(
            "{input}",
            "(SELECT ? AS chatroom_id, ? AS chatter_id, ? AS proof_from, ? AS delivered, ? AS read, ? AS sent) i",
        );
        self.writes
            .run(async move |db| {
                let tx = begin(db).await?;
                for row in rows {
                    let values: [Value; 6] = [
                        row.chatroom_id.into(),
                        row.chatter_id.into(),
                        row.from.into(),
                        row.delivered.into(),
                        row.read.into(),
                        row.sent.into(),
                    ];
                    tx.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, &sql, values)).await?;
                }
                tx.commit().await
            })
            .await
    }
}

/// IMMEDIATE: an operator's own session may write too, and a lock taken late cannot wait.
async fn begin(db: &sea_orm::DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let immediate =
        TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
    db.begin_with_options(immediate).await
}

async fn batch(tx: &DatabaseTransaction, commands: &[&Command], grace_us: i64) -> Result<Vec<Verdict>, DbErr> {
    let appends: Vec<&Append> =
        commands.iter().filter_map(|c| if let Command::Append(a) = c { Some(a) } else { None }).collect();
    let mut appended = append_all(tx, &appends, grace_us).await?.into_iter();
    let mut verdicts = Vec::with_capacity(commands.len());
    for command in commands {
        match command {
            Command::Append(_) => verdicts.extend(appended.next()),
            Command::Alter(alter) => verdicts.push(Verdict::Done(self::alter(tx, alter).await?)),
        }
    }
    Ok(verdicts)
}

async fn append_all(tx: &DatabaseTransaction, appends: &[&Append], grace_us: i64) -> Result<Vec<Verdict>, DbErr> {
    if appends.is_empty() {
        return Ok(Vec::new());
    }
    let keys = client_keys(appends);
    let known = look_up(tx, appends, &keys).await?;
    let plan = Plan::new(appends, &keys, &known);
    let now = Micros::now();
    let got = take_numbers(tx, &plan.rooms, now).await?;
    let stored: Vec<&Fresh<'_>> =
        plan.fresh.iter().filter(|f| matches!(got[f.room], RoomGot::Numbers { .. })).collect();
    let mut ids = insert(tx, &stored, &got).await?.into_iter();
    let ids: Vec<i64> = plan
        .fresh
        .iter()
        .map(|f| if matches!(got[f.room], RoomGot::Numbers { .. }) { ids.next().unwrap_or(0) } else { 0 })
        .collect();
    let push_owed = owe_pushes(tx, &plan, &got, now, grace_us).await?;
    Ok(plan.verdicts(appends.len(), &got, &ids, push_owed))
}

/// The chats that are already stored under one of these client_ids.
async fn look_up(
    tx: &DatabaseTransaction,
    appends: &[&Append],
    keys: &[Option<ClientKey>],
) -> Result<HashMap<ClientKey, Known>, DbErr> {
    use ::entity::chat::{Column, Entity};
    use sea_orm::ColumnTrait;
    let asked: Vec<Vec<u8>> = keys.iter().flatten().map(|key| key.to_vec()).collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = Entity::find().filter(Column::ClientKey.is_in(asked)).all(tx).await?;
    Ok(known_of(rows, appends, keys))
}

/// `(?,?),(?,?)` for this many rows of this many columns.
fn places(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

/// Sizes of statements that make up this many rows: powers of two, largest first.
fn sizes(mut rows: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let size = if rows >= ROWS_MAX { ROWS_MAX } else { 1 << rows.checked_ilog2()? };
        rows -= size;
        Some(size)
    })
}

/// Takes `seq` and `version` for each room's chats; a room that is gone or closed is refused.
async fn take_numbers(tx: &DatabaseTransaction, rooms: &[RoomLoad], now: Micros) -> Result<Vec<RoomGot>, DbErr> {
    let mut found: HashMap<i64, RoomGot> = HashMap::with_capacity(rooms.len());
    let mut rest = rooms;
    for size in sizes(rooms.len()) {
        let (these, others) = rest.split_at(size);
        rest = others;
        let sql = format!(
            "WITH i(id, n) AS (VALUES {}) UPDATE chatrooms SET last_seq = last_seq + i.n, version = version + i.n,
             last_chat_time = max(last_chat_time, ?) FROM i WHERE chatrooms.id = i.id AND closed_time IS NULL
             RETURNING chatrooms.id, last_seq, version, last_chat_time",
            places(size, 2)
        );
        let mut values: Vec<Value> = these.iter().flat_map(|room| [room.id.into(), room.count.into()]).collect();
        values.push(now.0.into());
        for row in tx.query_all_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await? {
            let (id, last_seq, version, time): (i64, i64, i64, i64) = (
                row.try_get_by_index(0)?,
                row.try_get_by_index(1)?,
                row.try_get_by_index(2)?,
                row.try_get_by_index(3)?,
            );
            let count = these.iter().find(|room| room.id == id).map_or(0, |room| room.count);
            let time = Micros(time);
            found.insert(
                id,
                RoomGot::Numbers { first_seq: last_seq - count + 1, first_version: version - count + 1, time },
            );
        }
    }
    let mut got = Vec::with_capacity(rooms.len());
    for room in rooms {
        got.push(match found.get(&room.id) {
            Some(numbers) => *numbers,
            None => RoomGot::Refused(why_refused(tx, room.id).await?),
        });
    }
    Ok(got)
}

async fn why_refused(tx: &DatabaseTransaction, chatroom_id: i64) -> Result<Refusal, DbErr> {
    let room = ::entity::chatroom::Entity::find_by_id(chatroom_id).one(tx).await?;
    Ok(if room.is_some() { Refusal::Closed } else { Refusal::NoRoom })
}

/// Inserts the rows and gives their ids: SQLite numbers the rows of one statement upwards without a gap.
async fn insert(tx: &DatabaseTransaction, rows: &[&Fresh<'_>], got: &[RoomGot]) -> Result<Vec<i64>, DbErr> {
    let mut ids = Vec::with_capacity(rows.len());
    let mut rest = rows;
    for size in sizes(rows.len()) {
        let (these, others) = rest.split_at(size);
        rest = others;
        let sql = format!(
            "INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time, folded, client_id, client_key, first_hash)
             VALUES {}",
            places(size, 10)
        );
        let values: Vec<Value> = these.iter().flat_map(|fresh| row_values(fresh, got[fresh.room])).collect();
        let last =
            tx.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await?.last_insert_id();
        let last = i64::try_from(last).map_err(|_| DbErr::Custom("a chat id beyond 2^63".to_owned()))?;
        let size = i64::try_from(size).unwrap_or(0);
        ids.extend(last - size + 1..=last);
    }
    Ok(ids)
}

fn row_values(fresh: &Fresh<'_>, got: RoomGot) -> [Value; 10] {
    let (seq, version, time) = match got {
        RoomGot::Numbers { first_seq, first_version, time } => (first_seq, first_version, time.0),
        RoomGot::Refused(_) | RoomGot::Locked => (0, 0, 0),
    };
    let append = fresh.append;
    [
        append.chatroom_id.into(),
        (seq + fresh.place - 1).into(),
        (version + fresh.place - 1).into(),
        append.sender_id.into(),
        append.content.as_str().into(),
        time.into(),
        fresh.folded.clone().into(),
        append.client_id.as_ref().map(|id| id.as_str().to_owned()).into(),
        fresh.key.map(|key| key.to_vec()).into(),
        fresh.first_hash.into(),
    ]
}

/// Notes the pushes that are owed, for receivers who have a device at all; says whether there is any.
async fn owe_pushes(
    tx: &DatabaseTransaction,
    plan: &Plan<'_>,
    got: &[RoomGot],
    now: Micros,
    grace_us: i64,
) -> Result<bool, DbErr> {
    let owed: Vec<[Value; 3]> = plan
        .owed
        .iter()
        .filter_map(|owed| match got[owed.room] {
            RoomGot::Numbers { first_seq, .. } => {
                Some([plan.rooms[owed.room].id.into(), owed.receiver_id.into(), (first_seq + owed.place - 1).into()])
            }
            RoomGot::Refused(_) | RoomGot::Locked => None,
        })
        .collect();
    let mut rest = owed.as_slice();
    let mut any = false;
    for size in sizes(owed.len()) {
        let (these, others) = rest.split_at(size);
        rest = others;
        let sql = format!(
            "WITH i(room, receiver, to_seq) AS (VALUES {})
             INSERT INTO push_outbox (chatroom_id, receiver_id, to_seq, create_time, due_time)
             SELECT room, receiver, to_seq, ?, ? FROM i WHERE EXISTS (SELECT 1 FROM devices WHERE chatter_id = i.receiver)
             ON CONFLICT (chatroom_id, receiver_id) DO UPDATE SET to_seq = excluded.to_seq",
            places(size, 3)
        );
        let mut values: Vec<Value> = these.iter().flatten().cloned().collect();
        values.extend([now.0.into(), (now.0 + grace_us).into()]);
        any |=
            tx.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await?.rows_affected() > 0;
    }
    Ok(any)
}

async fn alter(tx: &DatabaseTransaction, alter: &Alter) -> Result<Outcome, DbErr> {
    let Some(row) = ::entity::chat::Entity::find_by_id(alter.chat_id).one(tx).await? else {
        return Ok(Err(Refusal::NoChat));
    };
    if row.chatroom_id != alter.chatroom_id || row.delete_time.is_some() {
        return Ok(Err(Refusal::NoChat));
    }
    if row.sender_id != alter.by {
        return Ok(Err(Refusal::NotSender));
    }
    let bump = "UPDATE chatrooms SET version = version + 1 WHERE id = ? RETURNING version";
    let bump = Statement::from_sql_and_values(DbBackend::Sqlite, bump, [alter.chatroom_id.into()]);
    let Some(version) = tx.query_one_raw(bump).await? else { return Ok(Err(Refusal::NoRoom)) };
    let version: i64 = version.try_get_by_index(0)?;
    let now = Micros::now();
    let mut chat = chat_of(row, alter.receiver_id);
    chat.version = version;
    let (sql, values): (&str, Vec<Value>) = match &alter.change {
        Change::Edit(content) => {
            chat.content = content.as_str().to_owned();
            chat.edit_time = Some(now);
            let values = vec![
                content.as_str().into(),
                content.folded().into(),
                now.0.into(),
                version.into(),
                alter.chat_id.into(),
            ];
            ("UPDATE chats SET content = ?, folded = ?, edit_time = ?, version = ? WHERE id = ?", values)
        }
        Change::Delete => {
            chat.content.clear();
            chat.delete_time = Some(now);
            let values = vec![now.0.into(), version.into(), alter.chat_id.into()];
            ("UPDATE chats SET content = '', folded = NULL, delete_time = ?, version = ? WHERE id = ?", values)
        }
    };
    tx.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await?;
    Ok(Ok(match alter.change {
        Change::Edit(_) => Stored::Edited(chat),
        Change::Delete => Stored::Deleted(chat),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_made_of_few_statement_sizes() {
        assert_eq!(sizes(0).count(), 0);
        assert_eq!(sizes(1).collect::<Vec<_>>(), [1]);
        assert_eq!(sizes(400).collect::<Vec<_>>(), [64, 64, 64, 64, 64, 64, 16]);
        assert_eq!(sizes(7).collect::<Vec<_>>(), [4, 2, 1]);
        assert_eq!(places(2, 3), "(?,?,?),(?,?,?)");
    }
}
