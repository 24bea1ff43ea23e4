//! `client_id` and `Idempotency-Key`: a retry of a chat stores nothing new.

use reqwest::Method;
use serde_json::{Value, json};

use super::chats::chat_path;
use crate::support::account::numbers;
use crate::support::{Answer, Db, Person, TestServer, on_all};

on_all![
    a_retry_in_the_body_answers_200_and_the_same_chat,
    a_retry_by_header_answers_200_and_the_same_chat,
    a_retry_gets_the_chat_as_it_is_now,
    a_client_id_with_other_content_or_another_room_is_409,
    two_different_client_ids_in_one_request_are_400,
    client_ids_are_validated,
    client_ids_are_per_sender,
    eight_simultaneous_retries_get_one_chat,
];

async fn a_retry_in_the_body_answers_200_and_the_same_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let first = ann.says_once(room, "sent once, asked twice", "retry-1").await.expect(201);
    assert_eq!(first["client_id"], "retry-1");
    let again = ann.says_once(room, "sent once, asked twice", "retry-1").await.expect(200);
    assert_eq!(again, first);
    assert_eq!(ann.history(room).await.len(), 1);
}

async fn with_key(ann: &Person, room: i64, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", ann.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    let path = format!("/api/chatrooms/{room}/chats");
    ann.api.try_request(Method::POST, &path, &headers, Some(body)).await.expect("an answer")
}

async fn a_retry_by_header_answers_200_and_the_same_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let body = json!({"content": "named by a header"});
    let first = with_key(&ann, room, "retry-2", &body).await.expect(201);
    assert_eq!(with_key(&ann, room, "retry-2", &body).await.expect(200)["id"], first["id"]);
    let in_body = ann.says_once(room, "named by a header", "retry-2").await.expect(200);
    assert_eq!(in_body["id"], first["id"], "header and body are one name");
    let both = json!({"content": "named by a header", "client_id": "retry-2"});
    assert_eq!(with_key(&ann, room, "retry-2", &both).await.expect(200)["id"], first["id"], "both and equal");
}

async fn a_retry_gets_the_chat_as_it_is_now(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let first = ann.says_once(room, "what it was at first", "retry-3").await.expect(201);
    ann.put(&chat_path(&first), &json!({"content": "what it became later"})).await.expect(200);
    let again = ann.says_once(room, "what it was at first", "retry-3").await.expect(200);
    assert_eq!((&again["id"], &again["content"]), (&first["id"], &json!("what it became later")));
    assert!(again["edit_time"].is_string(), "{again}");
    ann.says_once(room, "what it became later", "retry-3").await.problem(409, "client_id_conflict");
    ann.delete(&chat_path(&first)).await.expect(200);
    let gone = ann.says_once(room, "what it was at first", "retry-3").await.expect(200);
    assert_eq!(gone["id"], first["id"], "deleted, and not stored anew");
    assert!(ann.history(room).await.is_empty());
}

async fn a_client_id_with_other_content_or_another_room_is_409(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let other_room = ann.room_with(&cem).await;
    ann.says_once(room, "the content as first sent", "retry-4").await.expect(201);
    ann.says_once(room, "another content this time", "retry-4").await.problem(409, "client_id_conflict");
    ann.says_once(other_room, "the content as first sent", "retry-4").await.problem(409, "client_id_conflict");
    assert_eq!((ann.history(room).await.len(), ann.history(other_room).await.len()), (1, 0));
}

async fn two_different_client_ids_in_one_request_are_400(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let body = json!({"content": "under which of the two?", "client_id": "one"});
    with_key(&ann, room, "two", &body).await.problem(400, "malformed");
    assert!(ann.history(room).await.is_empty());
}

async fn client_ids_are_validated(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for bad in ["", "é", "a\nb", "a\u{0}", "x".repeat(65).as_str()] {
        ann.says_once(room, "named against the rules", bad).await.invalid("client_id");
    }
    for good in ["x", "a b ~!{}", "x".repeat(64).as_str()] {
        ann.says_once(room, "named by the rules", good).await.expect(201);
    }
    let number = ann.post_chat(room, &json!({"content": "named by a number", "client_id": 7})).await;
    number.problem(400, "malformed");
}

async fn client_ids_are_per_sender(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let one = ann.says_once(room, "the same words of two", "same").await.expect(201);
    let two = bob.says_once(room, "the same words of two", "same").await.expect(201);
    assert_ne!(one["id"], two["id"]);
}

async fn eight_simultaneous_retries_get_one_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for round in 0..10 {
        let name = format!("race-{round}");
        let tries = (0..8).map(|_| ann.says_once(room, "eight tries of one chat", &name));
        let answers = futures_util::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1, "round {round}");
        assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 7, "round {round}");
        assert!(answers.iter().all(|a| a.json["id"] == answers[0].json["id"]), "round {round}");
    }
    assert_eq!(numbers(&ann.history(room).await, "seq"), (1..=10).collect::<Vec<_>>());
}
