//! The settings of `spoke`, as one table.

use semantics::fault;
use shell::Form;
use shell::settings::{OUTPUTS, Program, Setting};

/// The data folder, when nothing else is said.
pub const DATA: &str = "./spoke-data";
/// Name of the settings file in the data folder.
pub const FILE: &str = "spoke.toml";
/// Longest wait of `spoke sync` without any movement, seconds.
pub const SYNC_TIMEOUT_S_MAX: u64 = 86_400;
/// Sorts of nodes.
pub const TYPES: &[&str] = &["desktop", "cloud", "mobile", "edge", "agent"];

const TEXT: Setting = Setting { key: "", form: Form::Text, default: None, is_secret: false, says: "" };

/// The program `spoke`.
pub const PROGRAM: Program = Program {
    name: "spoke",
    prefix: "SPOKE",
    settings: &[
        Setting { key: "capabilities", form: Form::List, says: "`join`: what the node can do", ..TEXT },
        Setting {
            key: "data",
            form: Form::Path,
            default: Some(DATA),
            says: "folder of the replica; not in the folder's own `spoke.toml`",
            ..TEXT
        },
        Setting {
            key: "domain",
            default: Some("default"),
            says: "`join`: where the node's new records go",
            ..TEXT
        },
        Setting {
            key: "hubs",
            form: Form::List,
            says: "`join`: the hub to join, as `https://HOST:PORT`; several for several gateways of one hub, tried in this order",
            ..TEXT
        },
        Setting {
            key: "log",
            default: Some("info"),
            says: "`run`: what is logged: a level, or levels by module, as `info,spoke=debug`",
            ..TEXT
        },
        Setting { key: "name", says: "`join`: what people call this node", ..TEXT },
        Setting {
            key: "output",
            form: Form::OneOf(OUTPUTS),
            default: Some("table"),
            says: "how answers and errors are printed",
            ..TEXT
        },
        Setting {
            key: "sync_timeout_s",
            form: Form::Number { min: 1, max: SYNC_TIMEOUT_S_MAX, unit: "seconds" },
            default: Some("60"),
            says: "`sync`: give up when nothing has moved for so long",
            ..TEXT
        },
        Setting {
            key: "token",
            is_secret: true,
            says: "`join`: the join token, as `hubward token create` printed it",
            ..TEXT
        },
        Setting { key: "type", form: Form::OneOf(TYPES), says: "`join`: what sort of node it is", ..TEXT },
    ],
    other_variables: &[fault::VARIABLE],
    file_in_data: Some(FILE),
    without_settings: &["completions"],
};
