//! A standby of a PostgreSQL server, and its promotion.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use super::postgres::{Cluster, as_postgres};
use super::wait::eventually;

impl Cluster {
    /// A server that follows this one, on a port of its own; it answers reads.
    pub async fn standby(&self) -> Self {
        self.standby_through(self.port).await
    }

    /// The same, which is sent the changes through this port.
    pub async fn standby_through(&self, port: u16) -> Self {
        let (bin, port) = (self.bin.clone(), port.to_string());
        let follow = move || {
            let standby = Self::without_data(&[], false);
            let mut copy = as_postgres(&bin.join("pg_basebackup"));
            copy.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-X", "stream", "-c", "fast", "-R", "-D"]);
            let out = copy.arg(standby.data()).current_dir("/").output().expect("pg_basebackup runs");
            assert!(out.status.success(), "pg_basebackup failed:\n{}", String::from_utf8_lossy(&out.stderr));
            standby.up();
            standby
        };
        tokio::task::spawn_blocking(follow).await.expect("a standby")
    }

    /// Makes a standby take writes; returns when it does.
    pub fn promote(&self) {
        let mut promote = as_postgres(&self.bin.join("pg_ctl"));
        let out =
            promote.args(["promote", "-w", "-D"]).arg(self.data()).current_dir("/").output().expect("pg_ctl runs");
        assert!(out.status.success(), "the promotion failed:\n{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Makes commits of this server wait for its standby.
    pub async fn wait_for_standby(&self) {
        let db = Database::connect(self.url("postgres")).await.expect("the cluster answers");
        replicates(&db, "state = 'streaming'").await;
        db.execute_unprepared("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("set");
        db.execute_unprepared("SELECT pg_reload_conf()").await.expect("reloaded");
        replicates(&db, "sync_state = 'sync'").await;
        db.close().await.expect("closes");
    }

    /// The URL of a database of another server that this one is, or was, a standby of.
    pub fn url_of(&self, url: &str) -> String {
        self.url(url.rsplit('/').next().expect("a database"))
    }
}

/// Waits until a standby is in this state.
async fn replicates(primary: &DatabaseConnection, state: &str) {
    let sql = format!("SELECT 1 FROM pg_stat_replication WHERE {state}");
    eventually(&format!("a standby with {state}"), Duration::from_secs(20), || async {
        let statement = Statement::from_string(DbBackend::Postgres, sql.as_str());
        primary.query_one_raw(statement).await.expect("answers").map(|_| ())
    })
    .await;
}
