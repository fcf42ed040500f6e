//! The settings of `hubward`, as one table.

use semantics::fault;
use shell::Form;
use shell::settings::{OUTPUTS, Program, Setting};

/// Where spokes connect, when nothing else is said.
pub const LISTEN: &str = "127.0.0.1:7420";
/// Where operators connect, when nothing else is said.
pub const OPERATOR_LISTEN: &str = "127.0.0.1:7421";
/// The data folder, when nothing else is said.
pub const DATA: &str = "./hubward-data";
/// Longest drain, seconds.
pub const DRAIN_S_MAX: u64 = 300;
/// Most revisions that can be asked to be kept.
pub const RETENTION_REVISIONS_MAX: u64 = 1_000_000_000_000;
/// Longest silence that can be borne of a writer, days.
pub const WRITER_EXPIRY_DAYS_MAX: u64 = 3_650;

const TEXT: Setting = Setting { key: "", form: Form::Text, default: None, is_secret: false, says: "" };

/// The program `hubward`.
pub const PROGRAM: Program = Program {
    name: "hubward",
    prefix: "HUBWARD",
    settings: &[
        Setting {
            key: "ca",
            form: Form::Path,
            says: "file of the CA certificate of the hub that `hub` names; without it the one in the data folder",
            ..TEXT
        },
        Setting {
            key: "data",
            form: Form::Path,
            default: Some(DATA),
            says: "folder of the hub's files; operator commands find the local hub and its credential there",
            ..TEXT
        },
        Setting {
            key: "database_url",
            is_secret: true,
            says: "Postgres, as `postgres://…`; without it one SQLite file in the data folder; in dev mode also `memory:`",
            ..TEXT
        },
        Setting {
            key: "dev",
            form: Form::Switch,
            default: Some("false"),
            says: "plaintext on loopback, and a tenant `default` ready to join",
            ..TEXT
        },
        Setting {
            key: "drain_s",
            form: Form::Number { min: 1, max: DRAIN_S_MAX, unit: "seconds" },
            default: Some("10"),
            says: "how long a shutdown waits for what is under way",
            ..TEXT
        },
        Setting {
            key: "hostnames",
            form: Form::List,
            says: "names or addresses under which spokes reach this hub, besides those it listens on",
            ..TEXT
        },
        Setting {
            key: "hub",
            says: "a hub elsewhere for operator commands, as `https://HOST:PORT` of its operator listener",
            ..TEXT
        },
        Setting {
            key: "listen",
            default: Some(LISTEN),
            says: "address and port where spokes connect; port 0 takes a free one",
            ..TEXT
        },
        Setting {
            key: "log",
            default: Some("info"),
            says: "what is logged: a level, or levels by module, as `info,gateway=debug`",
            ..TEXT
        },
        Setting {
            key: "operator_listen",
            default: Some(OPERATOR_LISTEN),
            says: "address and port where operators and probes connect; port 0 takes a free one",
            ..TEXT
        },
        Setting {
            key: "output",
            form: Form::OneOf(OUTPUTS),
            default: Some("table"),
            says: "how answers and errors are printed",
            ..TEXT
        },
        Setting {
            key: "retention_revisions_min",
            form: Form::Number { min: 1, max: RETENTION_REVISIONS_MAX, unit: "revisions" },
            default: Some("10000"),
            says: "the newest revisions of each tenant that are kept whatever readers have acknowledged",
            ..TEXT
        },
        Setting {
            key: "tenant",
            default: Some("default"),
            says: "the tenant that operator commands speak of",
            ..TEXT
        },
        Setting {
            key: "token",
            is_secret: true,
            says: "the operator credential for the hub that `hub` names; without it the one in the data folder",
            ..TEXT
        },
        Setting {
            key: "writer_expiry_days",
            form: Form::Number { min: 1, max: WRITER_EXPIRY_DAYS_MAX, unit: "days" },
            default: Some("30"),
            says: "a writer silent for longer holds history back no more, and starts from an empty replica when it returns",
            ..TEXT
        },
    ],
    other_variables: &[fault::VARIABLE],
    file_in_data: None,
    without_settings: &["completions"],
};
