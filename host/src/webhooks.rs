//! Webhooks: delivers the messages of the outbox over HTTP, to endpoints that operators manage.
//!
//! `relay` runs in the background, `fan_out` and `batch` are its transactions, `deliver` is one attempt over the network,
//! `target` decides which addresses are allowed, `message` makes and signs the CloudEvent. Must not know: what messages are
//! about. The features that write the outbox do not know this one.

mod batch;
mod deliver;
mod fan_out;
mod message;
mod model;
mod redrive;
mod relay;
mod routes;
mod secrets;
mod service;
mod store;
mod target;

pub use model::{Delivery, DeliveryStatus, Endpoint, EndpointState, NewEndpoint};
pub use relay::{DeliveryCount, Relay};
pub use routes::{CODES, router};
pub use secrets::reseal;
pub use service::{WebhookError, WebhookService};
