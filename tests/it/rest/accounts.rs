//! Accounts and sign-ins: `/api/auth`, `/api/chatters`, `/api/chatters/{id}`, `/api/chatters/me`.

use reqwest::Method;
use serde_json::json;

use crate::support::account::{list, numbers};
use crate::support::rest::next_link;
use crate::support::secrets::PASSWORD;
use crate::support::{Db, TestServer, on_all};

on_all![
    signing_up_answers_201_with_the_account,
    signing_in_answers_a_token_the_chatter_and_when_it_expires,
    a_wrong_password_and_an_unknown_name_are_refused_alike,
    the_directory_is_listed_without_a_token,
    the_directory_is_searched_by_prefix_and_paged,
    a_closed_directory_needs_a_token,
    a_chatter_is_shown_with_a_token_only,
    me_is_the_own_account,
    editing_changes_the_given_keys_only,
    the_push_token_is_shown_to_its_owner_only,
    a_push_token_belongs_to_the_chatter_who_registered_it_last,
    keys_that_clients_may_not_set_are_ignored,
];

async fn signing_up_answers_201_with_the_account(db: Db) {
    let server = TestServer::spawn(db).await;
    let body = json!({"username": "Ann.b-c_d@e+f", "password": PASSWORD, "nickname": "앤 👋"});
    let account = server.api().post("/api/chatters", &body).await.expect(201);
    assert!(account["id"].is_i64(), "{account}");
    assert_eq!(account["username"], "Ann.b-c_d@e+f");
    assert_eq!(account["nickname"], "앤 👋");
    assert_eq!(account["fcm_reg_id"], "", "the key is there and a string, also where there is none");
    assert!(account.get("password").is_none(), "{account}");
    let with_token = json!({"username": "bob", "password": PASSWORD, "nickname": "b", "fcm_reg_id": "device-of-bob-1"});
    let account = server.api().post("/api/chatters", &with_token).await.expect(201);
    assert_eq!(account["fcm_reg_id"], "device-of-bob-1");
}

async fn signing_in_answers_a_token_the_chatter_and_when_it_expires(db: Db) {
    let server = TestServer::spawn(db).await;
    let id = server.api().sign_up("ann").await.expect(201)["id"].clone();
    let answer = server.api().sign_in("ann", PASSWORD).await.expect(200);
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 3, "a JWT");
    assert_eq!(answer["chatter"]["id"], id);
    assert_eq!(answer["chatter"]["username"], "ann");
    assert!(answer["expires_at"].as_str().unwrap().ends_with('Z'), "{answer}");
    let upper = server.api().sign_in("ANN", PASSWORD).await.expect(200);
    assert_eq!(upper["chatter"]["id"], id, "names are the same whatever the case");
}

async fn a_wrong_password_and_an_unknown_name_are_refused_alike(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let mut wrong = server.api().sign_in("ann", "wrong-horse-4711").await.problem(401, "credentials_wrong");
    let mut unknown = server.api().sign_in("nobody", PASSWORD).await.problem(401, "credentials_wrong");
    // Each request has an id of its own.
    for answer in [&mut wrong, &mut unknown] {
        answer["request_id"].take();
    }
    assert_eq!(wrong, unknown, "neither tells whether the name exists");
}

async fn the_directory_is_listed_without_a_token(db: Db) {
    let server = TestServer::spawn(db).await;
    for name in ["ann", "bob", "cem"] {
        server.api().sign_up(name).await.expect(201);
    }
    let all = list(server.api().get("/api/chatters").await);
    let names: Vec<_> = all.iter().map(|c| c["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["ann", "bob", "cem"]);
    for chatter in &all {
        assert!(chatter["id"].is_i64() && chatter["nickname"].is_string(), "{chatter}");
        assert_eq!(chatter["fcm_reg_id"], "");
    }
}

async fn the_directory_is_searched_by_prefix_and_paged(db: Db) {
    let server = TestServer::spawn(db).await;
    for name in ["ann", "Anna", "an_x", "bob", "anx"] {
        server.api().sign_up(name).await.expect(201);
    }
    let found = list(server.api().get("/api/chatters?query=ann").await);
    assert_eq!(found.len(), 2, "{found:?}");
    let literal = list(server.api().get("/api/chatters?query=an_").await);
    assert_eq!(literal.len(), 1, "_ is an ordinary character: {literal:?}");
    assert!(list(server.api().get("/api/chatters?query=%25").await).is_empty(), "% is an ordinary character");
    let first = server.api().get("/api/chatters?limit=2").await;
    let next = next_link(&first).expect("there is more");
    let mut seen = list(first);
    assert_eq!(seen.len(), 2);
    let mut page = Some(next);
    while let Some(path) = page {
        let answer = server.api().get(&path).await;
        page = next_link(&answer);
        seen.extend(list(answer));
        assert!(seen.len() <= 5, "pages overlap");
    }
    let all = list(server.api().get("/api/chatters").await);
    assert_eq!(numbers(&seen, "id"), numbers(&all, "id"));
}

async fn a_closed_directory_needs_a_token(db: Db) {
    let server = TestServer::with(db).set("ACCOUNTS__PUBLIC_DIRECTORY", false).start().await;
    let (ann, bob, _) = server.api().pair().await;
    server.api().get("/api/chatters").await.problem(403, "directory_closed");
    server.api().get("/api/chatters?query=b").await.problem(403, "directory_closed");
    ann.get(&format!("/api/chatters/{}", bob.id)).await.expect(200);
}

async fn a_chatter_is_shown_with_a_token_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let path = format!("/api/chatters/{}", bob.id);
    let shown = ann.get(&path).await.expect(200);
    assert_eq!(shown["id"], bob.id);
    assert_eq!((&shown["username"], &shown["nickname"]), (&json!("bob"), &json!("bob")));
    assert_eq!(shown["fcm_reg_id"], "");
    server.api().get(&path).await.problem(401, "token_missing");
    ann.get("/api/chatters/999999").await.problem(404, "not_found");
}

async fn me_is_the_own_account(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let me = ann.get("/api/chatters/me").await.expect(200);
    assert_eq!((&me["id"], &me["username"]), (&json!(ann.id), &json!("ann")));
    server.api().get("/api/chatters/me").await.problem(401, "token_missing");
}

async fn editing_changes_the_given_keys_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let edited = ann.put("/api/chatters", &json!({"nickname": "Ännchen"})).await.expect(200);
    assert_eq!((&edited["id"], &edited["username"]), (&json!(ann.id), &json!("ann")));
    assert_eq!((&edited["nickname"], &edited["fcm_reg_id"]), (&json!("Ännchen"), &json!("")));
    let edited = ann.put("/api/chatters", &json!({"fcm_reg_id": "device-of-ann-1"})).await.expect(200);
    assert_eq!((&edited["nickname"], &edited["fcm_reg_id"]), (&json!("Ännchen"), &json!("device-of-ann-1")));
    let removed = ann.put("/api/chatters", &json!({"fcm_reg_id": ""})).await.expect(200);
    assert_eq!(removed["fcm_reg_id"], "");
    server.api().request(Method::PUT, "/api/chatters", None, Some(&json!({}))).await.problem(401, "token_missing");
}

async fn the_push_token_is_shown_to_its_owner_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.put("/api/chatters", &json!({"fcm_reg_id": "device-of-ann-2"})).await.expect(200);
    assert_eq!(ann.get("/api/chatters/me").await.expect(200)["fcm_reg_id"], "device-of-ann-2");
    assert_eq!(ann.get(&format!("/api/chatters/{}", ann.id)).await.expect(200)["fcm_reg_id"], "device-of-ann-2");
    assert_eq!(ann.room(room).await["owner"]["fcm_reg_id"], "device-of-ann-2");
    ann.says(room, "something that makes the room appear").await;
    for path in ["/api/chatters".to_owned(), format!("/api/chatters/{}", ann.id), "/api/chatrooms".to_owned()] {
        let text = bob.get(&path).await.text;
        assert!(!text.contains("device-of-ann-2"), "{path}: {text}");
    }
    let room = bob.room(room).await;
    assert_eq!(room["owner"]["fcm_reg_id"], "", "{room}");
    let unnamed = server.api().get("/api/chatters").await.text;
    assert!(!unnamed.contains("device-of-ann-2"), "{unnamed}");
}

async fn a_push_token_belongs_to_the_chatter_who_registered_it_last(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    for owner in [&ann, &bob] {
        owner.put("/api/chatters", &json!({"fcm_reg_id": "one-device"})).await.expect(200);
    }
    assert_eq!(bob.get("/api/chatters/me").await.expect(200)["fcm_reg_id"], "one-device");
    assert_eq!(ann.get("/api/chatters/me").await.expect(200)["fcm_reg_id"], "", "the device changed hands");
    for bad in [" ".to_owned(), "x".repeat(5_000), "a\u{0}b".to_owned()] {
        ann.put("/api/chatters", &json!({"fcm_reg_id": bad})).await.invalid("fcm_reg_id");
    }
}

async fn keys_that_clients_may_not_set_are_ignored(db: Db) {
    let server = TestServer::spawn(db).await;
    let body = json!({"username": "ann", "password": PASSWORD, "nickname": "n", "id": 4711, "is_admin": true,
        "create_time": "1970-01-01T00:00:00Z", "deleted": true});
    let account = server.api().post("/api/chatters", &body).await.expect(201);
    assert_ne!(account["id"], 4711);
    let token = server.api().sign_in("ann", PASSWORD).await.expect(200)["token"].as_str().unwrap().to_owned();
    let edit = json!({"id": 1, "username": "root", "nickname": "m"});
    let edited = server.api().request(Method::PUT, "/api/chatters", Some(&token), Some(&edit)).await.expect(200);
    assert_eq!((&edited["id"], &edited["username"]), (&account["id"], &json!("ann")));
}
