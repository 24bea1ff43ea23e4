//! Tokens that are refused: each breaks one rule.

use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};

use super::{CREATES, issuer_and_server, person};
use crate::support::issuer::{Issuer, TestKey};
use crate::support::token::{forge, mint_with, now};
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, Person, TestServer};

/// A token with one changed claim; null takes the claim away.
fn with(issuer: &Issuer, key: &TestKey, name: &str, value: &Value) -> String {
    let mut claims = issuer.claims("1", "ann");
    claims[name] = value.clone();
    if value.is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    }
    issuer.mint(key, &claims)
}

/// Tokens that must be refused, each with the reason.
fn bad_claims(issuer: &Issuer, key: &TestKey) -> Vec<(String, String)> {
    let cases = [
        ("aud", json!("another-service")),
        ("aud", json!(["another-service"])),
        ("aud", json!([])),
        ("aud", json!(null)),
        ("iss", json!("https://elsewhere.example")),
        ("iss", json!([issuer.url.clone()])),
        ("iss", json!(format!("{}/", issuer.url))),
        ("iss", json!("hyper-chat")),
        ("iss", json!(null)),
        ("exp", json!(null)),
        ("exp", json!(now() + 600).to_string().into()),
        ("nbf", json!(now() + 300)),
        ("iat", json!(now() + 300)),
        ("iat", json!("now")),
        ("iat", json!(null)),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("x".repeat(256))),
        ("sub", json!("a\nb")),
    ];
    cases.iter().map(|(name, value)| (format!("{name} {value}"), with(issuer, key, name, value))).collect()
}

fn bad_signatures(issuer: &Issuer, key: &TestKey, unlisted: &TestKey) -> Vec<(String, String)> {
    let claims = issuer.claims("1", "ann");
    let header = |alg: &str, more: &str| format!(r#"{{"alg":"{alg}","kid":"{}"{more}}}"#, key.kid);
    let unsigned =
        |alg: &str| forge(&header(alg, ""), &claims.to_string(), b"x").rsplit_once('.').unwrap().0.to_owned();
    let mut bad = vec![
        ("alg none".to_owned(), format!("{}.", unsigned("none"))),
        ("no signature".to_owned(), format!("{}.", unsigned("EdDSA"))),
        ("an algorithm that is not listed".to_owned(), issuer.mint(unlisted, &claims)),
        ("another key of the same id".to_owned(), issuer.mint(&TestKey::ed25519(&key.kid), &claims)),
    ];
    for alg in ["ES256", "RS256"] {
        bad.push((format!("{alg} with a key for EdDSA"), forge(&header(alg, ""), &claims.to_string(), b"x")));
    }
    for (n, secret) in key.public_forms().iter().enumerate() {
        for alg in [Algorithm::HS256, Algorithm::HS512] {
            let header = Header { kid: Some(key.kid.clone()), ..Header::new(alg) };
            bad.push((format!("{alg:?} with the public key, form {n}"), mint_with(&header, &claims, secret)));
        }
    }
    let crit = Header { kid: Some(key.kid.clone()), typ: Some("logout+jwt".to_owned()), ..Header::new(key.algorithm) };
    bad.push(("another type".to_owned(), jsonwebtoken::encode(&crit, &claims, &key.private).expect("signs")));
    bad
}

#[tokio::test]
async fn p5_a_token_that_breaks_a_rule_is_refused_in_every_place() {
    let (key, unlisted) = (TestKey::ed25519("one"), TestKey::es256("unlisted"));
    let issuer = Issuer::start(&[&key, &unlisted]);
    let more = format!("{CREATES}, algorithms = [\"EdDSA\"]");
    let server = TestServer::with(Db::Sqlite).set("AUTH__ISSUERS", issuer.setting(&more)).start().await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    let bad = [bad_claims(&issuer, &key), bad_signatures(&issuer, &key, &unlisted)].concat();
    for (what, token) in &bad {
        let refused = ann.with_token(token).get("/api/chatters/me").await;
        assert_eq!((refused.status, &refused.json["code"]), (401, &json!("token_invalid")), "{what}: {}", refused.text);
    }
    let past = with(&issuer, &key, "exp", &json!(now()));
    ann.with_token(&past).get("/api/chatters/me").await.problem(401, "token_expired");
    for (what, token) in bad.iter().step_by(5).chain([&("expired".to_owned(), past)]) {
        closed_in_every_way(&server, &ann, what, token).await;
    }
    ann.get("/api/chatters/me").await.expect(200);
    assert_eq!(server.api().get("/api/chatters").await.expect(200).as_array().map(Vec::len), Some(1));
}

/// No socket takes the token.
async fn closed_in_every_way(server: &TestServer, ann: &Person, what: &str, token: &str) {
    let mut late = DeviceSocket::unsigned(server.port).await;
    late.send_json(&json!({"type": "auth", "token": token}));
    assert_eq!(late.expect_close(s(10)).await, 4401, "{what}");
    for way in crate::support::device_socket::WAYS.iter().take(3) {
        assert!(DeviceSocket::connect(server.port, token, *way).await.is_err(), "{what}: {way:?}");
    }
    let query = format!("/ws/chatrooms/1/?jwt={token}");
    assert!(crate::support::ChatroomSocket::try_open(&ann.api, &query, &[]).await.is_err(), "{what}");
    let mut open = ann.device().await;
    let answer = open.ask(json!({"type": "auth", "token": token})).await;
    assert_eq!((&answer["type"], &answer["problem"]["status"]), (&json!("error"), &json!(401)), "{what}: {answer}");
}

#[tokio::test]
async fn p5_the_token_of_another_subject_replaces_no_token_of_a_socket() {
    let (issuer, key, server) = issuer_and_server(Db::Sqlite).await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    let bob = person(&server, &issuer, &key, &issuer.claims("2", "bob")).await;
    let mut socket = ann.device().await;
    socket.refused(json!({"type": "auth", "token": bob.token}), "token_invalid").await;
    socket.send_json(&json!({"type": "auth", "token": ann.token}));
    socket.expect("authenticated").await;
}
