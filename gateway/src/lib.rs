//! The Hubward hub: a library that the binary `hubward` and the trials run.

pub mod ambient;
pub mod hub;
pub mod store;
