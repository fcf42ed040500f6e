//! What the tests of stores and of the hub share. The same cases run on every engine.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part")]

pub mod ambient;
pub mod audit;
pub mod author;
pub mod engine;
pub mod faults;
pub mod postgres;
pub mod reader;
pub mod rows;
pub mod world;
