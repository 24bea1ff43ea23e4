//! A long room is deleted for everybody at once, and its chats in pieces.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{Pair, block, fill, is_calm, is_empty_within, many, pieces, unblock};
use crate::support::account::{list, numbers};
use crate::support::database::Dump;
use crate::support::device_socket::cursors;
use crate::support::wait::s;
use crate::support::{Db, TestServer, alone, eventually, on_both};

on_both![
    a10_a_long_room_is_deleted_at_once_and_in_pieces_beside_a_pair,
    a10_what_is_left_of_a_deleted_room_shows_nowhere,
    a10_a_deletion_is_resumed_after_kill_9,
    a10_a_deletion_that_waits_for_a_lock_is_answered,
];

async fn a10_a_long_room_is_deleted_at_once_and_in_pieces_beside_a_pair(db: Db) {
    let _turn = alone().await;
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    fill(&dump, db, room, ann.id, many()).await;
    let mut pair = Pair::of(&server).await;
    let mut device = bob.device().await;
    let (calm, _) = pair.p99(300, async || false).await;
    let mut socket = bob.joins(room).await;
    let begun = Instant::now();
    ann.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
    let answered = begun.elapsed();
    bob.get(&format!("/api/chatrooms/{room}")).await.problem(404, "not_found");
    bob.get(&format!("/api/chatrooms/{room}/chats")).await.problem(404, "not_found");
    assert_eq!(device.expect("chatroom_deleted").await["chatroom_id"], room);
    assert_eq!(socket.expect_close(s(5)).await, 4404);
    let next = bob.room_with(&ann).await;
    assert!(next > room, "ids are never given twice: {next}");
    let chats = format!("SELECT count(*) FROM chats WHERE chatroom_id = {room}");
    assert!(dump.number(&chats).await > 0, "the chats are not deleted in the same transaction");
    let (during, slowest) =
        pair.p99(300, async || dump.number("SELECT count(*) FROM pending_deletions").await > 0).await;
    let whole = begun.elapsed();
    eprintln!(
        "{db:?}: answered {answered:?}, p99 calm {calm:?}, during {during:?} (at most {slowest:?}); {} chats in {whole:?}",
        many()
    );
    is_empty_within(&dump, room, s(60)).await;
    let bound = (calm * 4).max(Duration::from_millis(60));
    assert!(during <= bound, "the pair's p99 rose from {calm:?} to {during:?}");
    assert!(slowest <= bound * 5, "a chat of the pair took {slowest:?}, and {calm:?} before");
    let pieces = pieces(&server, 0).await;
    assert!(pieces >= many() as f64 / 1_100.0, "only {pieces} pieces");
    assert_eq!(numbers(&list(ann.get("/api/chatrooms").await), "id"), [next]);
    is_calm(&server).await;
}

async fn a10_what_is_left_of_a_deleted_room_shows_nowhere(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    let first = ann.says_once(room, "left for a while", "once").await.expect(201);
    block(&dump).await;
    let mut device = bob.device().await;
    ann.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
    device.expect("chatroom_deleted").await;
    assert_eq!(dump.chats(room).await.len(), 1, "the worker has something else to do");
    let chat = format!("/api/chats/{}", first["id"]);
    let of_room = |path: &str| format!("/api/chatrooms/{room}{path}");
    for (method, path, body) in [
        (Method::GET, of_room("/chats"), None),
        (Method::GET, of_room("/chats?limit=10"), None),
        (Method::GET, of_room("/changes?since=0"), None),
        (Method::POST, of_room("/chats/search"), Some(json!({"query": "left"}))),
        (Method::POST, of_room("/chats"), Some(json!({"content": "left for a while", "client_id": "once"}))),
        (Method::GET, chat.clone(), None),
        (Method::PUT, chat.clone(), Some(json!({"content": "changed"}))),
        (Method::DELETE, chat.clone(), None),
    ] {
        ann.request(method, &path, body.as_ref()).await.problem(404, "not_found");
    }
    device.send_json(&json!({"type": "resume", "ref": 1, "chatrooms": cursors(&[(room, 0)])}));
    assert_eq!(device.expect("chatroom_deleted").await["chatroom_id"], room);
    device.expect("resumed").await;
    device.refused(json!({"type": "edit", "chat_id": first["id"], "content": "changed"}), "not_found").await;
    // The same client_id in another room is a new chat, alone and beside others.
    let next = ann.room_with(&bob).await;
    let again = ann.says_once(next, "left for a while", "once").await.expect(201);
    assert_eq!((again["seq"].as_i64(), again["chatroom_id"].as_i64()), (Some(1), Some(next)));
    assert_eq!(ann.says_once(next, "left for a while", "once").await.expect(200)["id"], again["id"]);
    let room = bob.room(next).await;
    assert_eq!((&room["last_chat"]["id"], &room["unread_count"]), (&again["id"], &json!(1)));
    unblock(&dump).await;
    eventually("only the new chat is left", s(10), || async { (dump.chats_count().await == 1).then_some(()) }).await;
}

async fn a10_a_deletion_is_resumed_after_kill_9(db: Db) {
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    fill(&dump, db, room, ann.id, 20_000).await;
    ann.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
    let chats = format!("SELECT count(*) FROM chats WHERE chatroom_id = {room}");
    eventually("it has begun", s(20), || async { (dump.number(&chats).await < 19_000).then_some(()) }).await;
    server.kill9();
    let left = dump.number(&chats).await;
    assert!(left > 0, "it was killed in between");
    server.restart().await;
    bob.get(&format!("/api/chatrooms/{room}")).await.problem(404, "not_found");
    let next = ann.room_with(&bob).await;
    assert!(next > room);
    is_empty_within(&dump, room, s(60)).await;
}

/// Nobody else uses the room, so nothing but the deletion keeps its actor.
async fn a10_a_deletion_that_waits_for_a_lock_is_answered(db: Db) {
    let server = TestServer::with(db).start().await;
    let (ann, _, room) = server.api().pair().await;
    let other = Dump::open_single(&server.database_url).await;
    let begin = if db == Db::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
    other.run(begin).await;
    other.run(&format!("UPDATE chatrooms SET create_time = create_time WHERE id = {room}")).await;
    let path = format!("/api/chatrooms/{room}");
    let deletion = tokio::spawn(async move { ann.delete(&path).await });
    // Longer than the time between two checks of whether a room may retire, shorter than a lock may take.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!deletion.is_finished(), "it waits");
    other.run("COMMIT").await;
    deletion.await.expect("no panic").expect(200);
}
