//! The keys of an issuer (RFC 7517): which of a set may verify what.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The most keys of a set that are read.
const KEYS_MAX: usize = 100;
/// RFC 7518, 3.3: an RSA key has at least 2048 bits.
const RSA_BYTES_MIN: usize = 256;
/// The length of a coordinate on P-256, and of an Ed25519 key.
const COORDINATE_BYTES: usize = 32;

/// The keys of an issuer that can verify a signature.
pub(super) struct KeySet(Vec<Key>);

/// A key with the one algorithm that it is for. RFC 8725, 3.1: a key is used with no other.
struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The members of a key that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part, which no issuer publishes on purpose.
    d: Option<IgnoredAny>,
}

impl KeySet {
    /// Reads a set. RFC 7517, 5: keys that are not understood are ignored. `None` if no key is of use. An empty set is
    /// one: the issuer has withdrawn all its keys.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let Jwks { keys } = serde_json::from_slice(bytes).ok()?;
        let is_empty = keys.is_empty();
        let keys = keys.into_iter().take(KEYS_MAX).filter_map(|key| Key::of(serde_json::from_value(key).ok()?));
        let keys: Vec<Key> = keys.collect();
        (is_empty || !keys.is_empty()).then_some(Self(keys))
    }

    /// The key of this id that is for this algorithm. A token without an id has one only where a single key fits.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
        let mut fitting = self.0.iter().filter(|key| key.algorithm == algorithm);
        let found = match kid {
            Some(_) => fitting.find(|key| key.kid.as_deref() == kid),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        found.map(|key| key.key.clone())
    }
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        let verifies = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|one| one == "verify"));
        if !verifies || jwk.d.is_some() {
            return None;
        }
        let (x, y) = (jwk.x.as_deref(), jwk.y.as_deref());
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
            ("RSA", None, None | Some("RS256")) => {
                let (n, e) = (jwk.n?, jwk.e?);
                let modulus = URL_SAFE_NO_PAD.decode(&n).ok()?;
                if modulus.iter().skip_while(|byte| **byte == 0).count() < RSA_BYTES_MIN {
                    return None;
                }
                (Algorithm::RS256, DecodingKey::from_rsa_components(&n, &e))
            }
            ("EC", Some("P-256"), None | Some("ES256")) => {
                (Algorithm::ES256, DecodingKey::from_ec_components(coordinate(x)?, coordinate(y)?))
            }
            // RFC 9864 gives EdDSA with Ed25519 a name of its own.
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                (Algorithm::EdDSA, DecodingKey::from_ed_components(coordinate(x)?))
            }
            _ => return None,
        };
        Some(Self { kid: jwk.kid, algorithm, key: Arc::new(key.ok()?) })
    }
}

fn coordinate(text: Option<&str>) -> Option<&str> {
    text.filter(|text| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == COORDINATE_BYTES))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// An Ed25519 key with this id.
    pub(in crate::auth::issuers) fn ed25519(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode([7; 32])})
    }

    fn ec(kid: &str) -> Value {
        let half = URL_SAFE_NO_PAD.encode([7; 32]);
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": half, "y": half})
    }

    fn set(keys: &[Value]) -> Option<KeySet> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn a_key_verifies_only_with_the_algorithm_that_its_type_curve_and_alg_allow() {
        let keys = set(&[ed25519("a"), ec("b")]).unwrap();
        assert!(keys.find(Some("a"), Algorithm::EdDSA).is_some() && keys.find(Some("b"), Algorithm::ES256).is_some());
        for wrong in [Algorithm::ES256, Algorithm::RS256, Algorithm::HS256] {
            assert!(keys.find(Some("a"), wrong).is_none(), "{wrong:?}");
        }
        assert!(keys.find(Some("A"), Algorithm::EdDSA).is_none(), "ids are compared to the character");
        for (name, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("alg", json!("ES256")),
            ("alg", json!("HS256")),
            ("crv", json!("X25519")),
            ("crv", json!("Ed448")),
            ("kty", json!("oct")),
            ("x", json!("AAAA")),
            ("d", json!("AAAA")),
        ] {
            assert!(set(&[with(ed25519("a"), name, value.clone())]).is_none(), "{name} {value}");
        }
        for (name, value) in [("use", json!("sig")), ("key_ops", json!(["verify"])), ("alg", json!("EdDSA"))] {
            assert!(set(&[with(ed25519("a"), name, value.clone())]).is_some(), "{name} {value}");
        }
        let short = json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([255; 255])});
        assert!(set(&[short]).is_none(), "an RSA key below 2048 bits");
    }

    #[test]
    fn a_token_without_a_key_id_has_a_key_only_where_one_fits() {
        let keys = set(&[ed25519("a"), ec("b")]).unwrap();
        assert!(keys.find(None, Algorithm::EdDSA).is_some() && keys.find(None, Algorithm::RS256).is_none());
        let keys = set(&[ed25519("a"), ed25519("b")]).unwrap();
        assert!(keys.find(None, Algorithm::EdDSA).is_none());
    }

    #[test]
    fn keys_that_are_not_understood_are_ignored_and_a_set_of_them_alone_is_none() {
        assert!(set(&[json!({"kty": "new"}), json!(7), ed25519("a")]).is_some());
        assert!(set(&[]).is_some_and(|none| none.find(Some("a"), Algorithm::EdDSA).is_none()), "all are withdrawn");
        for bad in ["", "x", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [{"kty": "oct", "k": "AA"}]}"#] {
            assert!(KeySet::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
