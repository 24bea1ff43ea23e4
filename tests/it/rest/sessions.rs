//! Sessions: refreshing, listing and ending them.

use serde_json::{Value, json};

use crate::support::account::list;
use crate::support::secrets::PASSWORD;
use crate::support::token::{claims, mint};
use crate::support::wait::s;
use crate::support::{Answer, Api, Db, Person, TestServer, on_all};

on_all![
    b3_signing_out_ends_the_session_and_closes_its_sockets,
    sessions_are_listed_and_ended_one_by_one_or_all_others_at_once,
    a_session_shows_the_device_name_and_the_network,
    a_session_of_another_chatter_cannot_be_ended,
    a_new_password_ends_the_refresh_tokens_of_the_other_sessions,
    the_oldest_session_ends_when_there_are_too_many,
    session_ids_are_random_and_those_of_an_earlier_release_stay_valid,
    a_token_of_the_teams_own_backend_has_no_session;
    but_single:
    expired_sessions_are_removed_in_pieces,
];

/// A signed-in person and their refresh token.
pub async fn signs_in(api: &Api, name: &str, device: Option<&str>) -> (Person, String) {
    let body = json!({"username": name, "password": PASSWORD, "device_name": device});
    let answer = api.post("/api/auth", &body).await.expect(200);
    let (token, refresh) = tokens(api, &answer);
    let id = answer["chatter"]["id"].as_i64().expect("an id");
    (Person { api: api.clone(), id, name: name.to_owned(), token }, refresh)
}

/// The two tokens of an answer, which no log may hold.
pub fn tokens(api: &Api, answer: &Value) -> (String, String) {
    let text = |key: &str| answer[key].as_str().unwrap_or_else(|| panic!("no {key} in {answer}")).to_owned();
    let (token, refresh) = (text("token"), text("refresh_token"));
    api.secrets.remember(&token);
    api.secrets.remember(&refresh);
    (token, refresh)
}

pub async fn refreshes(api: &Api, refresh_token: &str) -> Answer {
    api.post("/api/auth/refresh", &json!({"refresh_token": refresh_token})).await
}

async fn sessions(person: &Person) -> Vec<Value> {
    list(person.get("/api/auth/sessions").await)
}

async fn b3_signing_out_ends_the_session_and_closes_its_sockets(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (phone, refresh) = signs_in(&server.api(), "ann", None).await;
    let (mut device, mut room_socket) = (phone.device().await, phone.joins(room).await);
    let mut stays = ann.device().await;
    phone.delete("/api/auth").await.expect(200);
    assert_eq!(device.expect_close(s(5)).await, 4401);
    assert_eq!(room_socket.expect_close(s(5)).await, 4401);
    phone.get("/api/chatters/me").await.problem(401, "token_revoked");
    refreshes(&server.api(), &refresh).await.problem(401, "token_revoked");
    bob.says(room, "to the session that stays").await;
    stays.expect_chat("to the session that stays").await;
    assert_eq!(sessions(&ann).await.len(), 1);
}

async fn sessions_are_listed_and_ended_one_by_one_or_all_others_at_once(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let (phone, _) = signs_in(&server.api(), "ann", Some("Phone")).await;
    let (desk, refresh) = signs_in(&server.api(), "ann", Some("Desk")).await;
    let (tab, _) = signs_in(&server.api(), "ann", Some("Tab")).await;
    let seen = sessions(&phone).await;
    let current: Vec<_> = seen.iter().filter(|one| one["current"] == true).collect();
    assert_eq!((seen.len(), current.len()), (4, 1), "{seen:?}");
    assert_eq!(current[0]["device_name"], "Phone");
    for key in ["create_time", "last_used", "expires_at"] {
        assert!(seen.iter().all(|one| one[key].as_str().is_some_and(|at| at.ends_with('Z'))), "{key}: {seen:?}");
    }
    let (mut closes, mut stays) = (desk.device().await, tab.device().await);
    let of_desk = seen.iter().find(|one| one["device_name"] == "Desk").expect("listed")["id"].clone();
    phone.delete(&format!("/api/auth/sessions/{of_desk}")).await.expect(200);
    assert_eq!(closes.expect_close(s(5)).await, 4401);
    desk.get("/api/chatters/me").await.problem(401, "token_revoked");
    refreshes(&server.api(), &refresh).await.problem(401, "token_revoked");
    phone.delete(&format!("/api/auth/sessions/{of_desk}")).await.problem(404, "not_found");
    tab.get("/api/chatters/me").await.expect(200);
    phone.delete("/api/auth/sessions").await.expect(200);
    assert_eq!(stays.expect_close(s(5)).await, 4401);
    for ended in [&ann, &tab] {
        ended.get("/api/chatters/me").await.problem(401, "token_revoked");
    }
    assert_eq!(sessions(&phone).await.len(), 1);
}

async fn a_session_shows_the_device_name_and_the_network(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, refresh) = signs_in(&server.api(), "ann", Some("Füchsin on Linux")).await;
    let before = sessions(&ann).await.remove(0);
    assert_eq!(
        (&before["device_name"], &before["address_class"]),
        (&json!("Füchsin on Linux"), &json!("127.0.0.0/24"))
    );
    let (token, _) = tokens(&server.api(), &refreshes(&server.api(), &refresh).await.expect(200));
    let after = sessions(&ann.with_token(&token)).await.remove(0);
    assert_eq!((&after["id"], &after["device_name"]), (&before["id"], &before["device_name"]));
    assert!(after["last_used"].as_str() > before["last_used"].as_str(), "{before} {after}");
    assert!(after["expires_at"].as_str() > before["expires_at"].as_str(), "it slides");
    for bad in [" ".to_owned(), "x".repeat(101), "a\u{0}b".to_owned(), "a\nb".to_owned()] {
        let body = json!({"username": "ann", "password": PASSWORD, "device_name": bad});
        server.api().post("/api/auth", &body).await.invalid("device_name");
    }
    let (unnamed, _) = signs_in(&server.api(), "ann", None).await;
    let all = sessions(&unnamed).await;
    assert!(all.iter().any(|one| one["device_name"].is_null()), "{all:?}");
}

async fn a_session_of_another_chatter_cannot_be_ended(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let of_bob = sessions(&bob).await[0]["id"].clone();
    ann.delete(&format!("/api/auth/sessions/{of_bob}")).await.problem(404, "not_found");
    bob.get("/api/chatters/me").await.expect(200);
    for path in ["/api/auth", "/api/auth/sessions", "/api/auth/sessions/1"] {
        server.api().request(reqwest::Method::DELETE, path, None, None).await.problem(401, "token_missing");
    }
}

async fn a_new_password_ends_the_refresh_tokens_of_the_other_sessions(db: Db) {
    let server = TestServer::spawn(db).await;
    server.api().sign_up("ann").await.expect(201);
    let (ann, own) = signs_in(&server.api(), "ann", None).await;
    let (_, other) = signs_in(&server.api(), "ann", None).await;
    let new = "battery-staple-0817";
    server.api().secrets.remember(new);
    ann.put("/api/chatters", &json!({"password": new, "current_password": PASSWORD})).await.expect(200);
    refreshes(&server.api(), &other).await.problem(401, "token_revoked");
    refreshes(&server.api(), &own).await.expect(200);
}

async fn the_oldest_session_ends_when_there_are_too_many(db: Db) {
    let server = TestServer::with(db).set("LIMITS__SESSIONS_PER_CHATTER", 3).start().await;
    let (first, _, room) = server.api().pair().await;
    let (second, refresh) = signs_in(&server.api(), "ann", None).await;
    let (third, _) = signs_in(&server.api(), "ann", None).await;
    let mut closes = first.joins(room).await;
    let (fourth, _) = signs_in(&server.api(), "ann", None).await;
    assert_eq!(closes.expect_close(s(5)).await, 4401);
    first.get("/api/chatters/me").await.problem(401, "token_revoked");
    // The second was used last now, so the third goes next.
    refreshes(&server.api(), &refresh).await.expect(200);
    let (fifth, _) = signs_in(&server.api(), "ann", None).await;
    third.get("/api/chatters/me").await.problem(401, "token_revoked");
    for open in [&second, &fourth, &fifth] {
        open.get("/api/chatters/me").await.expect(200);
    }
    let many = (0..8).map(|_| signs_in(&fifth.api, "ann", None));
    futures_util::future::join_all(many).await;
    assert_eq!(server.dump().await.sign_ins_count(first.id).await, 3, "also when many sign in at once");
}

async fn session_ids_are_random_and_those_of_an_earlier_release_stay_valid(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    for _ in 0..5 {
        ann.signed_in_again().await;
    }
    let ids: Vec<_> = sessions(&ann).await.iter().map(|one| one["id"].as_i64().expect("an id")).collect();
    assert!(ids.iter().all(|id| (1 << 32..1 << 53).contains(id)), "{ids:?}");
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert!(sorted.len() == 6 && sorted != ids.iter().rev().copied().collect::<Vec<_>>(), "not counted: {ids:?}");
    let old = format!("INSERT INTO sign_ins (id, chatter_id, create_time, expire_time) VALUES (7, {}, 1, ", ann.id);
    let dump = server.dump().await;
    dump.run(&format!("{old}{})", i64::MAX)).await;
    let mut of_old = claims(ann.id);
    of_old["sid"] = json!("7");
    let old = ann.with_token(&mint(&of_old));
    let seen = sessions(&old).await;
    let own = seen.iter().find(|one| one["id"] == 7).expect("listed");
    assert_eq!(
        (&own["current"], &own["device_name"], &own["address_class"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    old.delete("/api/auth").await.expect(200);
    old.get("/api/chatters/me").await.problem(401, "token_revoked");
}

async fn a_token_of_the_teams_own_backend_has_no_session(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let own = ann.with_token(&mint(&claims(ann.id)));
    assert!(sessions(&own).await.iter().all(|one| one["current"] == false));
    own.delete("/api/auth/sessions").await.expect(200);
    ann.get("/api/chatters/me").await.problem(401, "token_revoked");
    own.get("/api/chatters/me").await.expect(200);
    own.delete("/api/auth").await.expect(200);
    own.get("/api/chatters/me").await.problem(401, "token_revoked");
}

async fn expired_sessions_are_removed_in_pieces(db: Db) {
    let server = TestServer::with(db).set("CLEANUP__INTERVAL_S", 1).start().await;
    let (ann, refresh) = {
        server.api().sign_up("ann").await.expect(201);
        signs_in(&server.api(), "ann", None).await
    };
    let dump = server.dump().await;
    let rows: Vec<_> = (1..=2_500).map(|id| format!("({id}, {}, 1, 2)", ann.id)).collect();
    for part in rows.chunks(500) {
        let columns = "id, chatter_id, create_time, expire_time";
        dump.run(&format!("INSERT INTO sign_ins ({columns}) VALUES {}", part.join(","))).await;
    }
    let swept = async || (dump.sign_ins_count(ann.id).await == 1).then_some(());
    crate::support::eventually("expired sessions are gone", s(10), swept).await;
    refreshes(&server.api(), &refresh).await.expect(200);
}
