//! Opening a sign-in and replacing its refresh token, each decided by one statement.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Value};

use super::change_feed::Ending;
use super::epoch::sign_in_is_current;
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::clock::Micros;
use crate::domain::{ChatterId, SignInId};

/// A sign-in to be opened.
pub struct NewSignIn {
    /// Drawn at random by the caller, so that its refresh token can be derived.
    pub id: SignInId,
    /// The account whose password was verified.
    pub chatter: ChatterId,
    /// The stored hash with which it was verified.
    pub verified_hash: String,
    /// The first refresh token.
    pub issue: Issue,
    /// As the client named itself.
    pub device_name: Option<String>,
    /// The most sign-ins that the account may have; 0 means no limit.
    pub per_chatter_max: u32,
}

/// What a sign-in or a refresh issues.
pub struct Issue {
    /// The hash of the refresh token.
    pub refresh_hash: Vec<u8>,
    /// The `iat` of the token, by this machine's clock.
    pub token_time: Micros,
    /// From now until the sign-in ends by itself.
    pub ttl: Duration,
    /// The network that the request came from.
    pub address_class: String,
}

/// The newest refresh token of a sign-in.
pub struct NewestRefresh {
    /// Whose sign-in it is.
    pub chatter: ChatterId,
    /// Its hash; empty where a server of an earlier release opened the sign-in.
    pub hash: Vec<u8>,
    /// The `iat` of the token that was issued with it.
    pub token_time: Micros,
    /// How long ago it replaced its predecessor.
    pub age: Duration,
    /// Whether the sign-in has ended by itself and its row was not removed yet.
    pub expired: bool,
}

impl Store {
    /// Opens a sign-in where the account still has the password hash that was verified; returns the sign-ins that ended
    /// for it, those used longest ago. `None` where the hash has changed since, the account was deleted, or the id is
    /// taken.
    pub async fn open_sign_in(&self, new: NewSignIn) -> Result<Option<Vec<SignInId>>, StoreError> {
        // The lock waits for a change of the password that has not committed yet, and makes a later one wait, so that
        // the change finds this sign-in and ends it.
        let lock = if self.backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
        let sql = format!(
            "INSERT INTO sign_ins (id, chatter_id, create_time, expire_time, refresh_hash, refresh_time, token_time,
                                   last_used_time, device_name, address_class, epoch)
             SELECT CAST($3 AS BIGINT), id, CAST($4 AS BIGINT), CAST($5 AS BIGINT), $6, {}, CAST($4 AS BIGINT),
                    CAST($4 AS BIGINT), $7, $8, (SELECT name FROM epoch)
             FROM chatters WHERE id = $1 AND password_hash = $2 AND delete_time IS NULL {lock}
             ON CONFLICT (id) DO NOTHING RETURNING id",
            self.clock_sql()
        );
        let (chatter, id, now, per_chatter_max) = (new.chatter, new.id, new.issue.token_time, new.per_chatter_max);
        let values: [Value; 8] = [
            chatter.into(),
            new.verified_hash.into(),
            id.into(),
            now.0.into(),
            now.plus(new.issue.ttl).0.into(),
            new.issue.refresh_hash.into(),
            new.device_name.into(),
            new.issue.address_class.into(),
        ];
        let insert = self.sql(&sql, values);
        self.sign_ins
            .run(async |db| {
                let tx = begin(db).await?;
                if tx.query_one_raw(insert).await?.is_none() {
                    return Ok(None);
                }
                let ended = self.end_surplus(&tx, chatter, id, per_chatter_max).await?;
                tx.commit().await?;
                Ok(Some(ended))
            })
            .await
    }

    /// Ends the sign-ins above the limit, under the lock that opening this one took.
    async fn end_surplus(
        &self,
        tx: &DatabaseTransaction,
        chatter: ChatterId,
        opened: SignInId,
        max: u32,
    ) -> Result<Vec<SignInId>, DbErr> {
        let Some(others_max) = max.checked_sub(1) else { return Ok(Vec::new()) };
        let sql = "DELETE FROM sign_ins WHERE id IN (
                     SELECT id FROM sign_ins WHERE chatter_id = $1 AND id <> $2
                     ORDER BY coalesce(last_used_time, create_time) DESC, id DESC LIMIT 1000 OFFSET $3) RETURNING id";
        let values: [Value; 3] = [chatter.into(), opened.into(), i64::from(others_max).into()];
        let rows = tx.query_all_raw(self.sql(sql, values)).await?;
        let ended = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<_>, _>>()?;
        if !ended.is_empty() {
            self.record_endings(tx, &[Ending::Access(chatter)]).await?;
        }
        Ok(ended)
    }

    /// Replaces the refresh token of a sign-in, where it is still the newest one and the sign-in has not expired.
    /// Returns whether it did.
    pub async fn rotate_refresh(&self, id: SignInId, newest: &[u8], issue: &Issue) -> Result<bool, StoreError> {
        let clock = self.clock_sql();
        let sql = format!(
            "UPDATE sign_ins AS s SET refresh_hash = $3, refresh_time = {clock}, token_time = $4, last_used_time = $4,
               expire_time = $5, address_class = $6
             WHERE s.id = $1 AND s.refresh_hash = $2 AND s.expire_time > {clock} AND {}",
            sign_in_is_current!()
        );
        let values: [Value; 6] = [
            id.into(),
            newest.to_vec().into(),
            issue.refresh_hash.clone().into(),
            issue.token_time.0.into(),
            issue.token_time.plus(issue.ttl).0.into(),
            issue.address_class.clone().into(),
        ];
        let update = self.sql(&sql, values);
        let updated = self.sign_ins.run(async |db| db.execute_raw(update).await).await?;
        Ok(updated.rows_affected() > 0)
    }

    /// The newest refresh token of a sign-in; `None` if the sign-in has ended.
    pub async fn newest_refresh(&self, id: SignInId) -> Result<Option<NewestRefresh>, StoreError> {
        let clock = self.clock_sql();
        let sql = format!(
            "SELECT chatter_id, refresh_hash, coalesce(token_time, create_time),
                    {clock} - coalesce(refresh_time, create_time), expire_time <= {clock}
             FROM sign_ins s WHERE s.id = $1 AND {}",
            sign_in_is_current!()
        );
        let Some(row) = self.row(self.sql(&sql, [id.into()])).await? else { return Ok(None) };
        let hash: Option<Vec<u8>> = row.try_get_by_index(1)?;
        let age_micros: i64 = row.try_get_by_index(3)?;
        Ok(Some(NewestRefresh {
            chatter: row.try_get_by_index(0)?,
            hash: hash.unwrap_or_default(),
            token_time: Micros(row.try_get_by_index(2)?),
            age: Duration::from_micros(u64::try_from(age_micros).unwrap_or(0)),
            expired: row.try_get_by_index(4)?,
        }))
    }
}
