//! Refresh tokens: opaque to clients, each derived from its predecessor under the server's secret.
//!
//! A token is the sign-in, a generation, 16 random bytes that all generations of the sign-in share, and an HMAC-SHA256
//! over these. The database keeps the hash of the newest one and decides by it; since the next token follows from the
//! one that a client presents, two instances derive the same, and neither has to keep its text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::SigningSecrets;
use crate::domain::SignInId;

/// Sign-in, generation, random bytes.
const SIGNED: usize = 8 + 4 + 16;
const BYTES: usize = SIGNED + 32;
/// The block of SHA-256, which an HMAC takes as its key without hashing it.
const BLOCK: usize = 64;
/// Separates these keys from everything else that the secret signs.
const PURPOSE: &[u8] = b"hyper-chat refresh token\0";

/// Derives and verifies refresh tokens.
pub struct RefreshTokens {
    current: Hmac<Sha256>,
    /// These only verify, while the secret is being replaced.
    old: Vec<Hmac<Sha256>>,
}

/// One refresh token. It has no `Debug`, since it lets its holder in.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; BYTES]);

impl RefreshTokens {
    /// Signs with the current secret and verifies with all.
    #[must_use]
    pub fn new(secrets: &SigningSecrets) -> Self {
        Self { current: key(&secrets.current), old: secrets.old.iter().map(key).collect() }
    }

    /// The first token of a sign-in.
    #[must_use]
    pub fn first(&self, sign_in: SignInId) -> RefreshToken {
        signed(&self.current, sign_in, 0, rand::random())
    }

    /// The token that replaces this one.
    #[must_use]
    pub fn next(&self, token: &RefreshToken) -> RefreshToken {
        next(&self.current, token)
    }

    /// The token that replaced this one, if its hash is this: whichever secret it was derived with.
    #[must_use]
    pub fn successor(&self, token: &RefreshToken, hash: &[u8]) -> Option<RefreshToken> {
        self.keys().map(|key| next(key, token)).find(|next| next.hash() == hash)
    }

    /// Whether a server with one of these secrets derived this token.
    #[must_use]
    pub fn is_ours(&self, token: &RefreshToken) -> bool {
        let (signed, mac) = token.0.split_at(SIGNED);
        self.keys().any(|key| key.clone().chain_update(signed).verify_slice(mac).is_ok())
    }

    fn keys(&self) -> impl Iterator<Item = &Hmac<Sha256>> {
        std::iter::once(&self.current).chain(&self.old)
    }
}

impl RefreshToken {
    /// Reads a token; `None` for a text that is none of ours. Nothing is verified yet.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// As clients get it.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the database keeps of it: its SHA-256.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    /// The sign-in that it refreshes, by its own account.
    #[must_use]
    pub fn sign_in_id(&self) -> SignInId {
        SignInId::new(i64::from_be_bytes(self.part(0)))
    }

    /// `LENGTH` bytes from this place on. Every part lies within the token.
    fn part<const LENGTH: usize>(&self, from: usize) -> [u8; LENGTH] {
        std::array::from_fn(|at| self.0.get(from + at).copied().unwrap_or_default())
    }
}

fn next(key: &Hmac<Sha256>, token: &RefreshToken) -> RefreshToken {
    let generation = u32::from_be_bytes(token.part(8)).wrapping_add(1);
    signed(key, token.sign_in_id(), generation, token.part(12))
}

fn signed(key: &Hmac<Sha256>, sign_in: SignInId, generation: u32, random: [u8; 16]) -> RefreshToken {
    let mut bytes = [0; BYTES];
    let (head, mac) = bytes.split_at_mut(SIGNED);
    head[..8].copy_from_slice(&sign_in.get().to_be_bytes());
    head[8..12].copy_from_slice(&generation.to_be_bytes());
    head[12..].copy_from_slice(&random);
    mac.copy_from_slice(&key.clone().chain_update(&*head).finalize().into_bytes());
    RefreshToken(bytes)
}

fn key(secret: &SecretString) -> Hmac<Sha256> {
    let digest = Sha256::new().chain_update(PURPOSE).chain_update(secret.expose_secret()).finalize();
    let mut block = [0; BLOCK];
    block[..digest.len()].copy_from_slice(&digest);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(current: &str, old: &[&str]) -> RefreshTokens {
        let old = old.iter().map(|secret| SecretString::from(*secret)).collect();
        RefreshTokens::new(&SigningSecrets { current: SecretString::from(current), old })
    }

    #[test]
    fn a_token_survives_its_text_and_each_sign_in_begins_at_random() {
        let tokens = tokens("one secret", &[]);
        let id = SignInId::new((1 << 52) - 1);
        let first = tokens.first(id);
        let read = RefreshToken::parse(&first.text()).unwrap();
        assert!(read == first && read.sign_in_id() == id && tokens.is_ours(&read));
        assert_eq!(first.text().len(), 80);
        assert!(tokens.first(id) != first);
        for text in ["", "x", "e30.e30.e30", &first.text()[1..], &format!("{}A", first.text())] {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn instances_with_the_same_secret_derive_the_same_next_token() {
        let (one, other) = (tokens("one secret", &[]), tokens("one secret", &[]));
        let first = one.first(SignInId::new(7));
        let second = one.next(&first);
        assert!(other.next(&first) == second && second != first);
        assert!(other.successor(&first, &second.hash()).is_some_and(|next| next == second));
        assert!(other.successor(&second, &second.hash()).is_none());
        assert!(other.next(&second) != second);
    }

    #[test]
    fn a_token_of_an_old_secret_is_ours_while_that_one_is_listed() {
        let (before, after) = (tokens("one secret", &["next secret"]), tokens("next secret", &["one secret"]));
        let first = before.first(SignInId::new(7));
        assert!(after.is_ours(&first) && !tokens("next secret", &[]).is_ours(&first));
        let second = after.next(&first);
        assert!(before.successor(&first, &second.hash()).is_some_and(|next| next == second));
    }

    #[test]
    fn a_token_with_one_bit_flipped_is_not_ours() {
        let tokens = tokens("one secret", &[]);
        let first = tokens.first(SignInId::new(7));
        for at in 0..BYTES {
            let mut flipped = first.clone();
            flipped.0[at] ^= 1;
            assert!(!tokens.is_ours(&flipped) && flipped.hash() != first.hash(), "byte {at}");
        }
    }
}
