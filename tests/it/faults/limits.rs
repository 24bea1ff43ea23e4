//! Limits of rates and sockets, and the refusals of what exceeds them.

use serde_json::json;

use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, TestServer, alone, eventually};

#[tokio::test]
async fn sending_too_fast_is_429_with_retry_after_and_works_again_later() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SEND_PER_S", 2).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let burst = (0..30).map(|n| (n, json!({"content": format!("in a hurry, number {n}")})));
    let mut taken = 0;
    let mut refused = 0;
    for (_, body) in burst {
        let answer = ann.post_chat(room, &body).await;
        match answer.status {
            201 => taken += 1,
            _ => {
                answer.problem(429, "rate_limited");
                refused += 1;
            }
        }
    }
    assert!((4..=16).contains(&taken) && refused > 0, "a burst of three times the rate: {taken} taken, {refused} not");
    bob.says(room, "another chatter is not affected").await;
    eventually("the rate recovers", s(5), || async {
        let answer = ann.post_chat(room, &json!({"content": "after a breath"})).await;
        (answer.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_ignores_rate_limited_is_closed_4429() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SEND_PER_S", 2).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut fast, mut other) = (ann.joins(room).await, bob.joins(room).await);
    let mut limited = 0;
    for n in 0..2_000 {
        fast.send(&format!("without a pause, number {n}"));
    }
    while let Some(frame) = fast.next(s(15)).await {
        limited += usize::from(frame["error"]["code"] == "rate_limited");
    }
    assert!(limited > 0, "it was refused before");
    assert_eq!(fast.expect_close(s(5)).await, 4429);
    other.send("the other one goes on");
    other.read_until_seq(ann.history(room).await.len() as i64, s(5)).await;
}

#[tokio::test]
async fn signing_in_too_often_is_429_per_name_and_per_address() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SIGN_IN_PER_MIN", 20).start().await;
    for name in ["ann", "bob"] {
        server.api().sign_up(name).await.expect(201);
    }
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(server.api().sign_in("ann", "wrong-horse-4711").await.status);
    }
    let tries = statuses.iter().filter(|code| **code == 401).count();
    assert!((1..=8).contains(&tries), "a quarter of 20 for one name: {statuses:?}");
    server.api().sign_in("ann", PASSWORD).await.problem(429, "rate_limited");
    server.api().sign_in("bob", PASSWORD).await.expect(200);
    for n in 0..30 {
        statuses.push(server.api().sign_in(&format!("nobody-{n}"), "wrong-horse-4711").await.status);
    }
    let all = statuses.iter().filter(|code| **code == 401).count();
    assert!(all <= 24, "20 for one address: {statuses:?}");
    let forged = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7"), ("x-real-ip", "203.0.113.7")];
    let body = json!({"username": "nobody-at-all", "password": PASSWORD});
    let api = server.api();
    let ask = async || api.try_request(reqwest::Method::POST, "/api/auth", &forged, Some(&body)).await.unwrap();
    let mut answer = ask().await;
    // The address regains one try every 3 s, perhaps just now, but not a second one.
    if answer.status == 401 {
        answer = ask().await;
    }
    answer.problem(429, "rate_limited");
}

#[tokio::test]
async fn signing_up_too_often_is_429() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SIGN_UP_PER_MIN", 5).start().await;
    let mut answers = Vec::new();
    for n in 0..12 {
        answers.push(server.api().sign_up(&format!("many-{n}")).await);
    }
    let created = answers.iter().filter(|a| a.status == 201).count();
    assert!((1..=8).contains(&created), "{created} of 12");
    answers.pop().unwrap().problem(429, "rate_limited");
}

#[tokio::test]
async fn more_sockets_than_allowed_replace_the_oldest_with_4409() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SOCKETS_PER_CHATTER", 3).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let mut other = bob.joins(room).await;
    let mut first = ann.joins(room).await;
    let mut rest = [ann.joins(room).await, ann.joins(room).await, ann.joins(room).await];
    assert_eq!(first.expect_close(s(5)).await, 4409);
    for (n, socket) in rest.iter_mut().enumerate() {
        socket.send(&format!("the newer ones stay {n}"));
        socket.read_until_seq(n as i64 + 1, s(5)).await;
    }
    other.read_until_seq(3, s(5)).await;
}

#[tokio::test]
async fn a_flood_of_sign_ins_does_not_stall_chats() {
    let _turn = alone().await;
    // Hashes as costly as in production: they must not run on the threads that serve requests.
    let server = TestServer::with(Db::Sqlite).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let mut server = server;
    server.restart_with("AUTH__ARGON2_MEMORY_KIB", 19_456).await;
    server.restart_with("AUTH__ARGON2_ITERATIONS", 2).await;
    server.api().post("/api/chatters", &json!({"username": "costly", "password": PASSWORD, "nickname": "c"})).await;
    let mut socket = bob.joins(room).await;
    let api = server.api();
    let flood = tokio::spawn(async move {
        let tries = (0..100).map(|n| {
            let api = api.clone();
            async move { api.sign_in(&format!("nobody-{n}"), "wrong-horse-4711").await.status }
        });
        futures_util::future::join_all(tries).await
    });
    let mut slowest = std::time::Duration::ZERO;
    let mut sent = 0;
    while !flood.is_finished() {
        let start = std::time::Instant::now();
        sent += 1;
        ann.says(room, &format!("in between, number {sent}")).await;
        socket.read_until_seq(sent, s(10)).await;
        slowest = slowest.max(start.elapsed());
    }
    for status in flood.await.unwrap() {
        assert!(matches!(status, 401 | 429 | 503), "{status}");
    }
    assert!(slowest < s(2), "a chat took {slowest:?}");
}
