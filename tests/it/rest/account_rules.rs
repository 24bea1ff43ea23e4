//! Rules of usernames, nicknames and passwords, and changing a password.

use serde_json::json;

use crate::support::account::list;
use crate::support::secrets::PASSWORD;
use crate::support::{Db, TestServer, on_all};

on_all![
    usernames_are_validated,
    nicknames_are_validated,
    c2_a_nickname_hides_nothing,
    passwords_are_validated_and_kept_exactly,
    of_fifty_sign_ups_for_one_name_exactly_one_succeeds,
    a_new_password_needs_the_current_one,
    a_new_password_ends_the_other_sign_ins,
];

async fn usernames_are_validated(db: Db) {
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

async fn nicknames_are_validated(db: Db) {
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

async fn c2_a_nickname_hides_nothing(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    for good in ["می\u{200c}خواهم", "👩🏽\u{200d}🚒 Ann", "❤\u{fe0f}", "ශ\u{dca}\u{200d}රී", "Zoë O’Neill"]
    {
        assert_eq!(ann.put("/api/chatters", &json!({"nickname": good})).await.expect(200)["nickname"], good);
    }
    let bad = [
        "\u{200b}",
        "\u{3164}",
        "\u{2800}",
        "\u{ad}",
        "\u{202e}nnA",
        "A\u{2066}nn",
        "A\u{200f}",
        "A\u{2028}B",
        "A\u{2029}B",
        "A\u{200b}nn",
        "Ann\u{200d}",
        "A\u{feff}nn",
        "Ann\u{3164}",
        "A\u{e0041}",
    ];
    for bad in bad {
        ann.put("/api/chatters", &json!({"nickname": bad})).await.invalid("nickname");
        let body = json!({"username": "other", "password": PASSWORD, "nickname": bad});
        server.api().post("/api/chatters", &body).await.invalid("nickname");
    }
}

async fn passwords_are_validated_and_kept_exactly(db: Db) {
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

pub async fn of_fifty_sign_ups_for_one_name_exactly_one_succeeds(db: Db) {
    // More than may wait for a password hash by default.
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
