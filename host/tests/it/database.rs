//! A database that does not do what it should: what users see of it

mod read_only;
