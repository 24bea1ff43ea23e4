//! Sign-up and sign-in: an account, and its token.

use std::net::IpAddr;

use actix_web::{HttpRequest, HttpResponse, web};
use secrecy::SecretString;

use super::State;
use super::body::Json;
use super::extract::{address, bearer};
#[cfg(test)]
use super::openapi::{BODY, Refusals, STORE, of};
use crate::auth::password::{PasswordCheck, Requester};
use crate::domain::ChatterId;
use crate::domain::chatter::{Username, fcm_reg_id, nickname, password, username_key};
use crate::domain::device::{address_class, device_name};
use crate::limits::{Device, network};
use crate::problem::{Code, Problem};
use crate::protocol::requests::{SignIn, SignUp};
use crate::protocol::rest::{ChatterBody, SignedIn};
use crate::service::sign_ins::{Asking, Session, Verified};
use crate::store::chatters::NewChatter;
use crate::telemetry::audit::{Event, Facts};

/// How often a request verifies a password whose stored hash changes meanwhile.
pub(super) const VERIFICATIONS_MAX: usize = 3;

/// Sign in
///
/// Opens a session and gives the token that most operations need, with a refresh token for the time after it. An unknown
/// username and a wrong password are refused alike. Above `limits.sessions_per_chatter` the session that was not
/// refreshed for the longest time ends.
#[cfg_attr(
    test,
    utoipa::path(
        post, path = "/api/auth", operation_id = "sign_in", tag = "Accounts", security(()), request_body = SignIn,
        responses(
            (status = 200, description = "Signed in.", body = SignedIn),
            Refusals<{
                BODY | STORE
                    | of(&[Code::Invalid, Code::CredentialsWrong, Code::RateLimited, Code::Busy, Code::TokenRevoked])
            }>
        )
    )
)]
pub(super) async fn sign_in(
    request: HttpRequest,
    state: web::Data<State>,
    Json(body): Json<SignIn>,
) -> Result<HttpResponse, Problem> {
    let from = address(&request, state.rules.proxy_hops);
    let device = device(&request, &state, &body.username).await?;
    let by = check_rate(&state, Event::SignIn, from, &body.username, device)?;
    let device_name = device_name(body.device_name.as_deref().unwrap_or_default())?.map(str::to_owned);
    let asking = asking(&state, from, device_name);
    let session = open(&state, &by, from, &body.username, &SecretString::from(body.password), asking).await?;
    let facts = Facts { session: Some(session.sign_in), ..Facts::of(session.chatter) };
    state.audit.done(Event::SignIn, from, facts);
    state.limits.password_was_right(from, &body.username);
    signed_in(&state, session).await
}

/// What a session is opened or refreshed with.
pub(super) fn asking(state: &State, from: IpAddr, device_name: Option<String>) -> Asking {
    Asking { device_name, address_class: address_class(from), ttl: state.rules.session_ttl }
}

/// The tokens of a session, with its account.
pub(super) async fn signed_in(state: &State, session: Session) -> Result<HttpResponse, Problem> {
    let Session { chatter, sign_in, token_time, refresh_token } = session;
    let (token, expires_at) = state.tokens.issue(chatter, sign_in, token_time)?;
    let chatter = state.service.own_account(chatter).await?;
    Ok(HttpResponse::Ok().json(SignedIn { token, expires_at, refresh_token, chatter }))
}

/// Verifies the password and opens a sign-in. Verifying takes a while: where the stored hash changes meanwhile, the
/// password is verified anew, so that one that was replaced opens nothing.
async fn open(
    state: &State,
    by: &Requester,
    from: IpAddr,
    username: &str,
    given: &SecretString,
    asking: Asking,
) -> Result<Session, Problem> {
    for _ in 0..VERIFICATIONS_MAX {
        // A name that breaks the rules is unknown like any other, and its refusal takes the same time.
        let known = match Username::parse(username) {
            Ok(username) => state.store.credentials(&username.key()).await?,
            Err(_) => None,
        };
        let (chatter, stored) = known.clone().unzip();
        let PasswordCheck { matches, needs_rehash } = state.passwords.verify(by, given.clone(), stored).await?;
        let (true, Some((chatter_id, hash))) = (matches, known) else {
            // Without the name: people type passwords there.
            let facts = Facts { chatter, ..Facts::because(Code::CredentialsWrong.as_str()) };
            state.audit.refused(Event::SignIn, from, facts);
            return Err(Problem::new(Code::CredentialsWrong, "No account has this username and password."));
        };
        let (tokens, max) = (&state.tokens.refresh, state.rules.sessions_per_chatter);
        let verified = Verified { chatter: chatter_id, hash: hash.clone() };
        if let Some(session) = state.service.open_sign_in(tokens, verified, asking.clone(), max).await? {
            if needs_rehash {
                rehash(state, by, chatter_id, &hash, given).await;
            }
            return Ok(session);
        }
    }
    Err(password_is_changing())
}

/// Stores the hash of a password anew, with the configured parameters. If that fails, the next sign-in does it.
async fn rehash(state: &State, by: &Requester, chatter_id: ChatterId, verified_hash: &str, password: &SecretString) {
    let replaced = async {
        let hash = state.passwords.hash(by, password.clone()).await?;
        state.store.rehash(chatter_id, verified_hash, hash).await.map_err(Problem::from)
    };
    if let Err(problem) = replaced.await {
        problem.log_cause();
    }
}

/// The password was replaced again and again while it was verified: 503.
pub(super) fn password_is_changing() -> Problem {
    Problem::new(Code::Busy, "The password is being changed. Try again in a moment.")
}

/// Sign up
///
/// Creates an account; `POST /api/auth` then gives its token. Where `accounts.sign_up` is `closed`, the request needs a
/// token of the scope `sign_up` (see "Your own users"); with one, no rate limit applies. A `fcm_reg_id` that another
/// account has stays there, and the answer has `""`: sign in, and register it with `PUT /api/chatters`.
#[cfg_attr(
    test,
    utoipa::path(
        post, path = "/api/chatters", operation_id = "sign_up", tag = "Accounts", security((), ("bearer" = [])),
        request_body = SignUp,
        responses(
            (status = 201, description = "The new account.", body = ChatterBody),
            Refusals<{
                BODY | STORE
                    | of(&[Code::Invalid, Code::UsernameTaken, Code::RateLimited, Code::Busy, Code::SignUpClosed])
            }>
        )
    )
)]
pub(super) async fn sign_up(
    request: HttpRequest,
    state: web::Data<State>,
    Json(body): Json<SignUp>,
) -> Result<HttpResponse, Problem> {
    let is_backend = bearer(&request).ok().flatten().is_some_and(|token| state.tokens.may_sign_up(&token));
    let from = address(&request, state.rules.proxy_hops);
    let refused = |code: Code| state.audit.refused(Event::SignUp, from, Facts::because(code.as_str()));
    if !is_backend && !state.rules.open_sign_up {
        refused(Code::SignUpClosed);
        return Err(Problem::new(Code::SignUpClosed, "Ask the people who run this server for an account."));
    }
    let username = Username::parse(&body.username)?;
    let nickname = nickname(&body.nickname)?.to_owned();
    let token = fcm_reg_id(body.fcm_reg_id.as_deref().unwrap_or_default())?.map(str::to_owned);
    password(&body.password)?;
    if !is_backend {
        let allowed = state.limits.sign_up(from, username.as_str());
        allowed.inspect_err(|_| refused(Code::RateLimited)).map_err(|wait| too_many("sign-ups").retry_after(wait))?;
    }
    let password_hash =
        state.passwords.hash(&requester(from, username.as_str()), SecretString::from(body.password)).await?;
    let (password_hash, external_id) = (Some(password_hash), None);
    let new = NewChatter { username, nickname, password_hash, external_id, fcm_reg_id: token };
    let Some((chatter, token)) = state.store.create_chatter(new).await? else {
        refused(Code::UsernameTaken);
        return Err(Problem::new(Code::UsernameTaken, "Choose another username; case makes no difference."));
    };
    state.audit.done(Event::SignUp, from, Facts::of(chatter.id));
    Ok(HttpResponse::Created().json(ChatterBody::own(&chatter, token)))
}

/// Counts one check of this account's password against the rates of its name and address; gives the requester of the
/// hash.
pub(super) fn check_rate(
    state: &State,
    event: Event,
    from: IpAddr,
    username: &str,
    device: Device,
) -> Result<Requester, Problem> {
    state.limits.password(from, username, device).map_err(|wait| {
        state.audit.refused(event, from, Facts::because(Code::RateLimited.as_str()));
        too_many("password checks").retry_after(wait)
    })?;
    Ok(requester(from, username))
}

fn requester(from: IpAddr, username: &str) -> Requester {
    Requester { address: network(from), username: username_key(username) }
}

/// Whether the request has a token of this account, such as one that the device got before. Any other token says
/// nothing here, so it is no reason to refuse.
async fn device(request: &HttpRequest, state: &State, username: &str) -> Result<Device, Problem> {
    let token = bearer(request).ok().flatten();
    let Some(claims) = token.and_then(|token| state.tokens.verify(&token).ok()) else {
        return Ok(Device::WithoutToken);
    };
    let account = state.store.credentials(&username_key(username)).await?;
    let is_own = account.is_some_and(|(id, _)| id == claims.chatter_id);
    Ok(if is_own { Device::WithToken } else { Device::WithoutToken })
}

pub(super) fn too_many(what: &str) -> Problem {
    Problem::new(Code::RateLimited, format!("Too many {what} from here. Wait before the next try."))
}
