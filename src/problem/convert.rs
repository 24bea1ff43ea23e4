//! Every conversion of another part's error into a [`Problem`]. None of them logs: the error stays the problem's cause,
//! and the part that answers the client logs it once.

use std::time::Duration;

use super::{Code, Problem};
use crate::auth::issuers::IssuerError;
use crate::auth::password::PasswordError;
use crate::auth::token::TokenError;
use crate::domain::Broken;
use crate::store::StoreError;
use crate::store::sign_ins::Ended;
use crate::store::writer::{Full, Refusal};

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        Self::invalid(broken.field, broken.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable().because(error),
            StoreError::Failed(_) | StoreError::SequenceBehind(_) => Self::internal().because(error),
            StoreError::Impossible(_) => Self::impossible().because(error),
        }
    }
}

impl From<Ended> for Problem {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::SignedOut => {
                Self::new(Code::TokenRevoked, "This sign-in has ended. Sign in again at POST /api/auth.")
            }
            Ended::NoChatter => Self::account_deleted(),
            Ended::Void => Self::new(
                Code::TokenRevoked,
                "The chatter has ended their tokens, and this one is older or has no iat. Get a new one with iat.",
            ),
            Ended::OtherEpoch => Self::new(
                Code::TokenRevoked,
                "The database was set back after this token was issued, or the token has no iat. Send a newer token.",
            ),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoRoom => Self::not_found("chatroom"),
            Refusal::Closed => Self::new(
                Code::ReceiverDeleted,
                "The other person has deleted their account; the history stays readable.",
            ),
            Refusal::ClientIdConflict => Self::new(
                Code::ClientIdConflict,
                "You have used this client_id for another content or room; choose a new one for a new chat.",
            ),
            Refusal::NoChat => Self::not_found("chat"),
            Refusal::NotSender => Self::new(Code::NotYours, "Only the sender of a chat can edit or delete it."),
            Refusal::Unavailable => Self::unavailable(),
            Refusal::Impossible => Self::impossible(),
            Refusal::Failed => Self::internal(),
        }
    }
}

impl From<Full> for Problem {
    fn from(_: Full) -> Self {
        Self::busy()
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::new(Code::TokenExpired, "Sign in again at POST /api/auth."),
            TokenError::Invalid => Self::new(Code::TokenInvalid, "Send a token from POST /api/auth."),
        }
    }
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::Invalid => {
                Self::new(Code::TokenInvalid, "Send a token that the identity provider has issued for this server.")
            }
            IssuerError::Expired => Self::new(Code::TokenExpired, "Get a new token from the identity provider."),
            IssuerError::KeysAway => Self::new(
                Code::Unavailable,
                "The keys of the token's issuer cannot be fetched now. Try again, with the same token.",
            )
            .retry_after(Duration::from_secs(10)),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => {
                Self::new(Code::Busy, "Too many people are signing in right now. Try again in a moment.")
            }
            PasswordError::Hash(_) | PasswordError::Interrupted => Self::internal().because(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn the_error_of_the_database_stays_the_cause_and_is_not_sent() {
        let problem = Problem::from(StoreError::Unavailable(None));
        assert_eq!(problem.source().map(ToString::to_string).as_deref(), Some("the database does not answer"));
        assert!(!serde_json::to_string(&problem).unwrap().contains("cause"));
        assert!(Problem::from(Refusal::NoChat).source().is_none());
        assert!(problem.without_cause().source().is_none());
    }
}
