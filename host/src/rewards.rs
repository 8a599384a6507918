//! Rewards (points, items, coupons) and their stock.
//!
//! Must not know: events or claims, which depend on rewards.

mod generations;
mod routes;
mod service;
mod store;

pub use routes::{CODES, router};
pub use service::{NewReward, Reward, RewardError, RewardService, StockVersion};
