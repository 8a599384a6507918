//! Users whose tokens a trusted issuer signed: the check of a token, and the user that it names.
//!
//! A token is verified once and then remembered until it expires, its key is withdrawn or its user changes. The first token
//! of a user creates the user; a newer token with other attributes or another role changes them.

use std::sync::Arc;

use aws_lc_rs::digest;
use moka::sync::Cache;
use uuid::Uuid;

use super::identity::{
    Claims, Expected, Fetcher, Identity, MAX_TOKEN_BYTES, Mapping, Provider, Refused, Source, Validity, issuer_of,
};
use super::{Standings, UserError, UserService};
use crate::auth::{InvalidToken, Principal, Role};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::directory::{Account, ExternalId, UserRef};

/// Remembered tokens, and users whose newest token is remembered; a few hundred bytes each.
const CAPACITY: u64 = 50_000;
/// The name of the actor in the audit log.
const TASK: &str = "trusted-issuer";

#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("The keys of the issuer {0} cannot be fetched, so its tokens cannot be checked; try again.")]
    Unavailable(String),
    #[error(transparent)]
    User(#[from] UserError),
}

/// Wired by `app`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Issuers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    users: UserService,
    standings: Standings,
    issuers: Vec<Issuer>,
    /// Whether staff need a second factor.
    require_totp: bool,
    /// By the SHA-256 of the token.
    checked: Cache<[u8; 32], Arc<Checked>>,
    /// When the newest token of a user was issued. An older one changes nothing.
    newest: Cache<ExternalId, f64>,
}

#[derive(Debug)]
struct Issuer {
    provider: Arc<Provider>,
    expected: Expected,
    mapping: Mapping,
    create_users: bool,
    counts_as_second_factor: bool,
}

#[derive(Debug)]
struct Checked {
    /// The position of the issuer.
    issuer: usize,
    validity: Validity,
    user_id: Uuid,
    /// That the user must have.
    role: Role,
}

/// The principal of a token and the end of the token, or why it is not valid.
type Found = Result<(Principal, Option<Timestamp>), InvalidToken>;

impl Issuers {
    pub fn new(auth: &config::Auth, users: UserService, standings: Standings, clock: Clock) -> anyhow::Result<Self> {
        let fetcher = Fetcher::new()?;
        let mut issuers = Vec::new();
        for (index, settings) in auth.trusted_issuers.iter().enumerate() {
            let issuer = Issuer::new(settings, &fetcher, &clock);
            issuers.push(issuer.map_err(|fault| anyhow::anyhow!("auth.trusted_issuers[{index}].{fault}"))?);
        }
        let inner = Inner {
            clock,
            users,
            standings,
            issuers,
            require_totp: auth.require_totp,
            checked: Cache::new(CAPACITY),
            newest: Cache::new(CAPACITY),
        };
        Ok(Self(Arc::new(inner)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.issuers.is_empty()
    }

    /// Fetches keys that will become too old.
    pub async fn refresh_keys(&self) {
        for issuer in &self.0.issuers {
            issuer.provider.refresh().await;
        }
    }

    /// The principal of a token that names a trusted issuer; `None` if it names none.
    pub(super) async fn check(&self, token: &str) -> Result<Option<Found>, IssuerError> {
        if self.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Ok(None);
        }
        let digest = sha256(token);
        if let Some(checked) = self.0.checked.get(&digest) {
            if let Some(principal) = self.check_again(&checked).await? {
                return Ok(Some(principal));
            }
            self.0.checked.invalidate(&digest);
        }
        let named = issuer_of(token);
        let position = self
            .0
            .issuers
            .iter()
            .position(|issuer| Some(issuer.provider.issuer()) == named.as_deref());
        let Some(position) = position else { return Ok(None) };
        let issuer = &self.0.issuers[position];
        let claims = match issuer
            .expected
            .verify(&issuer.provider, token, self.0.clock.now())
            .await
        {
            Ok(claims) => claims,
            Err(refused) => return issuer.refuse(refused).map(|invalid| Some(Err(invalid))),
        };
        let found = self.find_user(issuer, claims).await?;
        let (account, role, validity) = match found {
            Ok(found) => found,
            Err(reason) => {
                tracing::debug!(issuer = issuer.provider.issuer(), reason, "token of an issuer refused");
                return Ok(Some(Err(InvalidToken { is_forged: false })));
            }
        };
        let checked = Checked {
            issuer: position,
            validity,
            user_id: account.id,
            role,
        };
        let found = self.found(&checked);
        self.0.checked.insert(digest, Arc::new(checked));
        Ok(Some(Ok(found)))
    }

    /// The principal of a token that was verified before; `None` if it must be verified again.
    async fn check_again(&self, checked: &Checked) -> Result<Option<Found>, IssuerError> {
        let issuer = &self.0.issuers[checked.issuer];
        match issuer
            .expected
            .check_again(&issuer.provider, &checked.validity, self.0.clock.now())
        {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(refused) => return issuer.refuse(refused).map(|invalid| Some(Err(invalid))),
        }
        let account = self.0.standings.of(checked.user_id).await.map_err(UserError::from)?;
        let is_unchanged = account.is_some_and(|account| !account.disabled && account.role == checked.role);
        Ok(is_unchanged.then(|| Ok(self.found(checked))))
    }

    fn found(&self, checked: &Checked) -> (Principal, Option<Timestamp>) {
        let is_proven = self.0.issuers[checked.issuer].counts_as_second_factor;
        let principal = Principal::User {
            id: checked.user_id,
            role: checked.role,
            session: None,
            needs_second_factor: self.0.require_totp && checked.role != Role::User && !is_proven,
        };
        (principal, checked.validity.end())
    }

    /// The user of a verified token, as the token wants it; the reason if the token is of no use to it.
    async fn find_user(
        &self,
        issuer: &Issuer,
        claims: Claims,
    ) -> Result<Result<(Account, Role, Validity), String>, IssuerError> {
        let identity = match issuer.mapping.read(&claims.members) {
            Ok(identity) => identity,
            Err(fault) => return Ok(Err(fault)),
        };
        let account = if self.is_newest(&identity, &claims.validity) {
            let create = issuer.create_users;
            self.0.users.provision(&identity, create, Some(TASK)).await?
        } else {
            let user = UserRef::External(identity.external_id.clone());
            self.0.users.resolve(&user).await?
        };
        // Without a mapping an issuer's tokens are those of USERs: staff must not get their rights by them.
        let role = identity.role.unwrap_or(Role::User);
        Ok(match account {
            None => Err("names no user, and create_users is off".to_owned()),
            Some(account) if account.disabled => Err(format!("user {} is disabled", account.id)),
            Some(account) if account.role != role => Err(format!(
                "user {} has the role {}, the token gives {role}",
                account.id, account.role
            )),
            Some(account) => Ok((account, role, claims.validity)),
        })
    }

    /// Whether no newer token of the user is known.
    fn is_newest(&self, identity: &Identity, validity: &Validity) -> bool {
        let Some(issued) = validity.iat else { return true };
        let newest = self.0.newest.get(&identity.external_id);
        if newest.is_some_and(|newest| issued < newest) {
            return false;
        }
        self.0.newest.insert(identity.external_id.clone(), issued);
        true
    }
}

impl Issuer {
    fn new(settings: &config::TrustedIssuer, fetcher: &Fetcher, clock: &Clock) -> Result<Self, String> {
        let source = Source::of(&settings.issuer, &settings.jwks).map_err(|fault| format!("jwks: {fault}"))?;
        let (name, valid) = (settings.issuer.clone(), settings.keys_valid);
        Ok(Self {
            provider: Arc::new(Provider::new(name, source, valid, fetcher.clone(), clock.clone())),
            expected: Expected::new(settings.audience.clone(), &settings.algorithms, settings.leeway),
            mapping: Mapping::new(
                (&settings.external_id_claim, &settings.external_id_prefix),
                &settings.attributes,
                (&settings.roles_claim, &settings.roles),
            )?,
            create_users: settings.create_users,
            counts_as_second_factor: settings.counts_as_second_factor,
        })
    }

    fn refuse(&self, refused: Refused) -> Result<InvalidToken, IssuerError> {
        let issuer = self.provider.issuer();
        let (is_forged, reason) = match refused {
            Refused::Forged(reason) => (true, reason),
            Refused::Untimely(reason) => (false, reason),
            Refused::Unavailable => return Err(IssuerError::Unavailable(issuer.to_owned())),
        };
        tracing::debug!(issuer, reason, "token of an issuer refused");
        Ok(InvalidToken { is_forged })
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut value = [0; 32];
    value.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    value
}
