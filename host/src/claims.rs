//! Claims: from the user's ask to the grant, and the receipt of how it was decided.
//!
//! Nobody but `app`, `cli` and `kafka` knows this feature. `claim` is the way of a claim, `decide` what the host and the
//! condition say about it, `budget` what is left for it, `settle` what it writes, `queue` and `commit` how that is written together with others,
//! `received` what is taken in and decided later, `arrivals` what comes so from elsewhere than HTTP, `line` and `worker` how that is settled in the order of its arrival,
//! `receipt` the proof, `replay` its re-run without a server, `reversal` how a grant is taken back, `grants` what was given and whether it arrived, `told` what others hear of both.

mod arrivals;
mod budget;
mod claim;
mod commit;
mod decide;
mod grants;
mod hints;
mod line;
mod model;
mod queue;
mod receipt;
mod received;
mod replay;
mod reversal;
mod routes;
mod service;
mod settle;
mod store;
mod told;
mod turned_away;
mod usage;
mod worker;

pub use arrivals::{Arrival, NeverTaken};
pub use model::{RewardRequest, Status};
pub use receipt::{EvaluationRecord, Outcome, Receipt, ReversalReceipt, SignedReceipt, SignedReversal, TakenBack};
pub use replay::{Replay, ReplayError, check_seed, replay};
pub use routes::{CODES, router};
pub use service::{IdempotencyKey, RequestError, RequestService};
pub use worker::Worker;
