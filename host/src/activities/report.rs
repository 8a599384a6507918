//! What is reported of a user, and what it must look like before it reaches the service.

use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::attributes::Attributes;
use crate::clock::Timestamp;
use crate::facts::is_kind;

/// The source of what the server saw itself.
pub(super) const OWN_SOURCE: &str = "meed";
/// Kinds that only the server records: nobody reports a login that did not happen here.
const OWN_KINDS: &[&str] = &["auth.", "user.", "invite."];
const MAX_AMOUNT: i64 = 1_000_000_000_000;

/// What a user did, as reported.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewActivity {
    /// Who reports it; `meed` is the server itself
    #[garde(custom(reported_source))]
    #[schema(example = "shop", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub source: String,
    /// The reporter's own id of it: the same source and id are recorded once
    #[garde(length(chars, min = 1, max = 128), custom(no_control_characters))]
    #[schema(example = "order-1047", min_length = 1, max_length = 128)]
    pub id: String,
    #[garde(skip)]
    pub user_id: Uuid,
    /// A word of your choice; those that begin with `auth.`, `user.` or `invite.` are the server's own
    #[garde(custom(reported_kind))]
    #[schema(example = "shop.purchase", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub kind: String,
    /// From 1970 to five minutes ahead of the server's clock; when it is left out, the moment of recording
    #[garde(skip)]
    pub occurred_at: Option<Timestamp>,
    /// Minor units
    #[garde(range(min = -MAX_AMOUNT, max = MAX_AMOUNT))]
    #[schema(example = 2500, minimum = -1_000_000_000_000_i64, maximum = 1_000_000_000_000_i64)]
    pub amount: Option<i64>,
    #[serde(default)]
    #[garde(skip)]
    pub attributes: Attributes,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn reported_source(source: &str, (): &()) -> garde::Result {
    if !is_kind(source) {
        return Err(garde::Error::new(format!(
            "{source:?} is not 1 to 64 letters, digits, dots, hyphens and underscores"
        )));
    }
    if source == OWN_SOURCE {
        return Err(garde::Error::new(format!(
            "{OWN_SOURCE:?} is the server itself; name the system that reports"
        )));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn reported_kind(kind: &str, (): &()) -> garde::Result {
    if !is_kind(kind) {
        return Err(garde::Error::new(format!(
            "{kind:?} is not 1 to 64 letters, digits, dots, hyphens and underscores"
        )));
    }
    if let Some(prefix) = OWN_KINDS.iter().find(|prefix| kind.starts_with(**prefix)) {
        return Err(garde::Error::new(format!(
            "{kind:?} is reserved: kinds that begin with {prefix:?} are recorded by the server when they happen"
        )));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn no_control_characters(text: &str, (): &()) -> garde::Result {
    if text.chars().any(char::is_control) {
        return Err(garde::Error::new(format!("{text:?} holds a control character")));
    }
    Ok(())
}
