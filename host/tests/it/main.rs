//! Every integration test, in one binary.

mod guests;
mod sandbox;
