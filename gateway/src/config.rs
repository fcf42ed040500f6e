//! What `hubward serve` and `hubward migrate` run with, once it has been checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use semantics::reason::{Reason, Refusal};

use crate::hub::Retention;
use crate::settings::{DATA, LISTEN, OPERATOR_LISTEN};

/// How long a shutdown waits, when nothing else is said, seconds.
const DRAIN_S: u64 = 10;
/// Milliseconds in a day.
const DAY_MS: u64 = 24 * 3_600_000;

/// Settings as somebody gave them; [`crate::settings::PROGRAM`] says what each is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Given {
    /// Plaintext on loopback, and a tenant `default` ready to join.
    #[arg(long)]
    pub dev: bool,
    /// Postgres, as postgres://…; without it the hub keeps everything in one SQLite file in the data folder.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// File that holds the database URL.
    #[arg(long, value_name = "FILE", conflicts_with = "database_url")]
    pub database_url_file: Option<PathBuf>,
    /// Where spokes connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Where operators connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub operator_listen: Option<String>,
    /// Name or address under which spokes reach this hub, besides those it listens on; may be given several times.
    #[arg(id = "hostnames", long = "hostname", value_name = "NAME", value_delimiter = ',')]
    pub hostnames: Vec<String>,
    /// How long a shutdown waits for what is under way, seconds.
    #[arg(long, value_name = "SECONDS")]
    pub drain_s: Option<u64>,
    /// The newest revisions of each tenant that are kept whatever readers have acknowledged.
    #[arg(long, value_name = "REVISIONS")]
    pub retention_revisions_min: Option<u64>,
    /// A writer silent for longer holds history back no more, days.
    #[arg(long, value_name = "DAYS")]
    pub writer_expiry_days: Option<u64>,
    /// What is logged: a level, or levels by module.
    #[arg(long, value_name = "LEVELS")]
    pub log: Option<String>,
    /// The data folder; a flag of its own on the command line.
    #[arg(skip)]
    pub data: Option<PathBuf>,
}

/// Settings that have been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether plaintext is spoken.
    pub dev: bool,
    /// Where the tenants are kept.
    pub store: StoreAt,
    /// Where spokes connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub operator_listen: SocketAddr,
    /// More names of this hub.
    pub hostnames: Vec<String>,
    /// How long a shutdown waits for what is under way.
    pub drain_within: Duration,
    /// What of the past is kept.
    pub retention: Retention,
    /// The data folder.
    pub data: PathBuf,
}

/// A place for tenants.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAt {
    /// In this process, gone with it: for trying things out, in dev mode only.
    Memory,
    /// One file in the data folder.
    Folder,
    /// Postgres at this URL.
    Postgres(String),
}

impl std::fmt::Debug for StoreAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::Folder => "Folder",
            Self::Postgres(_) => "Postgres",
        })
    }
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Malformed, detail)
}

impl Given {
    /// Checks them.
    ///
    /// # Errors
    /// MALFORMED, naming the setting.
    pub fn check(self) -> Result<Config, Refusal> {
        let store = match self.database_url {
            None => StoreAt::Folder,
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                StoreAt::Postgres(url)
            }
            Some(url) if url == "memory:" && self.dev => StoreAt::Memory,
            Some(_) => return Err(malformed("database_url: must start with postgres://")),
        };
        let listen = address("listen", self.listen.as_deref().unwrap_or(LISTEN))?;
        let operator_listen =
            address("operator_listen", self.operator_listen.as_deref().unwrap_or(OPERATOR_LISTEN))?;
        for (name, address) in [("listen", listen), ("operator_listen", operator_listen)] {
            if self.dev && !address.ip().is_loopback() {
                let detail =
                    format!("{name}: dev mode speaks plaintext, and {address} is not a loopback address");
                return Err(malformed(detail));
            }
        }
        let usual = Retention::default();
        let retention = Retention {
            revisions_min: self.retention_revisions_min.unwrap_or(usual.revisions_min),
            expiry_ms: self.writer_expiry_days.map_or(usual.expiry_ms, |days| days.saturating_mul(DAY_MS)),
        };
        Ok(Config {
            dev: self.dev,
            store,
            listen,
            operator_listen,
            hostnames: self.hostnames,
            drain_within: Duration::from_secs(self.drain_s.unwrap_or(DRAIN_S)),
            retention,
            data: self.data.unwrap_or_else(|| PathBuf::from(DATA)),
        })
    }
}

fn address(name: &str, text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| malformed(format!("{name}: {text:?} is no ADDRESS:PORT")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PROGRAM;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn defaults_fill_what_nobody_said() {
        let config = Given::default().check().unwrap();
        assert_eq!(config.listen.to_string(), LISTEN);
        assert_eq!(config.operator_listen.to_string(), OPERATOR_LISTEN);
        assert_eq!((config.dev, config.store), (false, StoreAt::Folder));
    }

    #[test]
    fn the_table_of_settings_and_the_code_have_the_same_defaults() {
        let number = |key: &str| PROGRAM.setting(key).unwrap().default.unwrap().parse::<u64>().unwrap();
        let config = Given::default().check().unwrap();
        assert_eq!(config.drain_within, Duration::from_secs(number("drain_s")));
        assert_eq!(config.retention.revisions_min, number("retention_revisions_min"));
        assert_eq!(config.retention.expiry_ms, number("writer_expiry_days") * DAY_MS);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        let usual = Given::default;
        for (given, name) in [
            (Given { listen: text("here"), ..usual() }, "listen"),
            (Given { database_url: text("mysql://x"), ..usual() }, "database_url"),
            (Given { database_url: text("memory:"), ..usual() }, "database_url"),
            (Given { dev: true, listen: text("0.0.0.0:7420"), ..usual() }, "listen"),
        ] {
            let refusal = given.check().unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed);
            assert!(refusal.detail.starts_with(name), "{}", refusal.detail);
        }
    }
}
