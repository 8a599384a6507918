//! Background tasks: how the supervisor runs, reports, restarts and stops them, and the lease that they share.

mod lease;
mod supervisor;
