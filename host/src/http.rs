//! What every route shares: extractors, problems as responses, keyset pages, request ids, rate limits, and the layers
//! around the router.
//!
//! Only `routes`, `app` and the extractors of `auth` may use it; what other protocols need is in `problem`, `body` and
//! `correlation`. Must not know: any feature, SQL.

pub mod admin;
pub mod connections;
pub mod extract;
pub mod health;
#[cfg(feature = "grpc")]
mod http2;
pub mod layers;
pub mod limit;
pub mod metrics;
pub mod openapi;
pub mod overload;
pub mod page;
pub mod peer;
pub mod prefer;
pub mod problem;
pub mod receive;
pub mod request_id;
pub mod server;
pub mod server_sent;
mod stream;
#[cfg(feature = "otel")]
mod trace;

pub use crate::problem::{Code, FieldError, Problem};
pub use extract::{Body, IfMatch, Params, Path};
pub use page::{Page, PageParams};
