//! Whose account a token of the identity provider opens.

use futures_util::future::join_all;
use serde_json::json;

use super::{CREATES, issuer_and_server, person};
use crate::support::account::{list, numbers};
use crate::support::issuer::{Issuer, TestKey};
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, Person, TestServer, on_all};

on_all![
    p5_requests_at_first_sight_create_one_account,
    p5_a_username_that_is_taken_is_not_handed_out,
    p5_an_account_of_the_identity_provider_has_no_password,
    p5_a_deleted_account_is_not_opened_again,
];

async fn p5_requests_at_first_sight_create_one_account(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    for round in 0..5 {
        let token = issuer.mint(&key, &issuer.claims(&format!("s{round}"), &format!("ann-{round}")));
        let ann = Person { api: server.api(), id: 0, name: String::new(), token };
        let answers = join_all((0..12).map(|_| ann.get("/api/chatters/me"))).await;
        let found: Vec<_> = answers.into_iter().map(|answer| answer.expect(200)).collect();
        assert!(found.iter().all(|me| me["id"] == found[0]["id"]), "{found:?}");
        assert_eq!(found[0]["username"], format!("ann-{round}"));
    }
    assert_eq!(list(server.api().get("/api/chatters").await).len(), 5);
}

async fn p5_a_username_that_is_taken_is_not_handed_out(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    let ann = server.api().person("ann").await;
    let cem = server.api().person("cem").await;
    cem.delete("/api/chatters").await.expect(200);
    let mut ids = vec![ann.id];
    for (subject, name) in [("1", "ANN"), ("2", "ann"), ("3", "cem")] {
        let other = person(&server, &issuer, &key, &issuer.claims(subject, name)).await;
        let (before, suffix) = other.name.rsplit_once('-').expect("a suffix");
        assert!(before == name && suffix.len() == 8 && !ids.contains(&other.id), "{}", other.name);
        assert_eq!(person(&server, &issuer, &key, &issuer.claims(subject, name)).await.id, other.id);
        ids.push(other.id);
    }
    let listed = numbers(&list(server.api().get("/api/chatters").await), "id");
    assert_eq!(listed, ids);
    let of_claims = issuer.claims("4", "");
    let (iat, exp) = (&of_claims["iat"], &of_claims["exp"]);
    let nameless = json!({"iss": issuer.url, "aud": "chat", "sub": "4", "iat": iat, "exp": exp});
    assert_eq!(person(&server, &issuer, &key, &nameless).await.name, "user");
}

async fn p5_an_account_of_the_identity_provider_has_no_password(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    for password in ["", PASSWORD] {
        let refused = server.api().post("/api/auth", &json!({"username": "ann", "password": password})).await;
        refused.problem(401, "credentials_wrong");
    }
    let change = json!({"password": "battery-staple-4712", "current_password": PASSWORD});
    ann.put("/api/chatters", &change).await.invalid("password");
    ann.put("/api/chatters", &json!({"nickname": "Ann"})).await.expect(200);
}

async fn p5_a_deleted_account_is_not_opened_again(db: Db) {
    let key = TestKey::ed25519("one");
    for deletion in ["anonymise", "cascade"] {
        let issuer = Issuer::start(&[&key]);
        let server = TestServer::with(db).set("AUTH__ISSUERS", issuer.setting(CREATES));
        let server = server.set("ACCOUNTS__DELETION", deletion).start().await;
        let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
        let mut socket = ann.device().await;
        ann.delete("/api/chatters").await.expect(200);
        assert_eq!(socket.expect_close(s(5)).await, 4401);
        let mut later = issuer.claims("1", "ann");
        later["iat"] = json!(later["iat"].as_i64().expect("a time") + 10);
        for token in [ann.token.clone(), issuer.mint(&key, &later)] {
            ann.with_token(&token).get("/api/chatters/me").await.problem(401, "token_revoked");
        }
        assert!(list(server.api().get("/api/chatters").await).is_empty(), "{deletion}");
        let bob = person(&server, &issuer, &key, &issuer.claims("2", "bob")).await;
        assert_ne!(bob.id, ann.id);
    }
}

#[tokio::test]
async fn p5_without_create_accounts_an_unknown_subject_is_refused_with_what_to_do() {
    let key = TestKey::ed25519("one");
    let issuer = Issuer::start(&[&key]);
    let server = TestServer::with(Db::Sqlite).set("AUTH__ISSUERS", issuer.setting("")).start().await;
    let token = issuer.mint(&key, &issuer.claims("1", "ann"));
    let ann = Person { api: server.api(), id: 0, name: String::new(), token: token.clone() };
    let refused = ann.get("/api/chatters/me").await.problem(403, "account_unknown");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("Ask the people")), "{refused}");
    let mut socket = DeviceSocket::unsigned(server.port).await;
    socket.send_json(&json!({"type": "auth", "token": token}));
    socket.expect_error("account_unknown").await;
    assert_eq!(socket.expect_close(s(5)).await, 4401);
    assert!(list(server.api().get("/api/chatters").await).is_empty());
}
