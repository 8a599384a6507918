//! Receipts: everything that is needed to run a decision again, in canonical form and signed.
//!
//! `format2` is what servers write: `terms` are shared by all claims of an event's revision, and `seal` signs all receipts of
//! a commit at once, over a `merkle` root. `format1` is what they wrote before. `proof` reads both, and `evaluation` is the
//! run of a condition in both.

mod error;
mod evaluation;
pub mod format1;
mod format2;
mod proof;
mod reversal;
mod seal;
mod terms;

pub use error::ReceiptError;
pub use evaluation::{EvaluationRecord, Outcome};
pub(super) use evaluation::{FailureRecord, Limits, PluginRecord};
pub(super) use format2::Evaluation;
pub use format2::{GivenReward, Receipt, SignedReceipt};
pub use proof::{Proof, format_of};
pub use reversal::{ReversalReceipt, ReversedGrant, SignedReversal};
pub(super) use seal::{Draft, Seal, SignatureRecord, is_sealed, seal};
pub(super) use terms::OfferedReward;
pub use terms::Terms;
