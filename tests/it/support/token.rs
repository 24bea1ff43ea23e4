//! Tokens as an operator's own backend signs them, and forged ones.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::secrets::JWT_SECRET;

/// Now, in seconds.
pub fn now() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).expect("a time before the end")
}

/// Claims that the server takes, without `sid`.
pub fn claims(chatter: i64) -> Value {
    json!({"iss": "hyper-chat", "aud": "hyper-chat", "sub": chatter.to_string(), "iat": now(), "exp": now() + 600})
}

/// Signed with the test servers' key.
pub fn mint(claims: &Value) -> String {
    mint_with(&Header::new(Algorithm::HS256), claims, JWT_SECRET.as_bytes())
}

/// Signed as asked.
pub fn mint_with(header: &Header, claims: &Value, key: &[u8]) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(key)).expect("signs")
}

/// Any header and claims under a valid HS256 signature, whatever algorithm the header names.
pub fn forge(header: &str, claims: &str, key: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256);
    format!("{signed}.{}", signature.expect("signs"))
}
