//! A standby of a PostgreSQL server, and its promotion.

use super::postgres::{Cluster, as_postgres};

impl Cluster {
    /// A server that follows this one, on a port of its own; it answers reads.
    pub async fn standby(&self) -> Self {
        let (bin, port) = (self.bin.clone(), self.port.to_string());
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
}
