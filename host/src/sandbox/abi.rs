//! One adapter per major version of the contract's WIT. Everything else speaks `crate::contract`.

pub(super) mod v1;
