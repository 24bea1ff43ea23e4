//! Which tokens REST refuses, and that no refused token does harm.

use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};

use crate::support::http::send_bytes;
use crate::support::secrets::JWT_SECRET;
use crate::support::token::{claims, forge, mint, mint_with, now};
use crate::support::wait::s;
use crate::support::{Db, TestServer};

/// Tokens that must be refused, each with the reason.
fn bad_tokens(id: i64, good: &str) -> Vec<(&'static str, String)> {
    let key = JWT_SECRET.as_bytes();
    let with = |name: &str, value: Value| {
        let mut changed = claims(id);
        changed[name] = value;
        mint(&changed)
    };
    let without = |name: &str| {
        let mut changed = claims(id);
        changed.as_object_mut().unwrap().remove(name);
        mint(&changed)
    };
    let text = claims(id).to_string();
    let parts: Vec<_> = good.split('.').collect();
    vec![
        ("alg none", format!("{}.", forge(r#"{"alg":"none","typ":"JWT"}"#, &text, key).rsplit_once('.').unwrap().0)),
        ("alg None, signed", forge(r#"{"alg":"None","typ":"JWT"}"#, &text, key)),
        ("alg RS256 by the HMAC key", forge(r#"{"alg":"RS256","typ":"JWT"}"#, &text, key)),
        ("alg HS384", mint_with(&Header::new(Algorithm::HS384), &claims(id), key)),
        ("alg HS512", mint_with(&Header::new(Algorithm::HS512), &claims(id), key)),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another key", mint_with(&Header::new(Algorithm::HS256), &claims(id), &[7; 40])),
        ("truncated", good[..good.len() - 1].to_owned()),
        ("expired", with("exp", json!(now() - 30))),
        ("exp missing", without("exp")),
        ("exp a text", with("exp", json!((now() + 600).to_string()))),
        ("exp beyond numbers", forge(r#"{"alg":"HS256"}"#, &text.replace("\"exp\":", "\"exp\":1e400,\"was\":"), key)),
        ("not yet", with("nbf", json!(now() + 300))),
        ("another audience", with("aud", json!("another-service"))),
        ("no audience", without("aud")),
        ("another issuer", with("iss", json!("another-service"))),
        ("no issuer", without("iss")),
        ("no subject", without("sub")),
        ("subject 0", with("sub", json!("0"))),
        ("subject -1", with("sub", json!("-1"))),
        ("subject 2^63", with("sub", json!("9223372036854775808"))),
        ("subject nobody", with("sub", json!("999999"))),
        ("subject a name", with("sub", json!("ann"))),
        ("a sign-in that is none", with("sid", json!(999_999))),
        ("unknown crit", forge(r#"{"alg":"HS256","crit":["exp2"],"exp2":1}"#, &text, key)),
        ("dots", ".".repeat(10_000)),
        ("nothing in it", "..".to_owned()),
        ("no base64", "!!.!!.!!".to_owned()),
    ]
}

#[tokio::test]
async fn only_a_valid_token_is_accepted() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let ann = server.api().person("ann").await;
    let minted = ann.with_token(&mint(&claims(ann.id)));
    assert_eq!(minted.get("/api/chatters/me").await.expect(200)["id"], ann.id, "a backend's own, without sid");
    for (what, token) in bad_tokens(ann.id, &ann.token) {
        let answer = ann.with_token(&token).get("/api/chatters/me").await;
        assert!(answer.status == 401, "{what}: {} {}", answer.status, answer.text);
        assert!(answer.json["code"].as_str().is_some_and(|c| c.starts_with("token_")), "{what}: {}", answer.text);
    }
    let expired = ann.with_token(&bad_tokens(ann.id, &ann.token).iter().find(|t| t.0 == "expired").unwrap().1);
    expired.get("/api/chatters/me").await.problem(401, "token_expired");
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", "bearer"] {
        let answer = ann.api.get_with("/api/chatters/me", &[("authorization", header)]).await;
        assert_eq!(answer.status, 401, "{header:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_token_with_any_bit_flipped_is_refused() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let ann = server.api().person("ann").await;
    // The last character carries bits beyond the signature: leave it out.
    for at in 0..ann.token.len() - 1 {
        let mut bytes = ann.token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(bytes).unwrap();
        assert_eq!(ann.with_token(&token).get("/api/chatters/me").await.status, 401, "position {at}");
    }
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_refused_without_harm() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let request =
        format!("GET /api/chatters/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", "x".repeat(1 << 20));
    let status = send_bytes(server.port, request.as_bytes(), s(10)).await.status;
    assert!(matches!(status, 0 | 400 | 401 | 413 | 431), "{status}");
    server.api().get("/healthz").await.expect(200);
}
