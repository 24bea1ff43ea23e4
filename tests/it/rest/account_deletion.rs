//! Deleting an account: what is anonymised, what is kept, and what `cascade` deletes with it.

use serde_json::json;

use crate::support::account::{list, numbers};
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, TestServer, eventually, on_all};

on_all![
    deleting_an_account_anonymises_it_and_keeps_the_conversation_for_the_other,
    the_name_of_a_deleted_account_stays_taken,
    deleting_closes_the_sockets_with_4401,
    deleting_with_cascade_deletes_the_rooms,
    deleting_with_cascade_deletes_thousands_of_rooms,
];

async fn deleting_an_account_anonymises_it_and_keeps_the_conversation_for_the_other(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.put("/api/chatters", &json!({"fcm_reg_id": "device-of-ann-3"})).await.expect(200);
    ann.says(room, "what the other one keeps").await;
    let elsewhere = ann.signed_in_again().await;
    let deleted = ann.delete("/api/chatters").await.expect(200);
    assert_eq!(deleted["message"], "Success Delete Chatter");
    for token in [&ann, &elsewhere] {
        token.get("/api/chatters/me").await.problem(401, "token_revoked");
    }
    server.api().sign_in("ann", PASSWORD).await.problem(401, "credentials_wrong");
    assert_eq!(bob.history(room).await[0]["content"], "what the other one keeps");
    let name = format!("deleted-{}", ann.id);
    let owner = bob.room(room).await["owner"].clone();
    assert_eq!((&owner["id"], &owner["username"]), (&json!(ann.id), &json!(name)));
    bob.post_chat(room, &json!({"content": "are you there?"})).await.problem(422, "receiver_deleted");
    let dump = server.dump().await;
    let row = dump.chatter(ann.id).await.expect("the row stays");
    assert_eq!((row.username.as_str(), row.password_hash), (name.as_str(), None));
    assert!(!row.username_key.contains("ann"), "{}", row.username_key);
    assert!(dump.devices(ann.id).await.is_empty() && dump.sign_ins_count(ann.id).await == 0);
    let everybody = server.api().get("/api/chatters").await.text;
    assert!(!everybody.contains("\"ann\""), "{everybody}");
}

async fn the_name_of_a_deleted_account_stays_taken(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    ann.delete("/api/chatters").await.expect(200);
    server.api().sign_up("Ann").await.problem(409, "username_taken");
}

async fn deleting_closes_the_sockets_with_4401(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two, mut other) = (ann.joins(room).await, ann.joins(room).await, bob.joins(room).await);
    ann.delete("/api/chatters").await.expect(200);
    assert_eq!(one.expect_close(s(2)).await, 4401);
    assert_eq!(two.expect_close(s(2)).await, 4401);
    other.send("is anybody there?");
    assert_eq!(other.expect_error().await["code"], "receiver_deleted", "the other one's socket stays");
}

async fn deleting_with_cascade_deletes_the_rooms(db: Db) {
    let server = TestServer::with(db).set("ACCOUNTS__DELETION", "cascade").start().await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let kept = bob.room_with(&cem).await;
    ann.says(room, "what goes with its room").await;
    bob.says(kept, "what stays in the other room").await;
    let mut socket = bob.joins(room).await;
    ann.delete("/api/chatters").await.expect(200);
    assert_eq!(socket.expect_close(s(5)).await, 4404);
    bob.get(&format!("/api/chatrooms/{room}")).await.problem(404, "not_found");
    assert_eq!(numbers(&list(bob.get("/api/chatrooms").await), "id"), [kept]);
    let dump = server.dump().await;
    assert!(dump.chatter(ann.id).await.is_none() && dump.room(room).await.is_none());
    assert!(dump.members(room).await.is_empty() && dump.outbox(room).await.is_empty());
    eventually("only the other room's chat is left", s(5), || async { (dump.chats_count().await == 1).then_some(()) })
        .await;
}

async fn deleting_with_cascade_deletes_thousands_of_rooms(db: Db) {
    let server = TestServer::with(db).set("ACCOUNTS__DELETION", "cascade").start().await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    let rooms = 10_000..15_000;
    dump.add_rooms(ann.id, rooms.clone()).await;
    for room in rooms.clone().step_by(100) {
        dump.add_chats(room, room, 1..=20).await;
    }
    let mut device = bob.device().await;
    ann.delete("/api/chatters").await.expect(200);
    assert_eq!(device.expect("chatroom_deleted").await["chatroom_id"], room);
    eventually("nothing is left", s(20), || async {
        let rows = "SELECT (SELECT count(*) FROM chatrooms) + (SELECT count(*) FROM chats)
                      + (SELECT count(*) FROM members) + (SELECT count(*) FROM pending_deletions)";
        (dump.number(rows).await == 0).then_some(())
    })
    .await;
    let noted = "SELECT count(DISTINCT chatroom_id) FROM endings";
    assert_eq!(dump.number(noted).await, rooms.end - rooms.start + 1, "other instances can learn of each");
}
