//! Write Meed conditions in Rust.
//!
//! A condition decides whether a user is eligible for the rewards of an event. It is three pure functions: they declare
//! the params, list the queries for given params, and decide on the facts. A condition has no clock, no network and no
//! memory of earlier calls, so every decision can be replayed bit for bit.
//!
//! ```
//! use meed_plugin_sdk::prelude::*;
//!
//! /// The params: this comment and those of the fields become descriptions in the JSON Schema.
//! #[derive(Params)]
//! struct Loyal {
//!     /// Days in a row with a login.
//!     #[param(minimum = 1, maximum = 365, example = 7)]
//!     days: u32,
//! }
//!
//! struct LoyalPlayers;
//!
//! impl Condition for LoyalPlayers {
//!     const TITLE: &'static str = "Loyal players";
//!     const DESCRIPTION: &'static str = "The user logged in on consecutive days.";
//!     type Params = Loyal;
//!     type Plan = Query<Streak>;
//!
//!     fn plan(params: &Loyal) -> Query<Streak> {
//!         streak("auth.login").last_days(params.days + 1)
//!     }
//!
//!     fn decide(params: &Loyal, _context: &Context, streak: Streak) -> Decision {
//!         if streak.current >= params.days {
//!             return Decision::eligible();
//!         }
//!         Decision::not_yet("streak-too-short", "Log in on more days in a row.")
//!             .progress("days", streak.current, params.days)
//!     }
//! }
//!
//! meed_plugin_sdk::export!(LoyalPlayers);
//! # fn main() {}
//! ```
//!
//! The facts have the shape of the [`Plan`]: one query gives one fact of its own type, a tuple of queries a tuple of
//! facts, an [`Option`] or [`Vec`] of queries an [`Option`] or [`Vec`] of facts. The compiler finds a mix-up.
//!
//! The name and the version of the plugin are those of its package. Test it with plain `cargo test` and the
//! kit in `testing` (feature `testing`), build it for `wasm32-unknown-unknown`, and upload the file as it is.
#![deny(missing_docs)]

// The derive and the export macro write `::meed_plugin_sdk`, here as in a plugin.
extern crate self as meed_plugin_sdk;

#[cfg(target_arch = "wasm32")]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod condition;
mod context;
mod date;
mod decision;
mod export;
mod json;
pub mod log;
mod params;
mod plan;
mod query;
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub mod testing;

pub use bindings::types::{
    Argument, Award, Awards, Date, Decision, Issue, LocalTime, Outcome, Progress, Reason, RewardInfo as Reward, Streak,
};
pub use condition::{Condition, Translation};
pub use context::{Context, Event, Seed, Timestamp, User, ZoneOffset};
pub use date::Weekday;
pub use meed_plugin_sdk_macros::Params;
pub use params::{Param, Params};
pub use plan::Plan;
pub use query::{Answer, Attribute, Grants, Query, attribute, count, distinct_days, first, grants, last, streak, sum};

/// The names that most rules need.
pub mod prelude {
    pub use crate::{
        Attribute, Condition, Context, Date, Decision, Grants, Issue, Params, Plan, Query, Streak, Timestamp,
        Translation, Weekday, attribute, count, distinct_days, first, grants, last, log, streak, sum,
    };
}

/// Names that the macros' code uses. Not part of the interface: they change without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{Package, Plugin};
    pub use crate::json::{Fault, Reader};
    pub use crate::params::{UNKNOWN, choice, given, member};
}
