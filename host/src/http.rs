//! What every route shares: problems (RFC 9457), extractors that refuse bad input with one, keyset pages, request ids,
//! rate limits and the layers around the router.
//!
//! Must not know: any feature, the database.

pub mod extract;
pub mod health;
pub mod layers;
pub mod limit;
pub mod metrics;
pub mod openapi;
pub mod overload;
pub mod page;
pub mod peer;
pub mod problem;
pub mod request_id;
pub mod server;
#[cfg(feature = "otel")]
mod trace;

pub use extract::{Body, IfMatch, Params, Path};
pub use page::{Page, PageParams};
pub use problem::{Code, FieldError, Problem};
