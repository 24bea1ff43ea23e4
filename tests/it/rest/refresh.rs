//! Refresh tokens: each is good once, the one before the newest gives the same answer again for 15 seconds, and an older
//! one ends the session.

use futures_util::future::join_all;
use serde_json::json;

use super::sessions::{refreshes, signs_in, tokens};
use crate::support::database::Dump;
use crate::support::token::{claims, mint};
use crate::support::wait::s;
use crate::support::{Db, TestServer, on_all};

on_all![
    a_refresh_gives_the_next_tokens_of_the_same_session,
    the_token_before_the_newest_gives_the_same_answer_again,
    many_refreshes_at_once_all_give_the_same_answer,
    a_refresh_token_that_is_sent_again_later_ends_the_session,
    an_older_refresh_token_ends_the_session_and_closes_its_sockets,
    what_is_no_refresh_token_of_ours_ends_nothing,
    an_expired_session_is_not_refreshed,
    a_deleted_account_is_not_refreshed,
    the_database_keeps_no_refresh_token;
    but_single:
    refreshes_have_a_rate_by_session_and_address,
    a_refresh_that_the_database_did_not_answer_is_sent_once_more,
];

/// As if the newest refresh token had been issued 16 seconds earlier.
async fn sixteen_seconds_pass(dump: &Dump) {
    dump.run("UPDATE sign_ins SET refresh_time = refresh_time - 16000000").await;
}

async fn a_refresh_gives_the_next_tokens_of_the_same_session(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, mut refresh) = signs_in(&server.api(), "ann", None).await;
    for _ in 0..3 {
        let answer = refreshes(&server.api(), &refresh).await.expect(200);
        assert_eq!(answer["chatter"]["id"], ann.id);
        assert!(answer["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{answer}");
        let (token, next) = tokens(&server.api(), &answer);
        assert_ne!(next, refresh);
        ann.with_token(&token).get("/api/chatters/me").await.expect(200);
        refresh = next;
    }
    ann.get("/api/chatters/me").await.expect(200);
    assert_eq!(server.dump().await.sign_ins_count(ann.id).await, 1, "one session");
}

async fn the_token_before_the_newest_gives_the_same_answer_again(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (_, first) = signs_in(&server.api(), "ann", None).await;
    let once = refreshes(&server.api(), &first).await.expect(200);
    for _ in 0..4 {
        let again = refreshes(&server.api(), &first).await.expect(200);
        assert_eq!(tokens(&server.api(), &again), tokens(&server.api(), &once));
        assert_eq!(again["expires_at"], once["expires_at"]);
    }
    refreshes(&server.api(), &tokens(&server.api(), &once).1).await.expect(200);
}

async fn many_refreshes_at_once_all_give_the_same_answer(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, mut refresh) = signs_in(&server.api(), "ann", None).await;
    for round in 0..5 {
        let api = server.api();
        let answers = join_all((0..12).map(|_| refreshes(&api, &refresh))).await;
        let pairs: Vec<_> = answers.into_iter().map(|answer| tokens(&api, &answer.expect(200))).collect();
        assert!(pairs.iter().all(|pair| *pair == pairs[0]), "round {round}");
        ann.with_token(&pairs[0].0).get("/api/chatters/me").await.expect(200);
        refresh = pairs[0].1.clone();
    }
}

async fn a_refresh_token_that_is_sent_again_later_ends_the_session(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, first) = signs_in(&server.api(), "ann", None).await;
    let (_, second) = tokens(&server.api(), &refreshes(&server.api(), &first).await.expect(200));
    sixteen_seconds_pass(&server.dump().await).await;
    refreshes(&server.api(), &first).await.problem(401, "token_revoked");
    refreshes(&server.api(), &second).await.problem(401, "token_revoked");
    ann.get("/api/chatters/me").await.problem(401, "token_revoked");
}

async fn an_older_refresh_token_ends_the_session_and_closes_its_sockets(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, first) = signs_in(&server.api(), "ann", None).await;
    let (other, _) = signs_in(&server.api(), "ann", None).await;
    let (_, second) = tokens(&server.api(), &refreshes(&server.api(), &first).await.expect(200));
    refreshes(&server.api(), &second).await.expect(200);
    let (mut closes, mut stays) = (ann.device().await, other.device().await);
    refreshes(&server.api(), &first).await.problem(401, "token_revoked");
    assert_eq!(closes.expect_close(s(5)).await, 4401);
    ann.get("/api/chatters/me").await.problem(401, "token_revoked");
    other.get("/api/chatters/me").await.expect(200);
    stays.expect_nothing_else().await;
}

async fn what_is_no_refresh_token_of_ours_ends_nothing(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, refresh) = signs_in(&server.api(), "ann", None).await;
    let flipped = |at: usize| {
        let swap = if refresh.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{swap}{}", &refresh[..at], &refresh[at + 1..])
    };
    let (long, other) = ("x".repeat(80), mint(&claims(ann.id)));
    for wrong in ["", "x", long.as_str(), ann.token.as_str(), other.as_str(), &flipped(8), &flipped(20), &flipped(79)] {
        server.api().secrets.remember(wrong);
        refreshes(&server.api(), wrong).await.problem(401, "token_invalid");
    }
    server.api().post("/api/auth/refresh", &json!({})).await.problem(400, "malformed");
    let next = tokens(&server.api(), &refreshes(&server.api(), &refresh).await.expect(200));
    // A refresh token is no token.
    ann.with_token(&next.1).get("/api/chatters/me").await.problem(401, "token_invalid");
}

async fn an_expired_session_is_not_refreshed(db: Db) {
    let server = TestServer::with(db).set("AUTH__REFRESH_DAYS", 3).set("AUTH__TOKEN_TTL_S", 60).start().await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, refresh) = signs_in(&server.api(), "ann", None).await;
    let dump = server.dump().await;
    let days = format!("SELECT (expire_time - create_time) / 86400000000 FROM sign_ins WHERE chatter_id = {}", ann.id);
    assert_eq!(dump.number(&days).await, 3);
    dump.run("UPDATE sign_ins SET expire_time = 1").await;
    refreshes(&server.api(), &refresh).await.problem(401, "token_expired");
}

async fn a_deleted_account_is_not_refreshed(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, refresh) = signs_in(&server.api(), "ann", None).await;
    ann.delete("/api/chatters").await.expect(200);
    refreshes(&server.api(), &refresh).await.problem(401, "token_revoked");
}

async fn the_database_keeps_no_refresh_token(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, refresh) = signs_in(&server.api(), "ann", None).await;
    let dump = server.dump().await;
    let kept = format!("SELECT CAST(length(refresh_hash) AS BIGINT) FROM sign_ins WHERE chatter_id = {}", ann.id);
    assert_eq!(dump.number(&kept).await, 32, "a hash");
    if db == Db::Sqlite {
        for file in std::fs::read_dir(server.folder.path()).expect("a folder") {
            let bytes = std::fs::read(file.expect("a file").path()).unwrap_or_default();
            assert!(!bytes.windows(40).any(|part| part == &refresh.as_bytes()[..40]));
        }
    }
}

async fn refreshes_have_a_rate_by_session_and_address(db: Db) {
    let server = TestServer::with(db).set("LIMITS__REFRESH_PER_MIN", 20).start().await;
    server.api().sign_up("ann").await.expect(201);
    let (_, first) = signs_in(&server.api(), "ann", None).await;
    for _ in 0..2 {
        refreshes(&server.api(), &first).await.expect(200);
    }
    let refused = refreshes(&server.api(), &first).await;
    assert!(!refused.header("retry-after").is_empty());
    refused.problem(429, "rate_limited");
    let (_, other) = signs_in(&server.api(), "ann", None).await;
    refreshes(&server.api(), &other).await.expect(200);
}

async fn a_refresh_that_the_database_did_not_answer_is_sent_once_more(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, first) = signs_in(&server.api(), "ann", None).await;
    let blocker = Dump::open_single(&server.database_url).await;
    blocker.run(if db == Db::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await;
    blocker.run(&format!("UPDATE sign_ins SET device_name = 'x' WHERE chatter_id = {}", ann.id)).await;
    refreshes(&server.api(), &first).await.problem(503, "unavailable");
    blocker.run("ROLLBACK").await;
    let next = tokens(&server.api(), &refreshes(&server.api(), &first).await.expect(200));
    assert_eq!(tokens(&server.api(), &refreshes(&server.api(), &first).await.expect(200)), next);
}
