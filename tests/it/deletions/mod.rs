//! Deletions that take long: what everybody sees at once, and what follows in the background.

mod accounts;
mod rooms;
mod workers;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::database::Dump;
use crate::support::metrics::Metrics;
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, eventually, long};

/// How many chats a long room has.
fn many() -> i64 {
    if long() { 500_000 } else { 40_000 }
}

/// Fills a room without chats with so many, each with a key of its own as chats with a `client_id` have.
async fn fill(dump: &Dump, db: Db, room: i64, sender: i64, count: i64) {
    let key = if db == Db::Sqlite { "randomblob(16)" } else { "decode(md5(random()::text || i), 'hex')" };
    dump.run(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO chats (chatroom_id, seq, version, sender_id, content, client_id, client_key, create_time)
         SELECT {room}, i, i, {sender}, 'chat ' || i || ' of a long room, as long as chats are', 'c' || i, {key}, i
         FROM n"
    ))
    .await;
    dump.run(&format!("UPDATE chatrooms SET last_seq = {count}, version = {count} WHERE id = {room}")).await;
}

/// What is left of a deletion, in all tables.
async fn rest(dump: &Dump, room: i64) -> i64 {
    let sql = format!(
        "SELECT (SELECT count(*) FROM chats WHERE chatroom_id = {room})
           + (SELECT count(*) FROM members WHERE chatroom_id = {room})
           + (SELECT count(*) FROM push_outbox WHERE chatroom_id = {room})
           + (SELECT count(*) FROM chatrooms WHERE id = {room})
           + (SELECT count(*) FROM pending_deletions)"
    );
    dump.number(&sql).await
}

async fn is_empty_within(dump: &Dump, room: i64, within: Duration) {
    eventually("nothing is left", within, || async { (rest(dump, room).await == 0).then_some(()) }).await;
}

/// A pending deletion that never ends, so that what comes behind it is not begun.
async fn block(dump: &Dump) {
    dump.run(
        "INSERT INTO pending_deletions (kind, subject_id, done, last, create_time)
         VALUES ('chats', -1, 0, 1000000000000000, 0)",
    )
    .await;
}

async fn unblock(dump: &Dump) {
    dump.run("DELETE FROM pending_deletions WHERE subject_id = -1").await;
}

/// Two people beside a deletion.
struct Pair {
    ann: Person,
    room: i64,
    said: usize,
}

impl Pair {
    async fn of(server: &TestServer) -> Self {
        let (ann, bob) = (server.api().person("calm-ann").await, server.api().person("calm-bob").await);
        Self { room: ann.room_with(&bob).await, ann, said: 0 }
    }

    /// How long the slowest of a hundred chats takes, and the slowest of all; of so many chats at least and for as long
    /// as this holds.
    async fn p99(&mut self, least: usize, mut goes_on: impl AsyncFnMut() -> bool) -> (Duration, Duration) {
        let mut took = Vec::new();
        while took.len() < least || (took.len() % 20 == 0 && goes_on().await) || took.len() % 20 != 0 {
            self.said += 1;
            let begun = Instant::now();
            self.ann.post_chat(self.room, &json!({"content": format!("number {}", self.said)})).await.expect(201);
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        (took[took.len() * 99 / 100], took[took.len() - 1])
    }
}

/// How many pieces this instance has deleted.
async fn pieces(server: &TestServer, instance: usize) -> f64 {
    Metrics::of(&server.instance(instance).api()).await.get("deletion_pieces_total")
}

/// The metrics say that nothing is pending.
async fn is_calm(server: &TestServer) {
    eventually("the metrics have no pending deletion", s(5), || async {
        let metrics = Metrics::of(&server.instance(0).api()).await;
        (metrics.get("deletions_pending") == 0.0 && metrics.get("deletions_oldest_seconds") == 0.0).then_some(())
    })
    .await;
}
