//! Accounts and sign-ins: `/api/auth`, `/api/chatters`, `/api/chatters/{id}`, `/api/chatters/me`.

use reqwest::Method;
use serde_json::json;

use crate::support::account::{list, numbers};
use crate::support::rest::next_link;
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, TestServer, on_all};

on_all![
    signing_up_answers_201_with_the_account,
    signing_in_answers_a_token_the_chatter_and_when_it_expires,
    a_wrong_password_and_an_unknown_name_are_refused_alike,
    everybody_is_listed_without_a_token,
    the_directory_is_searched_by_prefix_and_paged,
    a_closed_directory_is_closed_to_strangers,
    a_chatter_is_shown_to_who_has_a_token,
    oneself_is_at_me,
    editing_changes_what_is_given_and_nothing_else,
    the_push_token_is_shown_to_its_owner_only,
    a_push_token_moves_to_who_registers_it_last,
    usernames_keep_to_their_rules,
    nicknames_keep_to_their_rules,
    passwords_keep_to_their_rules_and_are_kept_exactly,
    one_of_fifty_who_ask_for_a_name_at_once_gets_it,
    keys_that_nobody_may_set_are_ignored,
    a_new_password_needs_the_current_one,
    a_new_password_ends_the_other_sign_ins,
    deleting_an_account_anonymises_it_and_keeps_the_conversation_for_the_other,
    the_name_of_a_deleted_account_is_not_given_again,
    deleting_closes_the_sockets_with_4401,
    deleting_with_cascade_takes_the_rooms_along,
    deleting_with_cascade_takes_thousands_of_rooms_along,
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
    let wrong = server.api().sign_in("ann", "wrong-horse-4711").await.problem(401, "credentials_wrong");
    let unknown = server.api().sign_in("nobody", PASSWORD).await.problem(401, "credentials_wrong");
    assert_eq!(wrong, unknown, "neither tells whether the name exists");
}

async fn everybody_is_listed_without_a_token(db: Db) {
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

async fn a_closed_directory_is_closed_to_strangers(db: Db) {
    let server = TestServer::with(db).set("ACCOUNTS__PUBLIC_DIRECTORY", false).start().await;
    let (ann, bob, _) = server.api().pair().await;
    server.api().get("/api/chatters").await.problem(403, "directory_closed");
    server.api().get("/api/chatters?query=b").await.problem(403, "directory_closed");
    ann.get(&format!("/api/chatters/{}", bob.id)).await.expect(200);
}

async fn a_chatter_is_shown_to_who_has_a_token(db: Db) {
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

async fn oneself_is_at_me(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let me = ann.get("/api/chatters/me").await.expect(200);
    assert_eq!((&me["id"], &me["username"]), (&json!(ann.id), &json!("ann")));
    server.api().get("/api/chatters/me").await.problem(401, "token_missing");
}

async fn editing_changes_what_is_given_and_nothing_else(db: Db) {
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

async fn a_push_token_moves_to_who_registers_it_last(db: Db) {
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

async fn usernames_keep_to_their_rules(db: Db) {
    let server = TestServer::spawn(db).await;
    let api = server.api();
    api.sign_up("Alice").await.expect(201);
    for taken in ["Alice", "alice", "ALICE"] {
        api.sign_up(taken).await.problem(409, "username_taken");
    }
    let long = "x".repeat(151);
    let cyrillic = "\u{430}nn";
    for bad in ["", " ", "a b", "앨리스", cyrillic, "a\u{200b}b", "a\u{202e}b", "a\u{0}b", "deleted-7", "a/b", &long]
    {
        let body = json!({"username": bad, "password": PASSWORD, "nickname": "n"});
        api.post("/api/chatters", &body).await.invalid("username");
    }
    let body = json!({"username": "x".repeat(150), "password": PASSWORD, "nickname": "n"});
    api.post("/api/chatters", &body).await.expect(201);
}

async fn nicknames_keep_to_their_rules(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    for good in ["x", "이은서", &"가".repeat(100), "👩‍👩‍👧‍👦", "<b>&\"'</b>"] {
        assert_eq!(ann.put("/api/chatters", &json!({"nickname": good})).await.expect(200)["nickname"], good);
    }
    for bad in ["", "  ", "a\u{0}b", &"가".repeat(101)] {
        ann.put("/api/chatters", &json!({"nickname": bad})).await.invalid("nickname");
        let body = json!({"username": "other", "password": PASSWORD, "nickname": bad});
        server.api().post("/api/chatters", &body).await.invalid("nickname");
    }
}

async fn passwords_keep_to_their_rules_and_are_kept_exactly(db: Db) {
    let server = TestServer::spawn(db).await;
    let api = server.api();
    let sign_up = |name: String, password: String| {
        let api = api.clone();
        async move {
            api.secrets.remember(&password);
            let body = json!({"username": name, "password": password, "nickname": "n"});
            api.post("/api/chatters", &body).await
        }
    };
    for bad in ["1234567".to_owned(), "x".repeat(129), "x".repeat(1_025), "1234567\u{0}8".to_owned()] {
        sign_up("ann".to_owned(), bad).await.invalid("password");
    }
    let good = ["12345678", "  blanks kept  ", "비밀번호여덟자!", &"🔑".repeat(128)];
    for (n, password) in good.iter().enumerate() {
        let name = format!("ann-{n}");
        sign_up(name.clone(), (*password).to_owned()).await.expect(201);
        api.sign_in(&name, password).await.expect(200);
    }
    api.sign_in("ann-1", "blanks kept").await.problem(401, "credentials_wrong");
}

pub async fn one_of_fifty_who_ask_for_a_name_at_once_gets_it(db: Db) {
    // More than wait for a password hash by default.
    let server = TestServer::with(db).set("AUTH__HASHES_QUEUED_MAX", 100).start().await;
    let api = server.api();
    let all = futures_util::future::join_all((0..50).map(|_| api.sign_up("ann"))).await;
    let created = all.iter().filter(|a| a.status == 201).count();
    assert_eq!(created, 1);
    for answer in all.into_iter().filter(|a| a.status != 201) {
        answer.problem(409, "username_taken");
    }
    assert_eq!(list(api.get("/api/chatters").await).len(), 1);
}

async fn keys_that_nobody_may_set_are_ignored(db: Db) {
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

async fn a_new_password_needs_the_current_one(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let new = "battery-staple-0815";
    server.api().secrets.remember(new);
    let alone = ann.put("/api/chatters", &json!({"password": new})).await;
    assert!(matches!(alone.status, 401 | 422), "{}", alone.text);
    let wrong = ann.put("/api/chatters", &json!({"password": new, "current_password": "wrong-horse-4711"})).await;
    assert!(matches!(wrong.status, 401 | 422), "{}", wrong.text);
    server.api().sign_in("ann", PASSWORD).await.expect(200);
    ann.put("/api/chatters", &json!({"password": new, "current_password": PASSWORD})).await.expect(200);
    server.api().sign_in("ann", PASSWORD).await.problem(401, "credentials_wrong");
    server.api().sign_in("ann", new).await.expect(200);
    ann.put("/api/chatters", &json!({"password": "short", "current_password": new})).await.any_problem();
}

async fn a_new_password_ends_the_other_sign_ins(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let elsewhere = ann.signed_in_again().await;
    elsewhere.get("/api/chatters/me").await.expect(200);
    let new = "battery-staple-0816";
    server.api().secrets.remember(new);
    ann.put("/api/chatters", &json!({"password": new, "current_password": PASSWORD})).await.expect(200);
    elsewhere.get("/api/chatters/me").await.problem(401, "token_revoked");
    ann.get("/api/chatters/me").await.expect(200);
}

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

async fn the_name_of_a_deleted_account_is_not_given_again(db: Db) {
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

async fn deleting_with_cascade_takes_the_rooms_along(db: Db) {
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
    assert!(dump.chats(room).await.is_empty() && dump.members(room).await.is_empty());
    assert!(dump.outbox(room).await.is_empty());
    assert_eq!(dump.chats_count().await, 1);
}

async fn deleting_with_cascade_takes_thousands_of_rooms_along(db: Db) {
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
    assert_eq!(dump.rooms_count().await + dump.chats_count().await, 0);
    assert_eq!(dump.number("SELECT count(*) FROM members").await, 0);
    let noted = "SELECT count(DISTINCT chatroom_id) FROM endings";
    assert_eq!(dump.number(noted).await, rooms.end - rooms.start + 1, "other instances can learn of each");
}
