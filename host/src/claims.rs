//! Claims: from the user's request to the grant, and the receipt of how it was decided.
//!
//! One decision (`decision`, `verdict`), two drivers (`interactive`; `queue` for pending claims), two writers (`commit`).
//! `record` makes the rows that a decided claim commits, `cache` and `idempotency` answer repeats, `receipt` is the proof (`terms` stores its shared
//! part, `comparison` runs the other condition of a `trial`) and `replay` its re-run without a server. `reviews` decides held claims (`review` is what a review says). `reversal` takes a grant back; `requests`, `grants`, `progress` and `usage` are
//! reads; `watched` tells the first and the third as they change. `service` wires the parts. `access` is what protocols call.
//! Only `app`, `cli`, `kafka` and `rpc` know this feature.

mod access;
mod cache;
mod codes;
mod commit;
mod comparison;
mod decision;
mod error;
mod grants;
mod idempotency;
mod interactive;
mod model;
mod personal;
mod progress;
mod queue;
mod receipt;
mod record;
mod replay;
mod requests;
mod retention;
mod reversal;
mod review;
mod reviews;
mod routes;
mod service;
mod store;
mod terms;
mod trial;
mod usage;
mod verdict;
mod watched;

pub use access::Named;
pub use error::ClaimError;
pub use model::{ClaimAnswer, EventProgress, IdempotencyKey, RewardRequest, Status};
pub use queue::{ExternalClaim, ExternalIntake, PermanentRejection, Worker};
pub use receipt::{
    EvaluationRecord, GivenReward, Outcome, Proof, Receipt, ReceiptError, ReversalReceipt, ReversedGrant,
    SignedReceipt, SignedReversal, Terms, format_of, format1,
};
pub use replay::{Replay, ReplayError, check_seed, replay};
pub use review::{Review, ReviewOutcome};
pub use routes::{CODES, router};
pub use service::Claims;
pub use watched::{ProgressChanges, ProgressId, RETRY, RequestChanges, RequestEvent, Watched};
