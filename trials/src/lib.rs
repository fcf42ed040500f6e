//! trials

pub mod sim;
pub mod tree;
