//! Claims: from the user's request to the grant, and the receipt of how it was decided.
//!
//! Only `app`, `cli` and `kafka` know this feature. `interactive` drives a claim that is decided at once, `queue` claims
//! that are decided later. `decision` decides, `budget` says what is left and spent, `record` makes the rows that a claim
//! commits, `group` and `commit` write them together with others. `cache` repeats answers from memory. `receipt` is the
//! proof, `replay` its re-run without a server, `reversal` takes a grant back, `grants` lists grants and their fulfilment,
//! `messages` makes the outbox messages.

mod budget;
mod cache;
mod commit;
mod decision;
mod grants;
mod group;
mod interactive;
mod messages;
mod model;
mod queue;
mod receipt;
mod record;
mod replay;
mod reversal;
mod routes;
mod service;
mod store;
mod usage;

pub use model::{RewardRequest, Status};
pub use queue::{ExternalClaim, PermanentRejection, Worker, count_pending};
pub use receipt::{EvaluationRecord, Outcome, Receipt, ReversalReceipt, SignedReceipt, SignedReversal, TakenBack};
pub use replay::{Replay, ReplayError, check_seed, replay};
pub use routes::{CODES, router};
pub use service::{ClaimError, Claims, IdempotencyKey};
