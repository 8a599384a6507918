//! A reported activity and its validation.

use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::attributes::Attributes;
use crate::clock::Timestamp;
use crate::directory::{ExternalId, UserRef};
use crate::facts::is_kind;
use crate::problem::FieldError;
use crate::text::legible;

/// The source of activities that the server records itself.
pub(super) const OWN_SOURCE: &str = "meed";
/// Prefixes of kinds that only the server records.
const OWN_KINDS: &[&str] = &["auth.", "user.", "invite."];
/// A source may be a URI reference, as that of a CloudEvent.
const MAX_SOURCE_BYTES: usize = 256;
const MAX_AMOUNT: i64 = 1_000_000_000_000;

/// An activity to report.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewActivity {
    /// The reporting system; `meed` is reserved for the server itself
    #[garde(custom(reported_source))]
    #[schema(example = "shop", pattern = "^[!-~]{1,256}$")]
    pub source: String,
    /// The reporting system's id of the activity: the same source and id are recorded once
    #[garde(length(chars, min = 1, max = 128), custom(no_control_characters), custom(legible))]
    #[schema(example = "order-1047", min_length = 1, max_length = 128)]
    pub id: String,
    /// Its user; send either this or `externalUserId`
    #[garde(skip)]
    #[schema(nullable = false)]
    pub user_id: Option<Uuid>,
    /// Its user by the external id
    #[garde(skip)]
    #[schema(nullable = false)]
    pub external_user_id: Option<ExternalId>,
    /// A word of your choice; the prefixes `auth.`, `user.` and `invite.` are reserved for the server
    #[garde(custom(reported_kind))]
    #[schema(example = "shop.purchase", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub kind: String,
    /// From 1970 to five minutes ahead of the server's clock; the default is the time of recording
    #[garde(skip)]
    pub occurred_at: Option<Timestamp>,
    /// Points, or minor units of money
    #[garde(range(min = -MAX_AMOUNT, max = MAX_AMOUNT))]
    #[schema(example = 2500, minimum = -1_000_000_000_000_i64, maximum = 1_000_000_000_000_i64)]
    pub amount: Option<i64>,
    #[serde(default)]
    #[garde(skip)]
    pub attributes: Attributes,
}

impl NewActivity {
    /// The user that it names.
    pub(super) fn named_user(&self) -> Result<UserRef, FieldError> {
        UserRef::of_members(self.user_id, self.external_user_id.as_ref())
    }
}

/// The name of a source that may be reported under.
pub(super) fn check_source(source: String) -> Result<String, String> {
    match reported_source(&source, &()) {
        Ok(()) => Ok(source),
        Err(error) => Err(format!("source: {error}.")),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn reported_source(source: &str, (): &()) -> garde::Result {
    if !(1..=MAX_SOURCE_BYTES).contains(&source.len()) || !source.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(garde::Error::new(format!(
            "{source:?} is not 1 to {MAX_SOURCE_BYTES} visible ASCII characters"
        )));
    }
    if source == OWN_SOURCE {
        return Err(garde::Error::new(format!(
            "{OWN_SOURCE:?} is reserved for the server; send the name of the reporting system"
        )));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn reported_kind(kind: &str, (): &()) -> garde::Result {
    if !is_kind(kind) {
        return Err(garde::Error::new(format!(
            "{kind:?} is not 1 to 64 letters, digits, dots, hyphens or underscores"
        )));
    }
    if let Some(prefix) = OWN_KINDS.iter().find(|prefix| kind.starts_with(**prefix)) {
        return Err(garde::Error::new(format!(
            "{kind:?} is reserved: only the server records kinds with the prefix {prefix:?}"
        )));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn no_control_characters(text: &str, (): &()) -> garde::Result {
    if text.chars().any(char::is_control) {
        return Err(garde::Error::new(format!("{text:?} contains a control character")));
    }
    Ok(())
}
