//! What users see of a database that is busy, slow or unusable

mod abandoned;
mod conflicts;
mod files;
mod heavy_users;
mod plans;
mod privileges;
mod read_only;
mod rejections;
mod schema;
mod sealed;
pub mod statements;
mod timeouts;
