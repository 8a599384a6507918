//! Who acts in the current task, and by which request or command. Must not know HTTP.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::{Principal, Role};
use crate::db::text_column;

tokio::task_local! {
    static ORIGIN: Arc<Origin>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ActorKind {
    User,
    ServiceKey,
    /// No valid access token
    Anonymous,
    /// A command, or the server itself
    System,
}

text_column!(ActorKind);

/// A principal, or its absence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Actor {
    pub kind: ActorKind,
    pub id: Option<Uuid>,
    pub role: Option<Role>,
    /// Of a service key.
    pub name: Option<String>,
}

impl Actor {
    pub(super) const SYSTEM: Self = Self {
        kind: ActorKind::System,
        id: None,
        role: None,
        name: None,
    };

    pub(super) fn of(principal: Option<&Principal>) -> Self {
        match principal {
            None => Self {
                kind: ActorKind::Anonymous,
                id: None,
                role: None,
                name: None,
            },
            Some(Principal::User { id, role, .. }) => Self {
                kind: ActorKind::User,
                id: Some(*id),
                role: Some(*role),
                name: None,
            },
            Some(Principal::ServiceKey(holder)) => Self {
                kind: ActorKind::ServiceKey,
                id: Some(holder.id),
                role: None,
                name: Some(holder.name.clone()),
            },
        }
    }

    /// Everyone who acts on more than an own account.
    pub(super) fn is_staff(&self) -> bool {
        match self.kind {
            ActorKind::User => self.role != Some(Role::User),
            ActorKind::ServiceKey => true,
            ActorKind::Anonymous | ActorKind::System => false,
        }
    }
}

/// The cause of the current work.
#[derive(Debug)]
pub struct Origin {
    pub(super) actor: Actor,
    pub(super) address: Option<String>,
    pub(super) action: String,
    /// The kind and id of the target, if a service named it before an attempt failed.
    pub(super) target: OnceLock<(&'static str, String)>,
    recorded: AtomicBool,
}

impl Origin {
    pub(super) fn new(actor: Actor, address: Option<String>, action: String) -> Self {
        Self {
            actor,
            address,
            action,
            target: OnceLock::new(),
            recorded: AtomicBool::new(false),
        }
    }

    /// A command of the executable, such as `meed user create`.
    pub fn command(name: &str) -> Self {
        Self::new(Actor::SYSTEM, None, name.to_owned())
    }

    pub(super) fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Relaxed);
    }

    /// Whether a service wrote a row for it.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }
}

/// Runs `future` on behalf of the origin.
pub async fn run_as<F: Future>(origin: Arc<Origin>, future: F) -> F::Output {
    ORIGIN.scope(origin, future).await
}

/// `None` in work that the server does by itself.
pub(super) fn current() -> Option<Arc<Origin>> {
    ORIGIN.try_with(Arc::clone).ok()
}

/// The action leaves its actor in rows of its own, so that the log needs none. For work that programs do in large numbers.
pub fn recorded_elsewhere() {
    if let Some(origin) = current() {
        origin.set_recorded();
    }
}

/// Names the target of an attempt, for the row of a refusal.
pub fn about(kind: &'static str, id: &(impl ToString + ?Sized)) {
    if let Some(origin) = current() {
        // The first target is the right one.
        let _ = origin.target.set((kind, id.to_string()));
    }
}
