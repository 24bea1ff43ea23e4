//! What ends the tokens that name no session.

use serde_json::{Value, json};

use super::{CREATES, issuer_and_server, person};
use crate::support::issuer::{Issuer, TestKey};
use crate::support::secrets::PASSWORD;
use crate::support::token::{claims, mint, now};
use crate::support::wait::{SLACK, s};
use crate::support::{Db, Person, TestServer, eventually, on_all};

on_all![
    p5_signing_out_ends_the_tokens_that_were_issued_up_to_now,
    p5_ending_all_others_spares_the_token_that_asks_for_it,
    p5_a_new_password_ends_the_tokens_of_the_teams_own_backend,
];

/// The same person with a token that was issued so many seconds later.
fn later(issuer: &Issuer, key: &TestKey, person: &Person, seconds: i64) -> Person {
    let mut claims = issuer.claims("1", "ann");
    claims["iat"] = json!(now() + seconds);
    person.with_token(&issuer.mint(key, &claims))
}

async fn p5_signing_out_ends_the_tokens_that_were_issued_up_to_now(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    let bob = server.api().person("bob").await;
    let room = bob.room_with(&ann).await;
    let (older, newer) = (later(&issuer, &key, &ann, -60), later(&issuer, &key, &ann, 20));
    let (mut device, mut room_socket) = (older.device().await, ann.joins(room).await);
    let (mut stays, mut other) = (newer.device().await, bob.device().await);
    ann.delete("/api/auth").await.expect(200);
    assert_eq!(device.expect_close(s(5)).await, 4401);
    assert_eq!(room_socket.expect_close(s(5)).await, 4401);
    for ended in [&ann, &older] {
        ended.get("/api/chatters/me").await.problem(401, "token_revoked");
    }
    newer.get("/api/chatters/me").await.expect(200);
    bob.says(room, "the newer token goes on").await;
    stays.expect_chat("the newer token goes on").await;
    other.expect_chat("the newer token goes on").await;
    ended_by_replacement(&mut stays, &ann).await;
}

/// A token that has ended replaces none.
async fn ended_by_replacement(socket: &mut crate::support::DeviceSocket, ended: &Person) {
    socket.refused(json!({"type": "auth", "token": ended.token}), "token_revoked").await;
}

async fn p5_ending_all_others_spares_the_token_that_asks_for_it(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    let older = later(&issuer, &key, &ann, -60);
    let (mut ends, mut stays) = (older.device().await, ann.device().await);
    ann.delete("/api/auth/sessions").await.expect(200);
    assert_eq!(ends.expect_close(s(5)).await, 4401);
    older.get("/api/chatters/me").await.problem(401, "token_revoked");
    ann.get("/api/chatters/me").await.expect(200);
    stays.send_json(&json!({"type": "ping"}));
    stays.expect("pong").await;
}

async fn p5_a_new_password_ends_the_tokens_of_the_teams_own_backend(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let issued = |seconds: i64| -> Value {
        let mut claims = claims(ann.id);
        claims["iat"] = json!(now() + seconds);
        claims
    };
    let (old, timeless) = (ann.with_token(&mint(&issued(-5))), {
        let mut claims = claims(ann.id);
        claims.as_object_mut().expect("an object").remove("iat");
        ann.with_token(&mint(&claims))
    });
    let mut sockets = [old.device().await, timeless.device().await];
    let change = json!({"password": "battery-staple-4712", "current_password": PASSWORD});
    ann.api.secrets.remember("battery-staple-4712");
    ann.put("/api/chatters", &change).await.expect(200);
    for socket in &mut sockets {
        assert_eq!(socket.expect_close(s(5)).await, 4401);
    }
    for ended in [&old, &timeless] {
        ended.get("/api/chatters/me").await.problem(401, "token_revoked");
    }
    ann.with_token(&mint(&issued(20))).get("/api/chatters/me").await.expect(200);
    ann.get("/api/chatters/me").await.expect(200);
    // Who steals a token may not outlast a new password because the one that sets it does not say when it was issued.
    let bob = server.api().person("bob").await;
    let [stolen, asking] = [Some(-60), None].map(|seconds: Option<i64>| {
        let mut claims = claims(bob.id);
        match seconds {
            Some(seconds) => claims["iat"] = json!(now() + seconds),
            None => drop(claims.as_object_mut().expect("an object").remove("iat")),
        }
        bob.with_token(&mint(&claims))
    });
    asking.put("/api/chatters", &change).await.expect(200);
    for ended in [&stolen, &asking] {
        ended.get("/api/chatters/me").await.problem(401, "token_revoked");
    }
}

#[tokio::test]
async fn p5_tokens_that_end_on_one_instance_close_their_sockets_on_the_other() {
    let key = TestKey::ed25519("one");
    let issuer = Issuer::start(&[&key]);
    let server = TestServer::with(Db::Cluster).set("AUTH__ISSUERS", issuer.setting(CREATES)).start().await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    let (here, there) = (server.instance(0).api(), server.instance(1).api());
    let at =
        |api: &crate::support::Api, person: &Person| Person { api: api.clone(), ..person.with_token(&person.token) };
    let newer = at(&there, &later(&issuer, &key, &ann, 20));
    let elsewhere = at(&there, &ann);
    let (mut ends, mut stays) = (elsewhere.device().await, newer.device().await);
    at(&here, &ann).delete("/api/auth").await.expect(200);
    assert_eq!(ends.expect_close(s(1) + SLACK).await, 4401);
    let refused = || async { (elsewhere.get("/api/chatters/me").await.status == 401).then_some(()) };
    eventually("the token has ended", s(1), refused).await;
    stays.send_json(&json!({"type": "ping"}));
    stays.expect("pong").await;
}
