//! Rewards (points, items, coupons), their stock and their codes.
//!
//! Must not know: events or claims, which depend on rewards.

mod codes;
mod error;
mod generations;
mod liability;
mod routes;
mod service;
mod store;

pub use codes::{Codes, ImportedCodes, RewardCode, reseal};
pub use error::RewardError;
pub use liability::{Bounds, Liability, in_words};
pub use routes::{CODES, router};
pub use service::{NewReward, Reward, RewardService, StockVersion, Taking, offered};
