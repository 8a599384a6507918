//! What this process remembers about answers, so that it can repeat them without the database.

mod granted;
mod sold_out;

pub(super) use granted::GrantedCache;
pub(super) use sold_out::SoldOutCache;
