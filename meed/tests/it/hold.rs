//! One stranger, or one user, attacks a `meed serve` process. While the attack lasts, probes are answered and other users
//! claim; afterwards its memory is free again.

mod bodies;
mod connections;
#[cfg(feature = "grpc")]
mod http2;
mod schemas;
mod target;
