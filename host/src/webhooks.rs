//! Telling others over HTTP what is in the outbox: endpoints that operators manage, and deliveries until they are taken.
//!
//! `relay` is what runs, `queue` the transactions that hand messages on, `deliver` one attempt over the network, `target`
//! where it may go, `message` what is sent and how it is signed. Must not know: what messages are about; whoever writes the
//! outbox does not know this feature.

mod deliver;
mod message;
mod model;
mod queue;
mod redrive;
mod relay;
mod routes;
mod service;
mod store;
mod target;

pub use model::{Delivery, DeliveryStatus, Endpoint, EndpointState, NewEndpoint};
pub use relay::Relay;
pub use routes::{CODES, router};
pub use service::{WebhookError, WebhookService};
