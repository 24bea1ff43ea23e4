//! Accounts of identity providers: finding them by issuer and subject, and what stays of a deleted one.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::chatters::sha256_hex;
use super::{Store, StoreError};
use crate::domain::ChatterId;
use crate::domain::clock::Micros;

/// What the database knows of an issuer's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalAccount {
    /// This account.
    Open(ChatterId),
    /// Its account was deleted.
    Deleted,
    /// It never had an account.
    Unknown,
}

impl Store {
    /// The account of an issuer's subject. Every request with a token of an identity provider calls it.
    pub async fn external_account(&self, external_id: &str) -> Result<ExternalAccount, StoreError> {
        let sql = "SELECT id, delete_time FROM chatters WHERE external_id = $1";
        if let Some(row) = self.row(self.sql(sql, [external_id.into()])).await? {
            let (id, deleted): (i64, Option<i64>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            // A server of an earlier release has deleted it.
            return Ok(if deleted.is_some() { ExternalAccount::Deleted } else { ExternalAccount::Open(id.into()) });
        }
        let retired = self.row(self.sql(RETIRED, [sha256_hex(external_id).into()])).await?;
        Ok(if retired.is_some() { ExternalAccount::Deleted } else { ExternalAccount::Unknown })
    }

    /// Whether the account of this external id was deleted, within a transaction.
    pub(super) async fn is_retired(&self, tx: &DatabaseTransaction, external_id: &str) -> Result<bool, DbErr> {
        Ok(tx.query_one_raw(self.sql(RETIRED, [sha256_hex(external_id).into()])).await?.is_some())
    }

    /// Records that the account of this external id was deleted: tokens of its subject open no account again. Only a hash
    /// stays, because the id itself must not.
    pub(super) async fn retire(&self, tx: &DatabaseTransaction, external_id: &str) -> Result<(), DbErr> {
        let insert =
            "INSERT INTO retired_external_ids (hash, delete_time) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
        let values = [sha256_hex(external_id).into(), Micros::now().0.into()];
        tx.execute_raw(self.sql(insert, values)).await.map(|_| ())
    }
}

const RETIRED: &str = "SELECT 1 FROM retired_external_ids WHERE hash = $1";
