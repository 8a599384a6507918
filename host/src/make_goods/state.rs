//! The states of a make-good and of its entries. Must not know: who may do what.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use crate::db::text_column;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[schema(as = MakeGoodState)]
pub enum State {
    /// The server looks at the claims of the period
    Proposing,
    /// It waits for the approval of another person
    Proposed,
    /// It is applied next
    Approved,
    Applying,
    Applied,
    /// It could not be proposed, or not be applied to the end
    Failed,
    Withdrawn,
}

text_column!(State);

impl State {
    /// Nothing of it was applied yet.
    pub fn can_be_withdrawn(self) -> bool {
        matches!(self, Self::Proposing | Self::Proposed | Self::Approved)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[schema(as = MakeGoodKind)]
pub(super) enum Kind {
    /// The claim was wrongly refused
    Grant,
    /// The claim was wrongly granted
    Reverse,
}

text_column!(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[schema(as = MakeGoodEntryState)]
pub(super) enum EntryState {
    Pending,
    /// A person took it out of the proposal
    Excluded,
    Applied,
    /// Nothing was changed; `skipped` says why
    Skipped,
}

text_column!(EntryState);
