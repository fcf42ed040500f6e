//! The cases of `engine.rs` on a replica in a file.

#[path = "engine.rs"]
mod cases;
