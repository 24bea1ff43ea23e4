//! Refusals as HTTP answers: RFC 9457 `application/problem+json`, with the headers that belong to a status.

use std::error::Error;
use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};

use crate::auth::password::PasswordError;
use crate::auth::token::TokenError;
use crate::domain::Broken;
use crate::problem::{Code, Problem};
use crate::store::StoreError;
use crate::store::sign_ins::Ended;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        match self.code.status() {
            401 => drop(response.insert_header((header::WWW_AUTHENTICATE, "Bearer"))),
            426 => drop(
                response.insert_header((header::UPGRADE, "websocket")).insert_header(("sec-websocket-version", "13")),
            ),
            // The rest of a body that was refused is not read, so the connection cannot go on.
            408 | 413 => drop(response.force_close()),
            _ => {}
        }
        response.body(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        Self::invalid(broken.field, format!("It {}.", broken.rule))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(source) => {
                tracing::warn!(error = source.as_ref().map(|e| e as &dyn Error), "the database does not answer");
                Self::unavailable()
            }
            StoreError::Failed(source) => {
                tracing::error!(error = &source as &dyn Error, "the database refused");
                Self::new(Code::Internal, "The server failed; its operator can see why in the log.")
            }
        }
    }
}

impl From<Ended> for Problem {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::SignedOut => {
                Self::new(Code::TokenRevoked, "This sign-in has ended. Sign in again at POST /api/auth.")
            }
            Ended::NoChatter => Self::account_gone(),
        }
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

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        if matches!(error, PasswordError::Busy) {
            return Self::new(Code::Busy, "Too many people are signing in right now. Try again in a moment.");
        }
        tracing::error!(error = &error as &dyn Error, "a password could not be hashed");
        Self::new(Code::Internal, "The server failed; its operator can see why in the log.")
    }
}
