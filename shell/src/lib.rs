//! What the binaries `hubward` and `spoke` share of their command line. Each describes its settings in one table
//! ([`Program`]); from the table come the variables, the keys of the settings file, the help and the manual.
//!
//! A setting has the value of the strongest place that names it: a flag, then a variable `PREFIX_KEY`, then the
//! settings file (TOML), then its default. [`Program::parse`] finds it and hands it to clap as the argument's default,
//! so that a command reads its own arguments and nothing else.

pub mod answer;
mod arguments;
pub mod completion;
pub mod ready;
mod run;
pub mod settings;
mod sources;
mod usage;

pub use self::arguments::{Parsed, Stop};
pub use self::run::Config;
pub use self::settings::{Form, Program, Setting};
pub use self::sources::{Origin, Resolved, Variables};
