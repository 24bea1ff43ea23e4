//! What an account may be called, and which passwords and push tokens it may have.

use super::clock::Micros;
use super::unicode::{is_blank, is_deceptive};
use super::{Broken, ChatterId};

/// How the usernames of deleted accounts begin; sign-up refuses such a name.
const RESERVED_PREFIX: &str = "deleted-";

/// The most characters of a text that a username is to be like: a prefix and a suffix fit beside them.
const LIKE_MAX: usize = 120;
/// The longest nickname.
const NICKNAME_CHARS_MAX: usize = 100;

/// An account. `service::accounts` decides which part of it a viewer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chatter {
    /// The `sub` of the chatter's tokens (RFC 7519).
    pub id: ChatterId,
    /// As the owner wrote it; `deleted-N` if the account is deleted, empty if its row is gone too.
    pub username: String,
    /// The name shown to others, 1 to 100 characters; `(deleted)` if the account is deleted.
    pub nickname: String,
    /// Whether the owner has deleted the account.
    pub deleted: bool,
    /// When the last socket closed; none before the first one did.
    pub last_seen: Option<Micros>,
    /// Whether those who share a room may see `last_seen`, and whether the chatter is online.
    pub show_last_seen: bool,
    /// Whether the other person of a room may see what was delivered and read.
    pub show_receipts: bool,
}

impl Chatter {
    /// An account as it begins: never seen, and open about it.
    #[must_use]
    pub fn new(id: ChatterId, username: String, nickname: String) -> Self {
        Self { id, username, nickname, deleted: false, last_seen: None, show_last_seen: true, show_receipts: true }
    }

    /// Stands in for an account whose row was deleted.
    #[must_use]
    pub fn deleted(id: ChatterId) -> Self {
        Self { deleted: true, show_last_seen: false, ..Self::new(id, String::new(), String::new()) }
    }
}

/// 1 to 150 characters of `[A-Za-z0-9._@+-]`, unique regardless of case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Checks the rules for a new name.
    ///
    /// ```
    /// use hyper_chat::domain::chatter::Username;
    ///
    /// assert!(Username::parse("alice.b@example").is_ok());
    /// assert!(Username::parse("alice b").is_err(), "blanks are not allowed");
    /// ```
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if text.is_empty() || text.len() > 150 {
            return Err(Broken::new("username", "must have 1 to 150 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b)) {
            return Err(Broken::new("username", "may have only letters, digits and . _ @ + -"));
        }
        if text.to_ascii_lowercase().starts_with(RESERVED_PREFIX) {
            return Err(Broken::new("username", "must not begin with deleted-"));
        }
        Ok(Self(text.to_owned()))
    }

    /// A name that keeps the rules and is like this text, which an identity provider gives, and with the suffix one that
    /// no account has yet, most probably. Characters that a name may not have become `_`.
    #[must_use]
    pub fn like(text: &str, suffix: Option<u32>) -> Self {
        let mut name = String::new();
        for c in text.trim().chars().take(LIKE_MAX) {
            match c {
                'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '@' | '+' | '-' => name.push(c),
                _ if name.ends_with('_') => {}
                _ => name.push('_'),
            }
        }
        let is_bare = !name.bytes().any(|b| b.is_ascii_alphanumeric());
        if is_bare || name.to_ascii_lowercase().starts_with(RESERVED_PREFIX) {
            name = if is_bare { "user".to_owned() } else { format!("user-{name}") };
        }
        Self(suffix.map_or(name.clone(), |suffix| format!("{name}-{suffix:08x}")))
    }

    /// Its beginning, which is a valid nickname.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(NICKNAME_CHARS_MAX)]
    }

    /// As the owner wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is compared.
    #[must_use]
    pub fn key(&self) -> String {
        username_key(&self.0)
    }
}

/// The form in which usernames are compared. It takes any text; one that breaks the rules matches no account.
#[must_use]
pub fn username_key(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// The username that the row of a deleted account shows.
#[must_use]
pub fn deleted_username(id: ChatterId) -> String {
    format!("{RESERVED_PREFIX}{id}")
}

/// The nickname that the row of a deleted account shows.
pub const DELETED_NICKNAME: &str = "(deleted)";

/// Checks a nickname: 1 to 100 characters, at least one visible, none that controls the terminal or hides what is there.
pub fn nickname(text: &str) -> Result<&str, Broken> {
    if text.chars().count() > NICKNAME_CHARS_MAX || is_blank(text) {
        return Err(Broken::new("nickname", "must have 1 to 100 characters, at least one that can be seen"));
    }
    if text.chars().any(char::is_control) {
        return Err(Broken::new("nickname", "must not have control characters"));
    }
    if is_deceptive(text) {
        return Err(Broken::new("nickname", "must not have invisible characters, line breaks or marks of direction"));
    }
    Ok(text)
}

/// Checks a password: 8 to 128 characters, kept exactly as given.
pub fn password(text: &str) -> Result<&str, Broken> {
    if !(8..=128).contains(&text.chars().count()) {
        return Err(Broken::new("password", "must have 8 to 128 characters"));
    }
    if text.contains('\0') {
        return Err(Broken::new("password", "must not have a NUL character"));
    }
    Ok(text)
}

/// Checks an FCM registration token; `""` means "none" and removes it.
pub fn fcm_reg_id(text: &str) -> Result<Option<&str>, Broken> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > 4096 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Broken::new("fcm_reg_id", "must be at most 4096 printable ASCII characters without blanks"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_keeps_to_the_permitted_characters() {
        for good in ["a", "Alice", "a.b_c@d+e-f", &"x".repeat(150)] {
            assert!(Username::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "앨리스", "a\0", "а", "deleted-7", "Deleted-x", &"x".repeat(151)] {
            assert!(Username::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn p5_a_name_of_an_identity_provider_becomes_one_that_keeps_the_rules() {
        for (text, like) in [
            ("alice@example.com", "alice@example.com"),
            (" Ann B. Cé ", "Ann_B._C_"),
            ("", "user"),
            ("앨리스", "user"),
            ("Deleted-7", "user-Deleted-7"),
        ] {
            assert_eq!(Username::like(text, None).as_str(), like, "{text}");
        }
        assert_eq!(Username::like("ann", Some(0xab)).as_str(), "ann-000000ab");
        for text in ["", "deleted-", &"x".repeat(1_000), &"é".repeat(1_000)] {
            let name = Username::like(text, Some(u32::MAX));
            assert_eq!(Username::parse(name.as_str()).as_ref(), Ok(&name), "{text}");
            assert!(nickname(name.short()).is_ok());
        }
    }

    #[test]
    fn usernames_are_compared_without_case() {
        assert_eq!(Username::parse("Alice").map(|n| n.key()), Ok("alice".to_owned()));
    }

    #[test]
    fn c2_a_nickname_shows_what_it_is() {
        for good in ["Ann", "Ann  B.", "앨리스", "👨\u{200d}👩\u{200d}👧", "می\u{200c}خواهم", "❤\u{fe0f}"]
        {
            assert_eq!(nickname(good), Ok(good));
        }
        for bad in ["\u{3164}", "\u{2800}", "a\u{202e}b", "a\u{2066}b", "a\u{2028}b", "a\u{ad}b", "a\u{200d}", "a\nb"] {
            assert!(nickname(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_counted_in_characters() {
        assert!(password("비밀번호여덟자!").is_ok());
        assert!(password("1234567").is_err());
        assert!(password(&"🔑".repeat(128)).is_ok());
        assert!(password(&"x".repeat(129)).is_err());
        assert!(password("1234567\0").is_err());
    }

    #[test]
    fn an_empty_fcm_reg_id_means_none() {
        assert_eq!(fcm_reg_id(""), Ok(None));
        assert!(fcm_reg_id(" ").is_err());
        assert!(fcm_reg_id(&"x".repeat(5000)).is_err());
    }
}
