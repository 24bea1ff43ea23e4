//! `push_outbox`: the pending pushes, and which instance may send each of them now.
//!
//! A row exists only while a push is pending. The transaction that stores a chat upserts it: a new row gets the chat's
//! `create_time` and is due after the grace; an existing row only gets the new `to_seq`. A notifier claims a row by
//! moving its `due_time` ahead by the lease, on the database's clock, so that a claim expires when its instance dies.

mod pending;

use std::collections::HashMap;
use std::time::Duration;

use ::entity::chat;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Statement, Value};

pub use self::pending::{Backlog, ClaimCause, DeviceToken, Key, Lease, PendingPush, Settlement};
use super::error::StoreError;
use super::pool::Pool;
use super::rows::chat_of;
use super::sql::{columns, postgres_clock};
use super::transaction::begin;
use crate::domain::ChatterId;
use crate::domain::chat::Chat;
use crate::domain::clock::{Micros, micros};

/// A row stands for the chats since its `create_time`; the row before it pushed the older unconfirmed ones. This slack
/// keeps a row that was stamped a moment after its chat from losing that chat.
const SINCE_SLACK_MICROS: i64 = 1_000_000;

/// The most pushes that are counted for the metrics.
const COUNTED_MAX: usize = 100_000;

/// The table, as the notifier uses it.
#[derive(Clone)]
pub struct Outbox {
    reads: Pool,
    writes: Pool,
    backend: DbBackend,
}

impl Outbox {
    /// `writes` may be a pool of one connection: each call takes a few statements only.
    pub(super) fn new(reads: Pool, writes: Pool, backend: DbBackend) -> Self {
        Self { reads, writes, backend }
    }

    /// Claims up to `limit` due rows, the longest due first.
    pub async fn claim_due(&self, limit: u64, lease: Duration) -> Result<Vec<Lease>, StoreError> {
        let any_due = self.statement("SELECT 1 AS due FROM push_outbox WHERE due_time <= {clock} LIMIT 1", vec![]);
        // Most polls find nothing and leave the writing connection alone.
        if self.reads.run(async |db| db.query_one_raw(any_due).await).await?.is_none() {
            return Ok(Vec::new());
        }
        let due = format!(
            "due AS (SELECT chatroom_id, receiver_id FROM push_outbox WHERE due_time <= (SELECT now FROM clock)
            ORDER BY due_time LIMIT $2 {})",
            self.skip_locked("FOR UPDATE SKIP LOCKED")
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.claim(&due, vec![micros(lease).into(), limit.into()], lease, ClaimCause::Due).await
    }

    /// Claims these rows, due or not, unless they have been claimed before.
    pub async fn claim_fresh(&self, keys: &[Key], lease: Duration) -> Result<Vec<Lease>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = vec![micros(lease).into()];
        let rows = rows_of(&mut values, keys.iter().map(|k| [k.chatroom_id.get(), k.receiver_id.get()]));
        let due = format!(
            "hinted (chatroom_id, receiver_id) AS (VALUES {rows}), due AS (
            SELECT o.chatroom_id, o.receiver_id FROM push_outbox AS o JOIN hinted AS h
            ON h.chatroom_id = o.chatroom_id AND h.receiver_id = o.receiver_id WHERE o.attempts = 0 {})",
            self.skip_locked("FOR UPDATE OF o SKIP LOCKED")
        );
        self.claim(&due, values, lease, ClaimCause::Hint).await
    }

    /// Claims the rows of the CTE `due` in one statement, so that no lock is held over a round trip. $1 is the lease.
    async fn claim(
        &self,
        due: &str,
        values: Vec<Value>,
        lease: Duration,
        cause: ClaimCause,
    ) -> Result<Vec<Lease>, StoreError> {
        // On PostgreSQL `due` has columns of these names too; SQLite knows no alias here.
        let key = match self.backend {
            DbBackend::Postgres => "t.chatroom_id, t.receiver_id",
            _ => "chatroom_id, receiver_id",
        };
        let sql = format!(
            "WITH clock AS MATERIALIZED (SELECT {{clock}} AS now), {due}
            UPDATE push_outbox AS t SET due_time = clock.now + $1, attempts = t.attempts + 1 FROM clock, due
            WHERE t.chatroom_id = due.chatroom_id AND t.receiver_id = due.receiver_id
            RETURNING {key}, to_seq, create_time, due_time, attempts"
        );
        let statement = self.statement(&sql, values);
        let rows = self.writes.run(async |db| db.query_all_raw(statement).await).await?;
        Ok(rows.iter().map(|row| lease_of(row, lease, cause)).collect::<Result<_, _>>()?)
    }

    /// Reads what the notifier decides by, after the rows were claimed. The push of a deleted room has no chat.
    pub async fn pending(&self, leases: &[Lease]) -> Result<Vec<PendingPush>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut unconfirmed = self.unconfirmed(leases).await?;
        let tokens = self.tokens(leases).await?;
        let pending = leases.iter().map(|lease| {
            let (newest, oldest) = unconfirmed.remove(&lease.key).unzip();
            let tokens = newest.as_ref().and_then(|_| tokens.get(&lease.key.receiver_id)).cloned().unwrap_or_default();
            PendingPush { lease: *lease, newest, oldest_create_time: oldest, tokens }
        });
        Ok(pending.collect())
    }

    /// The newest unconfirmed chat of each push, and when the oldest was stored.
    async fn unconfirmed(&self, leases: &[Lease]) -> Result<HashMap<Key, (Chat, Micros)>, StoreError> {
        let mut values = Vec::new();
        let keys = rows_of(
            &mut values,
            leases.iter().map(|l| {
                let since = l.create_time.0.saturating_sub(SINCE_SLACK_MICROS);
                [l.key.chatroom_id.get(), l.key.receiver_id.get(), l.to_seq.get(), since]
            }),
        );
        let unconfirmed = "FROM chats AS u WHERE u.chatroom_id = k.chatroom_id AND u.seq <= k.to_seq
            AND u.seq > m.delivered_seq AND u.seq > m.read_seq AND u.sender_id <> k.receiver_id
            AND u.delete_time IS NULL AND u.create_time >= k.since ORDER BY u.seq";
        let sql = format!(
            "WITH k (chatroom_id, receiver_id, to_seq, since) AS (VALUES {keys})
            SELECT {}, k.receiver_id, (SELECT u.create_time {unconfirmed} LIMIT 1) AS oldest_create_time
            FROM k JOIN members AS m ON m.chatroom_id = k.chatroom_id AND m.chatter_id = k.receiver_id
            JOIN chats AS c ON c.chatroom_id = k.chatroom_id AND c.seq = (SELECT u.seq {unconfirmed} DESC LIMIT 1)",
            columns::<chat::Entity>("c")
        );
        let statement = self.statement(&sql, values);
        let rows = self.reads.run(async |db| db.query_all_raw(statement).await).await?;
        Ok(rows.iter().map(unconfirmed_of).collect::<Result<_, _>>()?)
    }

    async fn tokens(&self, leases: &[Lease]) -> Result<HashMap<ChatterId, Vec<DeviceToken>>, StoreError> {
        let mut values = Vec::new();
        let receivers = rows_of(&mut values, leases.iter().map(|l| [l.key.receiver_id.get()]));
        let sql = format!("SELECT chatter_id, token FROM devices WHERE chatter_id IN (VALUES {receivers}) ORDER BY id");
        let mut tokens: HashMap<ChatterId, Vec<DeviceToken>> = HashMap::new();
        let statement = self.statement(&sql, values);
        for row in self.reads.run(async |db| db.query_all_raw(statement).await).await? {
            let chatter = row.try_get("", "chatter_id")?;
            tokens.entry(chatter).or_default().push(DeviceToken::new(row.try_get("", "token")?));
        }
        Ok(tokens)
    }

    /// Counts the pending pushes, up to a bound, and says how old the oldest of these is.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let sql = format!(
            "SELECT count(*) AS pushes, {{clock}} - min(create_time) AS age
            FROM (SELECT create_time FROM push_outbox LIMIT {COUNTED_MAX}) AS counted"
        );
        let statement = self.statement(&sql, vec![]);
        let row = self.reads.run(async |db| db.query_one_raw(statement).await).await?;
        let Some(row) = row else { return Ok(Backlog::default()) };
        let (pushes, age): (i64, Option<i64>) = (row.try_get("", "pushes")?, row.try_get("", "age")?);
        let age = u64::try_from(age.unwrap_or_default()).unwrap_or_default();
        Ok(Backlog { pushes: usize::try_from(pushes).unwrap_or_default(), oldest: Duration::from_micros(age) })
    }

    /// Releases leases: deletes their rows or makes them due again. Releasing a lease twice does no harm.
    pub async fn release(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        if self.backend == DbBackend::Postgres {
            // Row by row without a transaction, so that it cannot deadlock with the writer, which locks in another
            // order.
            for settlement in settlements {
                self.writes.run(async |db| self.release_one(db, settlement).await).await?;
            }
            return Ok(());
        }
        // One transaction, because each commit costs SQLite a write to the disk.
        self.writes
            .run(async |db| {
                let transaction = begin(db).await?;
                for settlement in settlements {
                    self.release_one(&transaction, settlement).await?;
                }
                transaction.commit().await
            })
            .await
    }

    async fn release_one(&self, on: &impl ConnectionTrait, settlement: &Settlement) -> Result<(), DbErr> {
        let Settlement { lease, ends, wait, attempts, dead_tokens } = settlement;
        let Key { chatroom_id, receiver_id } = lease.key;
        for token in dead_tokens {
            // By its value: the receiver may have set a new token, and another chatter may have this one by now.
            let sql = "DELETE FROM devices WHERE chatter_id = $1 AND token = $2";
            on.execute_raw(self.statement(sql, vec![receiver_id.into(), token.as_str().into()])).await?;
        }
        if *ends {
            let sql = "DELETE FROM push_outbox WHERE chatroom_id = $1 AND receiver_id = $2 AND to_seq = $3";
            let values = vec![chatroom_id.into(), receiver_id.into(), lease.to_seq.into()];
            if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                return Ok(());
            }
        }
        // Only under this lease: once it has ended, another instance may hold the row.
        let sql = "UPDATE push_outbox SET due_time = {clock} + $4, attempts = $5
            WHERE chatroom_id = $1 AND receiver_id = $2 AND due_time = $3";
        let wait = micros(*wait);
        let values =
            vec![chatroom_id.into(), receiver_id.into(), lease.due_time.0.into(), wait.into(), (*attempts).into()];
        on.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// The locking clause, which SQLite neither knows nor needs.
    fn skip_locked(&self, clause: &'static str) -> &'static str {
        if self.backend == DbBackend::Postgres { clause } else { "" }
    }

    /// `{clock}` becomes the database's clock; SQLite's is this machine's, given as one more value.
    fn statement(&self, sql: &str, mut values: Vec<Value>) -> Statement {
        let sql = match self.backend {
            DbBackend::Postgres => sql.replace("{clock}", postgres_clock!()),
            _ if sql.contains("{clock}") => {
                values.push(Micros::now().0.into());
                sql.replace("{clock}", &format!("${}", values.len()))
            }
            _ => sql.to_owned(),
        };
        Statement::from_sql_and_values(self.backend, sql, values)
    }
}

/// `(…), (…)` with a placeholder for each number, which is appended to the values.
fn rows_of<const N: usize>(values: &mut Vec<Value>, rows: impl Iterator<Item = [i64; N]>) -> String {
    let mut sql = String::new();
    for row in rows {
        sql.push_str(if sql.is_empty() { "(" } else { ", (" });
        for (at, number) in row.into_iter().enumerate() {
            values.push(number.into());
            let comma = if at == 0 { "" } else { ", " };
            sql.push_str(&format!("{comma}CAST(${} AS BIGINT)", values.len()));
        }
        sql.push(')');
    }
    sql
}

fn lease_of(row: &QueryResult, lease: Duration, cause: ClaimCause) -> Result<Lease, DbErr> {
    let due_time: i64 = row.try_get("", "due_time")?;
    Ok(Lease {
        key: Key { chatroom_id: row.try_get("", "chatroom_id")?, receiver_id: row.try_get("", "receiver_id")? },
        to_seq: row.try_get("", "to_seq")?,
        create_time: Micros(row.try_get("", "create_time")?),
        due_time: Micros(due_time),
        attempts: row.try_get("", "attempts")?,
        claim_time: Micros(due_time - micros(lease)),
        cause,
    })
}

fn unconfirmed_of(row: &QueryResult) -> Result<(Key, (Chat, Micros)), DbErr> {
    let chat = chat::Model::from_query_result(row, "")?;
    let receiver_id = row.try_get("", "receiver_id")?;
    let key = Key { chatroom_id: chat.chatroom_id.into(), receiver_id };
    let chat = chat_of(chat, receiver_id);
    Ok((key, (chat, Micros(row.try_get("", "oldest_create_time")?))))
}
