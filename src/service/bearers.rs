//! The one place where tokens are verified: the server's own, those of a team's own backend, and those of its identity
//! providers, whose accounts are found by issuer and subject and may be created at first sight.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::issuers::{External, Issuers};
use crate::auth::token::{Claims, Tokens};
use crate::domain::ChatterId;
use crate::domain::chatter::{Username, nickname};
use crate::problem::{Code, Problem};
use crate::store::Store;
use crate::store::chatters::NewChatter;
use crate::store::external::ExternalAccount;
use crate::telemetry::audit::{Audit, Event, Facts};

/// How many usernames are tried for a new account. The first may be taken; the others are drawn at random.
const NAMES_TRIED_MAX: usize = 4;

/// Verifies tokens, whoever issued them.
pub struct Bearers {
    tokens: Arc<Tokens>,
    issuers: Arc<Issuers>,
    store: Arc<Store>,
    audit: Arc<Audit>,
}

impl Bearers {
    /// For these keys and issuers, and the accounts of this database.
    #[must_use]
    pub fn new(tokens: Arc<Tokens>, issuers: Arc<Issuers>, store: Arc<Store>, audit: Arc<Audit>) -> Self {
        Self { tokens, issuers, store, audit }
    }

    /// The claims of a token that came from this address, with its chatter. Whether the chatter or the sign-in has ended
    /// is for the caller to check.
    pub async fn verify(&self, token: &str, from: IpAddr) -> Result<Claims, Problem> {
        self.claims(token, Some(from)).await
    }

    /// The same for a token of a chatter who has an account: none is created.
    pub async fn verify_next(&self, token: &str) -> Result<Claims, Problem> {
        self.claims(token, None).await
    }

    async fn claims(&self, token: &str, creates_from: Option<IpAddr>) -> Result<Claims, Problem> {
        let Some(issuer) = self.issuers.of(token) else { return Ok(self.tokens.verify(token)?) };
        let external = issuer.verify(token).await?;
        let chatter_id = match (self.known(&external).await?, creates_from) {
            (Some(chatter_id), _) => chatter_id,
            (None, Some(from)) if issuer.creates_accounts() => self.create(&external, from).await?,
            (None, _) => {
                let detail = "No account belongs to this token. Ask the people who run this server for one.";
                return Err(Problem::new(Code::AccountUnknown, detail));
            }
        };
        Ok(Claims { chatter_id, grant: external.grant, expires_at: external.expires_at })
    }

    /// The issuers, for readiness and metrics.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The account of a subject that has one. A deleted account is not opened again.
    async fn known(&self, external: &External) -> Result<Option<ChatterId>, Problem> {
        match self.store.external_account(&external.external_id).await? {
            ExternalAccount::Open(chatter_id) => Ok(Some(chatter_id)),
            ExternalAccount::Deleted => Err(Problem::account_deleted()),
            ExternalAccount::Unknown => Ok(None),
        }
    }

    /// Creates the account of a subject, or finds the one that another request has created meanwhile. A username that is
    /// taken is never shared: the new account gets another.
    async fn create(&self, external: &External, from: IpAddr) -> Result<ChatterId, Problem> {
        let name = external.name.as_deref().unwrap_or_default();
        for tried in 0..NAMES_TRIED_MAX {
            let suffix = (tried > 0).then(rand::random::<u32>);
            let username = Username::like(name, suffix);
            let nickname =
                external.nickname.as_deref().and_then(|text| nickname(text).ok()).unwrap_or(username.short());
            let new = NewChatter {
                nickname: nickname.to_owned(),
                username,
                password_hash: None,
                external_id: Some(external.external_id.clone()),
                fcm_reg_id: None,
            };
            if let Some((chatter, _)) = self.store.create_chatter(new).await? {
                self.audit.done(Event::SignUp, from, Facts::of(chatter.id));
                return Ok(chatter.id);
            }
            if let Some(chatter_id) = self.known(external).await? {
                return Ok(chatter_id);
            }
        }
        Err(Problem::unavailable())
    }
}
