//! Sign-ins: opening, refreshing and ending them. Clients know a sign-in as a session.

use std::time::Duration;

use super::Service;
use crate::auth::refresh::{RefreshToken, RefreshTokens};
use crate::domain::clock::Micros;
use crate::domain::{ChatterId, Grant, SignInId};
use crate::problem::{Code, Problem};
use crate::store::refresh::{Issue, NewSignIn};
use crate::store::sign_ins::Ended;

/// For how long a refresh token that was replaced gives the same answer again, for a client that lost the first one.
const SAME_ANSWER: Duration = Duration::from_secs(15);
/// How often a refresh reads the newest token again when another request has replaced it meanwhile.
const TRIES_MAX: usize = 3;
/// Ids of sign-ins are drawn from here: above all that a database counted in an earlier release, and far enough below
/// 2^53 that an earlier release, which goes on counting from the largest one on SQLite, stays below it too.
const IDS: std::ops::Range<i64> = 1 << 32..1 << 52;

/// A sign-in to which tokens can be issued.
pub struct Session {
    /// Whose it is.
    pub chatter: ChatterId,
    /// The `sid` of its tokens.
    pub sign_in: SignInId,
    /// When its token is issued.
    pub token_time: Micros,
    /// Its newest refresh token.
    pub refresh_token: String,
}

/// The result of a refresh.
pub enum Refreshed {
    /// The session goes on.
    Next(Session),
    /// The token was used before: the session of this chatter has ended.
    Replayed(ChatterId),
}

/// A password that was verified.
pub struct Verified {
    /// The account that it opens.
    pub chatter: ChatterId,
    /// The stored hash with which it was verified.
    pub hash: String,
}

/// The device that asks for tokens.
#[derive(Clone)]
pub struct Asking {
    /// As the client named itself; a refresh keeps the name.
    pub device_name: Option<String>,
    /// The network that the request came from.
    pub address_class: String,
    /// From now until the sign-in ends, unless it is refreshed.
    pub ttl: Duration,
}

impl Service {
    /// Opens a sign-in, if the verified password still stands. The oldest ones above the limit end for it.
    pub async fn open_sign_in(
        &self,
        tokens: &RefreshTokens,
        verified: Verified,
        asking: Asking,
        per_chatter_max: u32,
    ) -> Result<Option<Session>, Problem> {
        let (chatter, id) = (verified.chatter, SignInId::new(rand::random_range(IDS)));
        let refresh = tokens.first(id);
        let Asking { device_name, .. } = asking.clone();
        let issue = issue(&refresh, asking);
        let token_time = issue.token_time;
        let verified_hash = verified.hash;
        let new = NewSignIn { id, chatter, verified_hash, issue, device_name, per_chatter_max };
        let Some(ended) = self.store.open_sign_in(new).await? else { return Ok(None) };
        if !ended.is_empty() {
            self.broadcaster.end_these_sign_ins(chatter, &ended);
        }
        Ok(Some(Session { chatter, sign_in: id, token_time, refresh_token: refresh.text() }))
    }

    /// Replaces a refresh token. The one before the newest gives the newest again for some seconds; any older one was
    /// stolen or kept by mistake, and ends the sign-in.
    pub async fn refresh(
        &self,
        tokens: &RefreshTokens,
        given: &RefreshToken,
        asking: &Asking,
    ) -> Result<Refreshed, Problem> {
        let sign_in = given.sign_in_id();
        for _ in 0..TRIES_MAX {
            let Some(newest) = self.store.newest_refresh(sign_in).await? else {
                return Err(if tokens.is_ours(given) { Ended::SignedOut.into() } else { not_a_refresh_token() });
            };
            let chatter = newest.chatter;
            let session = |token_time, token: &RefreshToken| {
                Refreshed::Next(Session { chatter, sign_in, token_time, refresh_token: token.text() })
            };
            if given.hash() == newest.hash {
                if newest.expired {
                    return Err(Problem::new(Code::TokenExpired, "This session has expired. Sign in again."));
                }
                let next = tokens.next(given);
                let issue = issue(&next, asking.clone());
                if self.store.rotate_refresh(sign_in, &newest.hash, &issue).await? {
                    return Ok(session(issue.token_time, &next));
                }
            } else if let Some(next) = tokens.successor(given, &newest.hash).filter(|_| newest.age <= SAME_ANSWER) {
                return Ok(session(newest.token_time, &next));
            } else if tokens.is_ours(given) {
                self.end_sign_in(chatter, sign_in).await?;
                return Ok(Refreshed::Replayed(chatter));
            } else {
                return Err(not_a_refresh_token());
            }
        }
        Err(Problem::unavailable())
    }

    /// Ends one sign-in of the chatter and closes its sockets; returns whether there was one.
    pub async fn end_sign_in(&self, chatter: ChatterId, sign_in: SignInId) -> Result<bool, Problem> {
        let ended = self.store.end_sign_in(chatter, sign_in).await?;
        if ended {
            self.broadcaster.end_these_sign_ins(chatter, &[sign_in]);
        }
        Ok(ended)
    }

    /// Ends the sign-in of a token, or, where it names none, the chatter's tokens without a sign-in up to now; closes their
    /// sockets.
    pub async fn sign_out(&self, chatter: ChatterId, own: Grant) -> Result<(), Problem> {
        if let Some(before) = own.ends_before(Micros::now()) {
            self.store.end_tokens_before(chatter, before).await?;
            self.broadcaster.end_tokens_before(chatter, before);
        }
        if let Some(id) = own.sign_in_id() {
            self.end_sign_in(chatter, id).await?;
        }
        Ok(())
    }

    /// Ends all tokens of the chatter but this one, and closes their sockets. Of those without a sign-in the ones stay that
    /// are no older than this one.
    pub async fn end_other_sign_ins(&self, chatter: ChatterId, keep: Grant) -> Result<(), Problem> {
        self.store.end_other_sign_ins(chatter, keep).await?;
        self.broadcaster.end_other_tokens(chatter, keep);
        Ok(())
    }
}

/// The refresh token was used before: 401.
#[must_use]
pub fn replayed() -> Problem {
    Problem::new(Code::TokenRevoked, "This refresh token was used before, so its session has ended. Sign in again.")
}

/// The text is no refresh token of this server: 401.
#[must_use]
pub fn not_a_refresh_token() -> Problem {
    Problem::new(Code::TokenInvalid, "Send the newest refresh_token of POST /api/auth or POST /api/auth/refresh.")
}

fn issue(token: &RefreshToken, asking: Asking) -> Issue {
    let Asking { address_class, ttl, .. } = asking;
    Issue { refresh_hash: token.hash(), token_time: Micros::now(), ttl, address_class }
}
