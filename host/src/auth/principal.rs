//! Principals: who acts, and what they may do.
//!
//! A guard names a [`Scope`]; a [`Role`] is a set of scopes, and so is a service key. Must not know HTTP.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::db::text_column;

/// The role of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE", parse_err_ty = String, parse_err_fn = not_a_role)]
pub enum Role {
    /// Claims rewards.
    User,
    /// Runs events, rewards and plugins.
    Operator,
    /// Reads the audit log, reward requests, events, rewards and plugins; changes nothing.
    Auditor,
    /// May do everything except claim.
    Admin,
}

text_column!(Role);

fn not_a_role(text: &str) -> String {
    format!("{text:?} is not a role; the roles are USER, OPERATOR, AUDITOR and ADMIN")
}

/// Defines the scopes: a variant and its name in the OpenAPI document.
macro_rules! scopes {
    ($($(#[$meta:meta])* $scope:ident = $name:literal),* $(,)?) => {
        /// One thing that a principal may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Scope { $($(#[$meta])* $scope),* }

        impl Scope {
            pub const ALL: &[Self] = &[$(Self::$scope),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$scope => $name),* }
            }
        }
    };
}

scopes! {
    /// Read the activities of all users.
    ActivitiesRead = "activities:read",
    /// Report activities.
    ActivitiesWrite = "activities:write",
    /// Set attributes of users.
    AttributesWrite = "attributes:write",
    /// Read the audit log.
    AuditLogRead = "audit-log:read",
    /// Read reward requests, receipts and grants of all users.
    AuditRead = "audit:read",
    /// Read backtests and their reports.
    BacktestsRead = "backtests:read",
    /// Create, pause and cancel backtests.
    BacktestsWrite = "backtests:write",
    /// See the events that one may claim, one's progress and one's claims.
    ClaimsRead = "claims:read",
    /// Claim rewards.
    ClaimsWrite = "claims:write",
    /// Read events, their revisions and budgets as operators see them.
    EventsRead = "events:read",
    /// Create, change and delete events.
    EventsWrite = "events:write",
    /// Acknowledge that grants have reached their users.
    FulfilmentsWrite = "fulfilments:write",
    /// Approve make-goods.
    MakeGoodsApprove = "make-goods:approve",
    /// Read make-goods and their entries.
    MakeGoodsRead = "make-goods:read",
    /// Propose, change and withdraw make-goods.
    MakeGoodsWrite = "make-goods:write",
    /// Change what others own: webhook endpoints; give plugin names and sources to other principals.
    OwnershipWrite = "ownership:write",
    /// Read the trusted signing keys.
    PluginKeysRead = "plugin-keys:read",
    /// Add and revoke trusted signing keys.
    PluginKeysWrite = "plugin-keys:write",
    /// Read plugins, their history and usage; run simulations.
    PluginsRead = "plugins:read",
    /// Upload, enable, disable and delete plugins.
    PluginsWrite = "plugins:write",
    /// Approve, reject and resume releases.
    ReleasesApprove = "releases:approve",
    /// Read releases and their history.
    ReleasesRead = "releases:read",
    /// Let a release be approved without a backtest.
    ReleasesWaive = "releases:waive",
    /// Propose, edit, activate, hold, roll back and withdraw releases.
    ReleasesWrite = "releases:write",
    /// Take grants back.
    ReversalsWrite = "reversals:write",
    /// Approve and deny held claims.
    ReviewsWrite = "reviews:write",
    /// Read rewards.
    RewardsRead = "rewards:read",
    /// Create, change and delete rewards.
    RewardsWrite = "rewards:write",
    /// Read the service keys, without their secrets.
    ServiceKeysRead = "service-keys:read",
    /// Create, change, rotate and revoke service keys.
    ServiceKeysWrite = "service-keys:write",
    /// Read all accounts.
    UsersRead = "users:read",
    /// Change accounts, and create accounts in any role.
    UsersWrite = "users:write",
    /// Read webhook endpoints and their deliveries.
    WebhooksRead = "webhooks:read",
    /// Create, change and delete webhook endpoints; redeliver messages.
    WebhooksWrite = "webhooks:write",
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|scope| scope.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|scope| scope.name()).collect();
            format!("{text:?} is not a scope; the scopes are {}", names.join(", "))
        })
    }
}

impl Role {
    pub const ALL: [Self; 4] = [Self::User, Self::Operator, Self::Auditor, Self::Admin];

    /// The only table of the scopes of each role.
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::User => &[Scope::ClaimsRead, Scope::ClaimsWrite],
            Self::Auditor => &[
                Scope::AuditLogRead,
                Scope::AuditRead,
                Scope::BacktestsRead,
                Scope::EventsRead,
                Scope::MakeGoodsRead,
                Scope::PluginKeysRead,
                Scope::PluginsRead,
                Scope::ReleasesRead,
                Scope::RewardsRead,
                Scope::ServiceKeysRead,
                Scope::WebhooksRead,
            ],
            Self::Operator => &[
                Scope::ActivitiesRead,
                Scope::ActivitiesWrite,
                Scope::AttributesWrite,
                Scope::AuditRead,
                Scope::BacktestsRead,
                Scope::BacktestsWrite,
                Scope::EventsRead,
                Scope::EventsWrite,
                Scope::FulfilmentsWrite,
                Scope::MakeGoodsApprove,
                Scope::MakeGoodsRead,
                Scope::MakeGoodsWrite,
                Scope::PluginsRead,
                Scope::PluginsWrite,
                Scope::ReleasesApprove,
                Scope::ReleasesRead,
                Scope::ReleasesWrite,
                Scope::ReversalsWrite,
                Scope::ReviewsWrite,
                Scope::RewardsRead,
                Scope::RewardsWrite,
                Scope::WebhooksRead,
                Scope::WebhooksWrite,
            ],
            // An ADMIN makes the rules, and therefore does not claim.
            Self::Admin => &[
                Scope::ActivitiesRead,
                Scope::ActivitiesWrite,
                Scope::AttributesWrite,
                Scope::AuditLogRead,
                Scope::AuditRead,
                Scope::BacktestsRead,
                Scope::BacktestsWrite,
                Scope::EventsRead,
                Scope::EventsWrite,
                Scope::FulfilmentsWrite,
                Scope::MakeGoodsApprove,
                Scope::MakeGoodsRead,
                Scope::MakeGoodsWrite,
                Scope::OwnershipWrite,
                Scope::PluginKeysRead,
                Scope::PluginKeysWrite,
                Scope::PluginsRead,
                Scope::PluginsWrite,
                Scope::ReleasesApprove,
                Scope::ReleasesRead,
                Scope::ReleasesWaive,
                Scope::ReleasesWrite,
                Scope::ReversalsWrite,
                Scope::ReviewsWrite,
                Scope::RewardsRead,
                Scope::RewardsWrite,
                Scope::ServiceKeysRead,
                Scope::ServiceKeysWrite,
                Scope::UsersRead,
                Scope::UsersWrite,
                Scope::WebhooksRead,
                Scope::WebhooksWrite,
            ],
        }
    }

    /// The roles that have all scopes of these names. An error names an unknown scope.
    pub fn with_scopes(names: &[&str]) -> Result<Vec<Self>, String> {
        let scopes: Vec<Scope> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        let has_all = |role: &Self| scopes.iter().all(|scope| role.scopes().contains(scope));
        Ok(Self::ALL.into_iter().filter(has_all).collect())
    }
}

/// Who acts. [`super::authenticate`] makes it, so holding one is proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A user.
    User {
        id: Uuid,
        role: Role,
        /// `None`: the user has no login at this server, but a token of a trusted issuer.
        session: Option<Uuid>,
        /// The role needs a second factor and the login was without: it has no scopes.
        needs_second_factor: bool,
    },
    /// A program, such as the back end of a shop.
    ServiceKey(Arc<KeyHolder>),
}

/// The program that sent a service key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyHolder {
    /// Of the key. A rotated key keeps it.
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// The sources under which it may report activities; `None`: any.
    pub sources: Option<Vec<String>>,
    /// The address of the request, if the key may not be used there: then it has no scopes.
    pub refused_address: Option<IpAddr>,
    /// The address of the request, if it is known.
    pub address: Option<IpAddr>,
    /// The hash of the secret that it sent.
    pub hash: Vec<u8>,
}

impl KeyHolder {
    /// Whether it may report activities under this source.
    pub fn may_use(&self, source: &str) -> bool {
        let Some(sources) = &self.sources else { return true };
        sources.iter().any(|allowed| allowed == source)
    }
}

impl Principal {
    /// The value of actor columns.
    pub fn id(&self) -> Uuid {
        match self {
            Self::User { id, .. } => *id,
            Self::ServiceKey(holder) => holder.id,
        }
    }

    pub fn has(&self, scope: Scope) -> bool {
        match self {
            Self::User {
                role,
                needs_second_factor,
                ..
            } => !needs_second_factor && role.scopes().contains(&scope),
            Self::ServiceKey(holder) => holder.refused_address.is_none() && holder.scopes.contains(&scope),
        }
    }

    pub(super) fn needs_second_factor(&self) -> bool {
        matches!(
            self,
            Self::User {
                needs_second_factor: true,
                ..
            }
        )
    }

    /// The program, if it is one.
    pub fn key_holder(&self) -> Option<&KeyHolder> {
        match self {
            Self::User { .. } => None,
            Self::ServiceKey(holder) => Some(holder),
        }
    }

    pub(super) fn refused_address(&self) -> Option<IpAddr> {
        self.key_holder()?.refused_address
    }

    /// Whether this is the user `id`, or has the scope that lets it act on all users.
    pub fn is_or_has(&self, id: Uuid, scope: Scope) -> bool {
        self.is_user(id) || self.has(scope)
    }

    /// Whether this is the user `id`.
    pub fn is_user(&self, id: Uuid) -> bool {
        matches!(self, Self::User { id: own, .. } if *own == id)
    }
}

/// For error messages: `Your role USER` or `The service key "shop"`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { role, .. } => write!(f, "Your role {role}"),
            Self::ServiceKey(holder) => write!(f, "The service key {:?}", holder.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_names_are_unique_and_known() {
        for (index, scope) in Scope::ALL.iter().enumerate() {
            assert!(
                !Scope::ALL[..index].iter().any(|other| other.name() == scope.name()),
                "{scope}"
            );
            assert!(!Role::with_scopes(&[scope.name()]).unwrap().is_empty(), "{scope}");
        }
        let roles = |names: &[&str]| Role::with_scopes(names);
        assert_eq!(roles(&["events:write"]), Ok(vec![Role::Operator, Role::Admin]));
        // The roles that make the rules cannot claim.
        assert_eq!(roles(&["claims:write"]), Ok(vec![Role::User]));
        assert_eq!(roles(&["events:write", "claims:write"]), Ok(vec![]));
        assert_eq!(roles(&[]), Ok(Role::ALL.to_vec()));
        assert!(roles(&["events:everything"]).unwrap_err().contains("events:everything"));
    }

    #[test]
    fn a_service_key_has_its_scopes_and_no_account() {
        let id = Uuid::from_u128(7);
        let holder = |refused_address| {
            Principal::ServiceKey(Arc::new(KeyHolder {
                id,
                name: "shop".to_owned(),
                scopes: vec![Scope::ActivitiesWrite],
                sources: Some(vec!["shop".to_owned()]),
                refused_address,
                address: None,
                hash: Vec::new(),
            }))
        };
        let key = holder(None);
        assert!(key.has(Scope::ActivitiesWrite) && !key.has(Scope::ActivitiesRead));
        let uses = |source| key.key_holder().is_some_and(|holder| holder.may_use(source));
        assert!(uses("shop") && !uses("game"));
        // At a wrong address it has none.
        assert!(!holder(Some(IpAddr::from([192, 0, 2, 1]))).has(Scope::ActivitiesWrite));
        // Its id is no user's, even if they were the same.
        assert!(!key.is_or_has(id, Scope::AuditRead));
        assert_eq!(key.id(), id);
    }

    #[test]
    fn without_the_second_factor_that_it_needs_a_role_has_no_scopes() {
        let principal = |needs_second_factor| Principal::User {
            id: Uuid::from_u128(1),
            role: Role::Admin,
            session: None,
            needs_second_factor,
        };
        for scope in Role::Admin.scopes() {
            assert!(principal(false).has(*scope) && !principal(true).has(*scope), "{scope}");
        }
    }

    #[test]
    fn users_reach_their_own_and_auditors_all() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let principal = |role| Principal::User {
            id: own,
            role,
            session: None,
            needs_second_factor: false,
        };
        assert!(principal(Role::User).is_or_has(own, Scope::AuditRead));
        assert!(!principal(Role::User).is_or_has(other, Scope::AuditRead));
        assert!(principal(Role::Auditor).is_or_has(other, Scope::AuditRead));
    }
}
