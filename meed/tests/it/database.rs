//! What users see of a database that is busy, slow or unusable

mod abandoned;
mod conflicts;
mod heavy_users;
mod plans;
mod read_only;
mod timeouts;
