//! What the features hold about a user: each shows it for an export, and erases it.
//!
//! So `users` can export and erase everything without knowing the other features; `app` passes them in. Must not know: any
//! feature.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use uuid::Uuid;

/// Rows that one statement shows or erases.
pub const AT_ONCE: i64 = 500;

/// One item of an export.
#[derive(Clone, Debug)]
pub struct Item {
    /// Such as `activity`.
    pub kind: &'static str,
    pub data: Value,
}

/// A part of what is shown. `next` continues; `None`: there is no more.
#[derive(Debug, Default)]
pub struct Shown {
    pub items: Vec<Item>,
    pub next: Option<Value>,
}

/// What one short transaction erased. `next` continues; `None`: there is no more.
#[derive(Debug, Default)]
pub struct Erased {
    pub rows: u64,
    pub next: Option<Value>,
}

/// What one feature holds about users.
pub trait PersonalData: Send + Sync {
    /// The next items. `after` is `next` of the previous call.
    fn show(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>>;

    /// Erases the next rows. Erasing again what was erased changes nothing.
    fn erase(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>>;
}

/// All features that hold personal data, in the order of an export.
pub type Holders = Arc<[Arc<dyn PersonalData>]>;
