//! An account with thousands of rooms is deleted at once, and its rooms in pieces.

use reqwest::Method;
use serde_json::json;

use super::is_calm;
use crate::support::account::list;
use crate::support::database::Dump;
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, eventually, on_both};

on_both![
    a10_the_deletion_of_an_account_with_thousands_of_rooms_is_resumed_after_kill_9,
    a10_the_closing_of_thousands_of_rooms_is_resumed_after_kill_9,
];

/// How many rooms the account has.
const ROOMS: i64 = 6_000;

/// A server that was killed while it deleted an account, and runs again; the account had a room with Bob.
async fn killed_in_between(db: Db, deletion: &str, open_rooms: &str) -> (TestServer, Dump, Person, i64) {
    let mut server = TestServer::with(db).set("ACCOUNTS__DELETION", deletion).start().await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let dump = server.dump().await;
    dump.add_rooms(ann.id, 10_000..10_000 + ROOMS).await;
    if db != Db::Sqlite {
        dump.run("SELECT setval(pg_get_serial_sequence('chatrooms', 'id'), 20000)").await;
    }
    // The last one, so that its deletion is not in the first transaction.
    let room = ann.room_with(&bob).await;
    assert!(room > 10_000);
    let deleting = ann.clone();
    let request = tokio::spawn(async move { deleting.try_request(Method::DELETE, "/api/chatters", None, s(10)).await });
    let in_between = || async { (dump.number(open_rooms).await < ROOMS).then_some(()) };
    eventually("it has begun", s(20), in_between).await;
    server.kill9();
    let left = dump.number(open_rooms).await;
    assert!(left > 0, "it was killed in between");
    request.await.expect("no panic");
    server.restart().await;
    ann.get("/api/chatters/me").await.problem(401, "token_revoked");
    server.api().sign_in("ann", PASSWORD).await.problem(401, "credentials_wrong");
    let done = || async { (dump.number(open_rooms).await == 0).then_some(()) };
    eventually("every room is done", s(30), done).await;
    is_calm(&server).await;
    (server, dump, bob, room)
}

async fn a10_the_deletion_of_an_account_with_thousands_of_rooms_is_resumed_after_kill_9(db: Db) {
    let (_server, dump, bob, room) = killed_in_between(db, "cascade", "SELECT count(*) FROM chatrooms").await;
    bob.get(&format!("/api/chatrooms/{room}")).await.problem(404, "not_found");
    assert!(list(bob.get("/api/chatrooms").await).is_empty());
    assert_eq!(dump.number("SELECT count(*) FROM members").await, 0);
    let noted = "SELECT count(DISTINCT chatroom_id) FROM endings";
    assert_eq!(dump.number(noted).await, ROOMS + 1, "other instances can learn of each");
}

async fn a10_the_closing_of_thousands_of_rooms_is_resumed_after_kill_9(db: Db) {
    let open = "SELECT count(*) FROM chatrooms WHERE closed_time IS NULL";
    let (_server, dump, bob, room) = killed_in_between(db, "anonymise", open).await;
    bob.post_chat(room, &json!({"content": "are you there?"})).await.problem(422, "receiver_deleted");
    assert_eq!(list(bob.get("/api/chatrooms").await).len(), 1, "the conversation stays");
    assert_eq!(dump.rooms_count().await, u64::try_from(ROOMS + 1).expect("a count"));
}
