//! Claims: from the user's request to the grant, and the receipt of how it was decided.
//!
//! One decision (`preparation`, `decision`, `verdict`), two drivers (`interactive`; `queue` for pending claims), two writers (`commit`).
//! `record` makes the rows that a decided claim commits, `cache` and `idempotency` answer repeats, `receipt` is the proof (`terms` stores its shared
//! part, `comparison` runs the other condition of a `trial`) and `replay` its re-run without a server.
//! `reviews` decides held claims (`review` is what a review says). `reversal` takes a grant back; `requests`, `grants`,
//! `progress` and `usage` are reads; `logged` is what the transparency log reads of them; `watched` sends the first and the
//! third as they change. `redecision` is what make-goods ask and apply. `explanation` says why a claim was decided as it was. `service` wires the parts. `access` is what
//! protocols call.
//! Only `app`, `backtests`, `cli`, `kafka`, `make_goods` and `rpc` know this feature.

mod access;
mod cache;
mod codes;
mod commit;
mod comparison;
mod decision;
mod error;
mod explanation;
mod grants;
mod idempotency;
mod interactive;
mod logged;
mod model;
mod personal;
mod preparation;
mod progress;
mod queue;
mod receipt;
mod record;
mod redecision;
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
pub use logged::{LoggedRequests, LoggedReversals};
pub use model::{ClaimAnswer, EventProgress, IdempotencyKey, Reason, RewardRequest, Source, Status};
pub use preparation::{Moment, PeriodSlot, Prepared, Ready, prepare};
pub use queue::{ExternalClaim, ExternalIntake, PermanentRejection, Worker};
pub use receipt::{
    EvaluationRecord, GivenReward, Outcome, Proof, Receipt, ReceiptError, ReversalReceipt, ReversedGrant,
    SignedReceipt, SignedReversal, Terms, format_of, format1,
};
pub use redecision::{Again, Applied, OldClaim, Ordered, Slots};
pub use replay::{Replay, ReplayError, check_seed, replay};
pub use review::{Review, ReviewOutcome};
pub use routes::{CODES, router};
pub use service::Claims;
pub use verdict::{BudgetLeft, Evaluation, Verdict, worth};
pub use watched::{ProgressChanges, ProgressId, RETRY, RequestChanges, RequestEvent, Watched};
