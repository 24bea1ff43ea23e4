//! Keys of an identity provider, as it publishes them and as it signs with them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

use crate::support::fcm::PRIVATE_KEY;

/// Made for these tests; opens nothing.
const ES256_KEY: &str = include_str!("es256_test_key.pem");
/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, 7).
const ED25519_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key pair.
pub struct TestKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub private: EncodingKey,
    /// The public key as a member of a set.
    pub jwk: Value,
}

impl TestKey {
    fn new(kid: &str, algorithm: Algorithm, private: EncodingKey) -> Self {
        let jwk = Jwk::from_encoding_key(&private, algorithm).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = kid.into();
        Self { kid: kid.to_owned(), algorithm, private, jwk }
    }

    pub fn rs256(kid: &str) -> Self {
        let private = EncodingKey::from_rsa_pem(PRIVATE_KEY.as_bytes()).expect("an RSA key");
        Self::new(kid, Algorithm::RS256, private)
    }

    pub fn es256(kid: &str) -> Self {
        Self::new(kid, Algorithm::ES256, EncodingKey::from_ec_pem(ES256_KEY.as_bytes()).expect("a key on P-256"))
    }

    /// A key that is drawn at random.
    pub fn ed25519(kid: &str) -> Self {
        let private = [&ED25519_PREFIX[..], &rand::random::<[u8; 32]>()[..]].concat();
        Self::new(kid, Algorithm::EdDSA, EncodingKey::from_ed_der(&private))
    }

    /// The bytes of the published key in the forms that a careless verifier takes for an HMAC secret.
    pub fn public_forms(&self) -> Vec<Vec<u8>> {
        let text = |name: &str| self.jwk[name].as_str().unwrap_or_default().to_owned();
        let names = ["n", "x"].map(text).into_iter().filter(|text| !text.is_empty());
        let mut forms: Vec<Vec<u8>> = vec![self.jwk.to_string().into_bytes()];
        forms.extend(names.flat_map(|text| [URL_SAFE_NO_PAD.decode(&text).expect("base64"), text.into_bytes()]));
        forms
    }
}
