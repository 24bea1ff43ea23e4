//! The row of the table `epoch`, as both databases have it.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::Epoch;
use crate::domain::clock::Micros;
use crate::store::sql;

/// The epoch of the row.
pub(in crate::store) async fn read(db: &impl ConnectionTrait) -> Result<Epoch, DbErr> {
    let statement = Statement::from_string(db.get_database_backend(), "SELECT name, begin_time FROM epoch");
    let row = db.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the row of the table epoch".to_owned()))?;
    let name: String = row.try_get_by_index(0)?;
    Ok(Epoch { name: Arc::from(name), begin_time: Micros(row.try_get_by_index(1)?) })
}

/// Begins a new epoch and returns it.
pub(in crate::store) async fn begin_new(db: &impl ConnectionTrait) -> Result<Epoch, DbErr> {
    let backend = db.get_database_backend();
    let update = format!("UPDATE epoch SET name = $1, begin_time = {}", sql::clock(backend));
    db.execute_raw(Statement::from_sql_and_values(backend, update, [new_name().into()])).await?;
    read(db).await
}

/// A random name.
pub(super) fn new_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}
