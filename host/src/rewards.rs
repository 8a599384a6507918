//! What is given: points, items, coupons, and how many there are.
//!
//! Must not know: events or requests (they know rewards).

mod routes;
mod service;
mod store;

pub use routes::{CODES, router};
pub use service::{NewReward, Reward, RewardError, RewardService, Supply};
