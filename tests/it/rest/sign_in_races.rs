//! Passwords that change while a sign-in, or another change, has verified the old one and not yet written.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::database::Dump;
use crate::support::secrets::PASSWORD;
use crate::support::token::{claims, mint};
use crate::support::wait::s;
use crate::support::{Db, TestServer, eventually, on_all, stays};

on_all![
    b1_no_sign_in_with_the_old_password_outlives_its_change,
    b1_of_two_changes_that_verified_one_password_the_second_is_refused,
    b2_a_rehash_at_sign_in_does_not_bring_the_old_password_back;
    but_single:
    b1_a_sign_in_that_waits_for_the_change_opens_nothing,
    b1_a_sign_in_that_waits_for_the_deletion_opens_nothing,
    b1_a_change_by_a_sign_in_that_ended_meanwhile_is_refused,
];

/// Hashes take some 20 ms, so that many are under way at any moment.
const SLOW: [(&str, u32); 3] =
    [("AUTH__ARGON2_MEMORY_KIB", 4_096), ("AUTH__ARGON2_ITERATIONS", 2), ("AUTH__HASHES_QUEUED_MAX", 200)];

fn password(round: usize) -> String {
    format!("battery-staple-{round:04}")
}

async fn b1_no_sign_in_with_the_old_password_outlives_its_change(db: Db) {
    let server = SLOW.into_iter().fold(TestServer::with(db), |server, (key, value)| server.set(key, value));
    let server = server.start().await;
    let mut ann = server.api().person("ann").await;
    let mut old = PASSWORD.to_owned();
    for round in 0..3 {
        let new = password(round);
        server.api().secrets.remember(&new);
        let api = server.api();
        let sign_ins = join_all((0..12).map(|_| api.sign_in("ann", &old)));
        let change = json!({"password": new, "current_password": old});
        let (answers, changed) = tokio::join!(sign_ins, ann.put("/api/chatters", &change));
        changed.expect(200);
        for answer in answers {
            match answer.status {
                200 => {
                    let lost = ann.with_token(answer.json["token"].as_str().expect("a token"));
                    lost.get("/api/chatters/me").await.problem(401, "token_revoked");
                }
                _ => drop(answer.problem(401, "credentials_wrong")),
            }
        }
        assert_eq!(server.dump().await.sign_ins_count(ann.id).await, 1, "only the one that changed it");
        let token = server.api().sign_in("ann", &new).await.expect(200)["token"].as_str().expect("a token").to_owned();
        (ann, old) = (ann.with_token(&token), new);
    }
}

async fn b1_of_two_changes_that_verified_one_password_the_second_is_refused(db: Db) {
    let server = SLOW.into_iter().fold(TestServer::with(db), |server, (key, value)| server.set(key, value));
    let server = server.start().await;
    let ann = server.api().person("ann").await;
    // Without a sign-in, which the first change would end.
    let people: Vec<_> = (0..6).map(|_| ann.with_token(&mint(&claims(ann.id)))).collect();
    let changes = people.iter().enumerate().map(|(n, person)| {
        server.api().secrets.remember(&password(n));
        let body = json!({"password": password(n), "current_password": PASSWORD});
        async move { person.put("/api/chatters", &body).await }
    });
    let answers = join_all(changes).await;
    let winners: Vec<_> = (0..people.len()).filter(|n| answers[*n].status == 200).collect();
    assert_eq!(winners.len(), 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.invalid("current_password");
    }
    server.api().sign_in("ann", &password(winners[0])).await.expect(200);
}

async fn b2_a_rehash_at_sign_in_does_not_bring_the_old_password_back(db: Db) {
    let server = SLOW.into_iter().fold(TestServer::with(db), |server, (key, value)| server.set(key, value));
    let mut server = server.set("AUTH__ARGON2_ITERATIONS", 1).start().await;
    let names: Vec<_> = (0..4).map(|n| format!("ann-{n}")).collect();
    let people = join_all(names.iter().map(|name| async { server.api().person(name).await })).await;
    server.restart_with("AUTH__ARGON2_ITERATIONS", 2).await;
    let new = password(0);
    server.api().secrets.remember(&new);
    let rounds = people.iter().map(|ann| async {
        let sign_ins = join_all((0..4).map(|_| ann.api.sign_in(&ann.name, PASSWORD)));
        let change = json!({"password": new, "current_password": PASSWORD});
        let (_, changed) = tokio::join!(sign_ins, ann.put("/api/chatters", &change));
        changed.expect(200);
    });
    join_all(rounds).await;
    for ann in &people {
        ann.api.sign_in(&ann.name, PASSWORD).await.problem(401, "credentials_wrong");
        ann.api.sign_in(&ann.name, &new).await.expect(200);
    }
}

/// A transaction beside the server that has changed an account and not yet committed.
struct Uncommitted(Dump);

impl Uncommitted {
    async fn begin(server: &TestServer, sql: &str) -> Self {
        let dump = Dump::open_single(&server.database_url).await;
        dump.run(if server.db == Db::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await;
        dump.run(sql).await;
        Self(dump)
    }

    /// Commits once the request waits for it.
    async fn commit<T>(self, server: &TestServer, request: &tokio::task::JoinHandle<T>) {
        if server.db == Db::Sqlite {
            // SQLite shows no one who waits for its lock.
            stays("the request waits", Duration::from_millis(300), async || !request.is_finished()).await;
        } else {
            let watcher = server.dump().await;
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                           AND datname = current_database()";
            let waits = async || (watcher.number(waiting).await > 0).then_some(());
            eventually("the request waits for the lock", s(5), waits).await;
        }
        self.0.run("COMMIT").await;
    }
}

async fn b1_a_sign_in_that_waits_for_the_change_opens_nothing(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let new = password(0);
    server.api().secrets.remember(&new);
    bob.put("/api/chatters", &json!({"password": new, "current_password": PASSWORD})).await.expect(200);
    let take_over = format!(
        "UPDATE chatters SET password_hash = (SELECT password_hash FROM chatters WHERE id = {}) WHERE id = {}",
        bob.id, ann.id
    );
    let change = Uncommitted::begin(&server, &take_over).await;
    let api = server.api();
    let request = tokio::spawn(async move { api.sign_in("ann", PASSWORD).await });
    change.commit(&server, &request).await;
    request.await.expect("answered").problem(401, "credentials_wrong");
    assert_eq!(server.dump().await.sign_ins_count(ann.id).await, 1);
    server.api().sign_in("ann", &new).await.expect(200);
}

async fn b1_a_sign_in_that_waits_for_the_deletion_opens_nothing(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let delete =
        format!("UPDATE chatters SET password_hash = NULL, username_key = 'x', delete_time = 1 WHERE id = {}", ann.id);
    let deletion = Uncommitted::begin(&server, &delete).await;
    let api = server.api();
    let request = tokio::spawn(async move { api.sign_in("ann", PASSWORD).await });
    deletion.commit(&server, &request).await;
    request.await.expect("answered").problem(401, "credentials_wrong");
    assert_eq!(server.dump().await.sign_ins_count(ann.id).await, 1);
}

async fn b1_a_change_by_a_sign_in_that_ended_meanwhile_is_refused(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let end = format!("UPDATE chatters SET last_seen = 1 WHERE id = {}", ann.id);
    let ending = Uncommitted::begin(&server, &end).await;
    ending.0.run(&format!("DELETE FROM sign_ins WHERE chatter_id = {}", ann.id)).await;
    let change = json!({"password": password(0), "current_password": PASSWORD, "nickname": "late"});
    let person = ann.clone();
    let request = tokio::spawn(async move { person.put("/api/chatters", &change).await });
    ending.commit(&server, &request).await;
    request.await.expect("answered").problem(401, "token_revoked");
    server.api().sign_in("ann", PASSWORD).await.expect(200);
}
