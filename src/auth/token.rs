//! Tokens: JWTs signed with HS256 and nothing else. A team's own backend may issue them too, then without `sid`.
//!
//! A token says nothing about whether the account or the sign-in still exists; the callers check that in the database.
//! Nothing that a token names (`kid`, `jku`, `x5u` …) is ever fetched.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::refresh::RefreshTokens;
use crate::config::SigningSecrets;
use crate::domain::clock::Micros;
use crate::domain::{ChatterId, Grant, SignInId};

/// A longer token is refused before it is decoded; ours have some 300 bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// How far ahead of ours the clock of the issuer may be.
const ISSUED_AHEAD_S_MAX: i64 = 60;
/// Ids are below 2^53.
const ID_MAX: i64 = (1 << 53) - 1;

/// Why a token is not accepted. Clients need no further details, and attackers get none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours: its form, signature or claims are wrong.
    #[error("the token is not valid")]
    Invalid,
    /// A token of ours after its `exp`.
    #[error("the token has expired")]
    Expired,
}

/// The verified claims of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The account that the token is for (`sub`).
    pub chatter_id: ChatterId,
    /// The sign-in that the token was issued for (`sid`), or in a token of a team's own backend the time of issue (`iat`).
    pub grant: Grant,
    /// From this time on the token is refused (`exp`, cut to whole seconds).
    pub expires_at: Micros,
}

/// Issues and verifies tokens; one for the instance, shared.
pub struct Tokens {
    encoding: EncodingKey,
    /// The key that signs comes first.
    decoding: Vec<DecodingKey>,
    validation: Validation,
    issuer: String,
    audience: String,
    ttl: Duration,
    /// The refresh tokens beside them.
    pub refresh: RefreshTokens,
}

/// The payload of an issued token, with the names of RFC 7519; times in seconds.
#[derive(Serialize)]
struct Issued<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
}

/// The payload of a presented token, after the checks of the validation. Times may have a fraction.
#[derive(Deserialize)]
struct Presented {
    /// Read only to refuse a list of issuers.
    #[serde(rename = "iss")]
    _iss: String,
    sub: String,
    sid: Option<String>,
    iat: Option<f64>,
    exp: f64,
}

/// The payload of a token that lets a backend create accounts; the checks of the validation are on it, too.
#[derive(Deserialize)]
struct Scoped {
    scope: String,
    exp: f64,
}

/// The scope of a token with which a team's own backend creates accounts. The server issues none of them.
const SIGN_UP_SCOPE: &str = "sign_up";

impl Tokens {
    /// Tokens signed with the current secret and verified with all, with this issuer and audience.
    #[must_use]
    pub fn new(secrets: &SigningSecrets, issuer: &str, audience: &str, ttl: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        Self {
            encoding: EncodingKey::from_secret(secrets.current.expose_secret().as_bytes()),
            decoding: secrets.all().map(|one| DecodingKey::from_secret(one.expose_secret().as_bytes())).collect(),
            refresh: RefreshTokens::new(secrets),
            validation,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            ttl,
        }
    }

    /// A token for a sign-in, as issued at this time, and its expiry. The same arguments give the same token.
    pub fn issue(
        &self,
        chatter_id: ChatterId,
        sign_in_id: SignInId,
        at: Micros,
    ) -> Result<(String, Micros), TokenError> {
        let now = at.0 / 1_000_000;
        let exp = now.saturating_add(i64::try_from(self.ttl.as_secs()).unwrap_or(ID_MAX)).min(ID_MAX);
        let payload = Issued {
            iss: &self.issuer,
            aud: &self.audience,
            sub: chatter_id.to_string(),
            sid: sign_in_id.to_string(),
            iat: now,
            exp,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &payload, &self.encoding);
        Ok((token.map_err(|_| TokenError::Invalid)?, expires_at(exp)))
    }

    /// Whether a token lets its bearer create accounts: it has the scope `sign_up`, and has not expired. It needs no
    /// `sub`, since it is for no account.
    #[must_use]
    pub fn may_sign_up(&self, token: &str) -> bool {
        let mut validation = self.validation.clone();
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        self.decode::<Scoped>(token, &validation)
            .is_ok_and(|data| data.claims.scope == SIGN_UP_SCOPE && data.claims.exp > now_s() as f64)
    }

    /// The claims of a token, if it is one of ours and has not expired.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let data = self.decode::<Presented>(token, &self.validation)?;
        let ours = data.header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if !ours || data.header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        claims(&data.claims, now_s())
    }

    /// Checks the signature with each of the secrets, and the payload with the validation.
    fn decode<T: DeserializeOwned>(&self, token: &str, validation: &Validation) -> Result<TokenData<T>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let mut decoded = Err(ErrorKind::InvalidSignature.into());
        for key in &self.decoding {
            decoded = jsonwebtoken::decode::<T>(token, key, validation);
            // Any other result says that the signature is this key's, or that no key will do.
            if !decoded.as_ref().is_err_and(|error| *error.kind() == ErrorKind::InvalidSignature) {
                break;
            }
        }
        decoded.map_err(reason)
    }
}

fn claims(presented: &Presented, now_s: i64) -> Result<Claims, TokenError> {
    // Truncated to whole seconds; the bound keeps microseconds within 64 bits.
    let exp = presented.exp.min(1e12) as i64;
    // From `exp` on a token is not accepted; the library would accept it for one more second.
    if exp <= now_s {
        return Err(TokenError::Expired);
    }
    if presented.iat.is_some_and(|iat| iat > (now_s + ISSUED_AHEAD_S_MAX) as f64) {
        return Err(TokenError::Invalid);
    }
    let sign_in_id = presented.sid.as_deref().map(id).transpose()?.map(SignInId::new);
    let issued_at = presented.iat.map(|iat| Micros((iat * 1e6) as i64));
    let grant = sign_in_id.map_or(Grant::Issued(issued_at), Grant::SignIn);
    let chatter_id = ChatterId::new(id(&presented.sub)?);
    Ok(Claims { chatter_id, grant, expires_at: expires_at(exp) })
}

/// A decimal id in the form that we issue: no sign, no leading zero, 1 to 2^53 - 1.
fn id(text: &str) -> Result<i64, TokenError> {
    let plain = text.starts_with(|c: char| ('1'..='9').contains(&c)) && text.bytes().all(|b| b.is_ascii_digit());
    let id: i64 = text.parse().map_err(|_| TokenError::Invalid)?;
    if plain && id <= ID_MAX { Ok(id) } else { Err(TokenError::Invalid) }
}

fn reason(error: jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        _ => TokenError::Invalid,
    }
}

fn now_s() -> i64 {
    Micros::now().0 / 1_000_000
}

fn expires_at(exp_s: i64) -> Micros {
    Micros(exp_s.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use secrecy::SecretString;

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn tokens() -> Tokens {
        Tokens::new(
            &SigningSecrets::from(SecretString::from(SECRET)),
            "hyper-chat",
            "hyper-chat",
            Duration::from_secs(60),
        )
    }

    #[test]
    fn e19_only_a_token_of_the_scope_lets_its_bearer_sign_up() {
        let token = |payload: &Value| {
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), payload, &key).unwrap()
        };
        let good = json!({"iss": "hyper-chat", "aud": "hyper-chat", "exp": now_s() + 60, "scope": "sign_up"});
        assert!(tokens().may_sign_up(&token(&good)));
        assert!(tokens().verify(&token(&good)).is_err(), "it opens no account");
        assert!(!tokens().may_sign_up(&token(&payload())), "nor does the token of an account open sign-up");
        let (issued, _) = tokens().issue(ChatterId::new(7), SignInId::new(1), Micros::now()).unwrap();
        assert!(!tokens().may_sign_up(&issued) && !tokens().may_sign_up("x"));
        for (claim, value) in [("exp", json!(now_s())), ("scope", json!("other")), ("iss", json!("else"))] {
            let mut bad = good.clone();
            bad[claim] = value;
            assert!(!tokens().may_sign_up(&token(&bad)), "{claim}");
        }
    }

    fn payload() -> Value {
        json!({"iss": "hyper-chat", "aud": "hyper-chat", "sub": "7", "exp": now_s() + 60})
    }

    fn with(key: &str, value: Value) -> String {
        let mut payload = payload();
        payload[key] = value;
        payload.to_string()
    }

    fn without(key: &str) -> String {
        let mut payload = payload();
        payload.as_object_mut().unwrap().remove(key);
        payload.to_string()
    }

    /// Signed with our secret, whatever header and payload say.
    fn signed(header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    fn minted(payload: &str) -> Result<Claims, TokenError> {
        tokens().verify(&signed(r#"{"alg":"HS256","typ":"JWT"}"#, payload))
    }

    #[test]
    fn a_token_holds_the_chatter_and_the_sign_in_that_it_was_issued_for() {
        let (token, expires_at) = tokens().issue(ChatterId::new(7), SignInId::new(9), Micros::now()).unwrap();
        let claims = tokens().verify(&token).unwrap();
        assert_eq!(claims, Claims { chatter_id: 7.into(), grant: Grant::SignIn(9.into()), expires_at });
        assert!(expires_at > Micros::now());
    }

    #[test]
    fn a_token_of_a_teams_own_backend_has_no_sign_in() {
        let claims = minted(&payload().to_string()).unwrap();
        assert_eq!((claims.chatter_id, claims.grant), (ChatterId::new(7), Grant::Issued(None)));
        let now = now_s();
        let issued = minted(&with("iat", json!(now))).unwrap().grant;
        assert_eq!(issued, Grant::Issued(Some(Micros(now * 1_000_000))));
        assert!(minted(&with("aud", json!(["other", "hyper-chat"]))).is_ok());
        assert!(tokens().verify(&signed(r#"{"alg":"HS256"}"#, &payload().to_string())).is_ok());
    }

    #[test]
    fn only_hs256_is_accepted() {
        for alg in ["none", "NONE", "None", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256", ""] {
            let token = signed(&json!({"alg": alg, "typ": "JWT"}).to_string(), &payload().to_string());
            assert_eq!(tokens().verify(&token), Err(TokenError::Invalid), "{alg}");
            let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
            assert_eq!(tokens().verify(&unsigned), Err(TokenError::Invalid), "{alg} unsigned");
        }
        let token = signed("{}", &payload().to_string());
        assert_eq!(tokens().verify(&token), Err(TokenError::Invalid), "no alg");
        let (token, _) = tokens().issue(ChatterId::new(7), SignInId::new(9), Micros::now()).unwrap();
        let (message, _) = token.rsplit_once('.').unwrap();
        assert_eq!(tokens().verify(&format!("{message}.")), Err(TokenError::Invalid), "empty signature");
        assert_eq!(tokens().verify(message), Err(TokenError::Invalid), "no signature");
    }

    #[test]
    fn a_token_with_one_bit_flipped_is_invalid() {
        let (token, _) = tokens().issue(ChatterId::new(7), SignInId::new(9), Micros::now()).unwrap();
        for at in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let flipped = String::from_utf8(bytes).unwrap();
                assert_eq!(tokens().verify(&flipped), Err(TokenError::Invalid), "byte {at}, bit {bit}");
            }
            assert_eq!(tokens().verify(&token[..at]), Err(TokenError::Invalid), "cut to {at} bytes");
        }
    }

    #[test]
    fn tokens_signed_with_another_key_and_oversized_tokens_are_invalid() {
        let other = Tokens::new(
            &SigningSecrets::from(SecretString::from("x".repeat(32))),
            "hyper-chat",
            "hyper-chat",
            Duration::from_secs(60),
        );
        assert_eq!(
            tokens().verify(&other.issue(ChatterId::new(7), SignInId::new(9), Micros::now()).unwrap().0),
            Err(TokenError::Invalid)
        );
        for monster in ["x".repeat(1 << 20), ".".repeat(10_000), ".".repeat(4_000), "..".to_owned(), "é.é.é".to_owned()]
        {
            assert_eq!(tokens().verify(&monster), Err(TokenError::Invalid));
        }
        let long = with("note", json!("x".repeat(4096)));
        assert_eq!(minted(&long), Err(TokenError::Invalid), "too long, though signed");
    }

    #[test]
    fn times_are_held_to_the_second() {
        let now = now_s();
        for past in [json!(now), json!(now - 1), json!(0), json!(now as f64 - 0.5)] {
            assert_eq!(minted(&with("exp", past.clone())), Err(TokenError::Expired), "exp {past}");
        }
        for wrong in [json!("9999999999"), json!(null), json!(-1), json!([now + 60]), json!(true)] {
            assert_eq!(minted(&with("exp", wrong.clone())), Err(TokenError::Invalid), "exp {wrong}");
        }
        let endless = without("exp").replacen('{', r#"{"exp":1e400,"#, 1);
        assert_eq!(minted(&endless), Err(TokenError::Invalid), "{endless}");
        assert_eq!(minted(&with("nbf", json!(now + 30))), Err(TokenError::Invalid));
        assert_eq!(minted(&with("nbf", json!("soon"))), Err(TokenError::Invalid));
        assert!(minted(&with("nbf", json!(now - 30))).is_ok());
        assert_eq!(minted(&with("iat", json!(now + 120))), Err(TokenError::Invalid));
        assert_eq!(minted(&with("iat", json!("now"))), Err(TokenError::Invalid));
        assert!(minted(&with("iat", json!(now + 30))).is_ok(), "a clock that is a little ahead");
        assert!(minted(&with("exp", json!(1e18))).is_ok(), "far away, yet a time");
    }

    #[test]
    fn every_claim_must_be_present_and_ours() {
        for key in ["exp", "iss", "aud", "sub"] {
            assert_eq!(minted(&without(key)), Err(TokenError::Invalid), "without {key}");
        }
        for key in ["iss", "aud"] {
            for wrong in [json!("other"), json!(""), json!(7), json!(null), json!([]), json!(["other"])] {
                assert_eq!(minted(&with(key, wrong.clone())), Err(TokenError::Invalid), "{key} {wrong}");
            }
        }
        assert_eq!(minted(&with("iss", json!(["hyper-chat"]))), Err(TokenError::Invalid));
        let twice = payload().to_string().replacen('{', r#"{"sub":"8","#, 1);
        assert_eq!(minted(&twice), Err(TokenError::Invalid), "a claim given twice");
        for typ in ["at+jwt", "service", ""] {
            let token = signed(&json!({"alg": "HS256", "typ": typ}).to_string(), &payload().to_string());
            assert_eq!(tokens().verify(&token), Err(TokenError::Invalid), "typ {typ}");
        }
    }

    #[test]
    fn ids_are_plain_decimals_below_two_to_the_53() {
        for key in ["sub", "sid"] {
            for wrong in
                ["", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "9007199254740992", "99999999999999999999", "٣"]
            {
                assert_eq!(minted(&with(key, json!(wrong))), Err(TokenError::Invalid), "{key} {wrong:?}");
            }
            assert_eq!(minted(&with(key, json!(7))), Err(TokenError::Invalid), "{key} as a number");
            assert!(minted(&with(key, json!("9007199254740991"))).is_ok(), "{key}");
        }
    }

    /// Nothing here can fetch a key. `crit` names extensions that a verifier has to understand; this one understands
    /// none.
    #[test]
    fn header_fields_that_name_keys_change_nothing_and_crit_is_refused() {
        let claims = payload().to_string();
        let elsewhere = json!({"alg": "HS256", "kid": "../../etc/passwd", "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"});
        assert!(tokens().verify(&signed(&elsewhere.to_string(), &claims)).is_ok());
        let jwk = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode("x".repeat(32))}});
        let theirs = signed(&jwk.to_string(), &claims);
        let (message, _) = theirs.rsplit_once('.').unwrap();
        let key = EncodingKey::from_secret("x".repeat(32).as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        assert_eq!(tokens().verify(&format!("{message}.{signature}")), Err(TokenError::Invalid), "their own key");
        for crit in [json!(["exp"]), json!([]), json!("exp")] {
            let token = signed(&json!({"alg": "HS256", "crit": crit}).to_string(), &claims);
            assert_eq!(tokens().verify(&token), Err(TokenError::Invalid), "crit {crit}");
        }
    }
}
