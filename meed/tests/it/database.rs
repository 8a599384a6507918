//! What users see of a database that is busy, slow or unusable

mod abandoned;
mod conflicts;
mod files;
mod heavy_users;
mod privileges;
mod plans;
mod read_only;
mod timeouts;
