//! Hubward's trials: what needs more than one crate, or more than one process.

pub mod asked;
pub mod bench;
pub mod chaos;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod crowd;
pub mod disk;
pub mod disputes;
pub mod fleet;
pub mod history;
pub mod member;
pub mod power;
pub mod process;
pub mod proxy;
pub mod settle;
pub mod sim;
pub mod tree;
