//! The Hubward hub: a library that the binary `hubward` and the trials run.

pub mod access;
pub mod ambient;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod config;
pub mod hub;
pub mod metered;
mod open_files;
pub mod operator;
pub mod place;
pub mod rpc;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod tls;
