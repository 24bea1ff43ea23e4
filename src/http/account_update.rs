//! What a request changes in the viewer's own account, with the checks that a new password and a push token need.

use actix_web::HttpRequest;
use secrecy::SecretString;

use super::State;
use super::extract::{Viewer, address};
use super::sign_in::check_rate;
use crate::domain::chatter::{fcm_reg_id, nickname, password};
use crate::limits::Device;
use crate::problem::{Code, Problem};
use crate::protocol::requests::ChangeChatter;
use crate::store::chatters::{ChatterUpdate, TokenUpdate};
use crate::store::passwords::NewPassword;
use crate::store::sign_ins::SignInUpdate;
use crate::telemetry::audit::{Event, Facts};

/// The change that a body asks for. A new password is hashed only after the current one was verified.
pub(super) async fn account_update(
    request: &HttpRequest,
    state: &State,
    viewer: Viewer,
    body: &ChangeChatter,
) -> Result<ChatterUpdate, Problem> {
    let nickname = body.nickname.as_deref().map(nickname).transpose()?.map(str::to_owned);
    let token = body.fcm_reg_id.as_deref().map(fcm_reg_id).transpose()?;
    let password = match &body.password {
        Some(new) => {
            let current = body.current_password.as_deref();
            Some(new_password(request, state, viewer, new, current).await?)
        }
        None => None,
    };
    let sign_ins = if password.is_some() { SignInUpdate::EndOthers(viewer.grant) } else { SignInUpdate::Keep };
    let fcm_reg_id = token_update(request, state, viewer, token).await?;
    let (by, show_last_seen, show_receipts) = (viewer.grant.sign_in_id(), body.show_last_seen, body.show_receipts);
    Ok(ChatterUpdate { nickname, fcm_reg_id, password, by, sign_ins, show_last_seen, show_receipts })
}

/// A token of another account moves to this one at a low rate; without it, two accounts could take it from each other
/// for ever, or one could collect those of others.
async fn token_update(
    request: &HttpRequest,
    state: &State,
    viewer: Viewer,
    token: Option<Option<&str>>,
) -> Result<TokenUpdate, Problem> {
    let Some(token) = token else { return Ok(TokenUpdate::Keep) };
    let Some(token) = token.map(str::to_owned) else { return Ok(TokenUpdate::Remove) };
    if state.store.token_owner(&token).await?.is_none_or(|owner| owner == viewer.chatter_id) {
        return Ok(TokenUpdate::Set(token));
    }
    state.limits.token_move(viewer.chatter_id).map_err(|wait| {
        let facts = Facts { reason: Some(Code::RateLimited.as_str()), ..viewer.facts() };
        state.audit.refused(Event::TokenMove, address(request, state.rules.proxy_hops), facts);
        Problem::new(Code::RateLimited, "Too many push tokens of other accounts. Wait, or register one of your own.")
            .retry_after(wait)
    })?;
    Ok(TokenUpdate::Move(token))
}

/// The hash of the new password, once the current one was checked. That counts as a sign-in does: a token alone lets
/// nobody guess the password.
async fn new_password(
    request: &HttpRequest,
    state: &State,
    viewer: Viewer,
    new: &str,
    current: Option<&str>,
) -> Result<NewPassword, Problem> {
    password(new)?;
    let Some(current) = current else {
        return Err(Problem::invalid("current_password", "Send the current password along with the new one."));
    };
    let wrong = || Problem::invalid("current_password", "It is not the current password.");
    let account = state.store.chatter(viewer.chatter_id).await?.ok_or_else(Problem::account_deleted)?;
    let from = address(request, state.rules.proxy_hops);
    let by = &check_rate(state, Event::PasswordChange, from, &account.username, Device::WithoutToken)?;
    let Some(stored) = state.store.password_hash(viewer.chatter_id).await? else {
        let detail = "This account has no password: its identity provider signs it in.";
        return Err(Problem::invalid("password", detail));
    };
    if !state.passwords.verify(by, SecretString::from(current), Some(stored.clone())).await?.matches {
        let facts = Facts { reason: Some(Code::CredentialsWrong.as_str()), ..viewer.facts() };
        state.audit.refused(Event::PasswordChange, from, facts);
        return Err(wrong());
    }
    let hash = state.passwords.hash(by, SecretString::from(new)).await?;
    Ok(NewPassword { verified_hash: stored, hash })
}
