//! Settings of `spoke`: flags, then variables SPOKE_…, then the settings file, then defaults.
//!
//! The settings file is `spoke.toml` in the data folder, where there is one, or the file that `--config` names. A
//! key that is not known is refused with the nearest known one.

mod check;
mod file;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use semantics::identity::cadence::{self, Cadence};
use semantics::ids::Domain;
use semantics::reason::{Reason, Refusal};
use semantics::schedule::{self, Mode, Schedule};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

pub use self::file::secret;

/// The data folder, when nothing else is said.
pub const DATA: &str = "./spoke-data";
/// The settings file in a data folder.
pub const FILE: &str = "spoke.toml";
/// The keys of a settings file.
pub const KEYS: [&str; 17] = [
    "batch_changes",
    "batch_wait_s",
    "capabilities",
    "compression",
    "data",
    "domain",
    "every_s",
    "hubs",
    "identity_every_interactions",
    "identity_every_s",
    "identity_soon_interactions",
    "metrics_listen",
    "name",
    "schedule",
    "token",
    "token_file",
    "type",
];
/// The key whose value is never shown.
const SECRET: &str = "token";
/// Most hubs a spoke may know.
pub const HUBS_MAX: usize = 16;
/// Milliseconds in a second.
const SECOND_MS: u64 = 1000;

/// Where the hub is.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Hubs {
    /// A hub's URL; several for several gateways of one hub, in the order in which they are tried. Once joined, they
    /// stand for the ones joined with.
    #[arg(long = "hub", env = "SPOKE_HUBS", value_name = "URL", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hubs: Vec<String>,
}

/// What a join needs to know.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Joining {
    /// Join token, as `hubward token create` printed it.
    #[arg(long, env = "SPOKE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File that holds the join token; a command line is seen by every user of the machine, a file is not.
    #[arg(long, env = "SPOKE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What people call this node.
    #[arg(long, env = "SPOKE_NAME")]
    pub name: Option<String>,
    /// What sort of node it is.
    #[arg(id = "type", long = "type", env = "SPOKE_TYPE", value_enum)]
    #[serde(rename = "type")]
    pub node_type: Option<NodeType>,
    /// Where its new records go [default: default].
    #[arg(long, env = "SPOKE_DOMAIN")]
    pub domain: Option<String>,
    /// Something it can do; may be given several times.
    #[arg(long = "capability", env = "SPOKE_CAPABILITIES", value_name = "NAME", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// When and how the daemon syncs, and where it tells what that came to.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Syncing {
    /// What makes the daemon sync [default: on_event].
    #[arg(long, env = "SPOKE_SCHEDULE", value_parser = ["on_event", "batch", "periodic", "on_demand"])]
    pub schedule: Option<String>,
    /// Seconds between two rounds of the schedules periodic and batch [default: 300].
    #[arg(long, env = "SPOKE_EVERY_S", value_name = "SECONDS")]
    pub every_s: Option<u64>,
    /// Waiting changes that begin a round of the schedule batch at once [default: 100].
    #[arg(long, env = "SPOKE_BATCH_CHANGES", value_name = "N")]
    pub batch_changes: Option<u64>,
    /// Longest time a change waits for others in the schedule batch, seconds [default: 60].
    #[arg(long, env = "SPOKE_BATCH_WAIT_S", value_name = "SECONDS")]
    pub batch_wait_s: Option<u64>,
    /// Interactions of an agent after which its state is shared [default: 100].
    #[arg(long, env = "SPOKE_IDENTITY_EVERY_INTERACTIONS", value_name = "N")]
    pub identity_every_interactions: Option<u64>,
    /// Longest time between two states of an agent that are shared, seconds [default: 3600].
    #[arg(long, env = "SPOKE_IDENTITY_EVERY_S", value_name = "SECONDS")]
    pub identity_every_s: Option<u64>,
    /// Interactions within which a state is shared that worsened, recovered or has another context [default: 5].
    #[arg(long, env = "SPOKE_IDENTITY_SOON_INTERACTIONS", value_name = "N")]
    pub identity_soon_interactions: Option<u64>,
    /// Where the daemon serves its counters as /metrics: a loopback ADDRESS:PORT [default: nowhere].
    #[arg(long, env = "SPOKE_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,
    /// How messages are compressed on the way [default: zstd].
    #[arg(long, env = "SPOKE_COMPRESSION", value_enum)]
    pub compression: Option<Compression>,
}

/// All of them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct All {
    /// Where the hub is.
    #[command(flatten)]
    pub hubs: Hubs,
    /// What a join needs.
    #[command(flatten)]
    pub joining: Joining,
    /// When the daemon syncs.
    #[command(flatten)]
    pub syncing: Syncing,
}

/// Sorts of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    /// Somebody's desk.
    Desktop,
    /// A server.
    Cloud,
    /// A phone or tablet.
    Mobile,
    /// A machine at the edge of the network.
    Edge,
    /// A program that acts for somebody.
    Agent,
}

impl NodeType {
    /// Lower-case name, as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Cloud => "cloud",
            Self::Mobile => "mobile",
            Self::Edge => "edge",
            Self::Agent => "agent",
        }
    }
}

/// How messages are compressed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard.
    #[default]
    Zstd,
    /// For hubs behind something that knows no zstd.
    Gzip,
    /// Not at all.
    None,
}

/// Settings from everywhere, not yet checked.
#[derive(Debug, Clone)]
pub struct Settings {
    given: Table,
    file: Table,
    path: Option<PathBuf>,
}

/// What a join was told, checked.
#[derive(Debug, Clone)]
pub struct Join {
    /// Hubs, at least one.
    pub hubs: Vec<String>,
    /// The join token.
    pub token: String,
    /// The node's name.
    pub name: String,
    /// Its type.
    pub node_type: NodeType,
    /// Where its new records go.
    pub domain: Domain,
    /// What it can do.
    pub capabilities: Vec<String>,
}

/// How the hubs are reached, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Instead of the hubs joined with; empty = those.
    pub hubs: Vec<String>,
    /// How messages are compressed.
    pub compression: Compression,
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Malformed, detail)
}

impl Settings {
    /// The settings of a data folder, or of the file that `config` names.
    ///
    /// # Errors
    /// `MALFORMED`, `TOO_LARGE` or `NOT_FOUND`, naming the file.
    pub fn gather(data: Option<&Path>, config: Option<&Path>) -> Result<Self, Refusal> {
        let mut given = Table::new();
        if let Some(data) = data {
            given.insert("data".to_owned(), data.display().to_string().into());
        }
        if let Some(path) = config {
            return Ok(Self { given, file: file::read(path)?, path: Some(path.to_owned()) });
        }
        let path = data.unwrap_or(Path::new(DATA)).join(FILE);
        if !path.exists() {
            return Ok(Self { given, file: Table::new(), path: None });
        }
        let file = file::read(&path)?;
        if file.contains_key("data") {
            let detail = format!("{}: data: a folder's own file cannot name another", path.display());
            return Err(malformed(detail));
        }
        Ok(Self { given, file, path: Some(path) })
    }

    /// With what the command line and the variables say.
    ///
    /// # Errors
    /// `INTERNAL` when it cannot be written as TOML.
    pub fn with(mut self, given: &impl Serialize) -> Result<Self, Refusal> {
        let more = Table::try_from(given).map_err(|e| Refusal::new(Reason::Internal, e.to_string()))?;
        self.given.extend(more);
        // A secret and its file are one setting: whoever names one of them names it.
        if ["token", "token_file"].iter().any(|key| self.given.contains_key(*key)) {
            self.file.remove("token");
            self.file.remove("token_file");
        }
        Ok(self)
    }

    /// The settings file, where one was read.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// A setting as it was said, and whether the file said it.
    #[must_use]
    pub fn said(&self, key: &str) -> Option<(&toml::Value, bool)> {
        let given = self.given.get(key).map(|value| (value, false));
        given.or_else(|| self.file.get(key).map(|value| (value, true)))
    }

    /// A setting as it may be shown.
    #[must_use]
    pub fn shown(&self, key: &str) -> serde_json::Value {
        if key == SECRET {
            return self.said(key).map_or(serde_json::Value::Null, |_| "(redacted)".into());
        }
        let said = self.said(key).and_then(|(value, _)| serde_json::to_value(value).ok());
        let said = if key == "hubs" { said.map(without_users) } else { said };
        said.unwrap_or_else(|| match key {
            "batch_changes" => schedule::BATCH_CHANGES.into(),
            "batch_wait_s" => (schedule::BATCH_WAIT_MS / SECOND_MS).into(),
            "capabilities" => serde_json::Value::Array(Vec::new()),
            "compression" => "zstd".into(),
            "data" => DATA.into(),
            "domain" => Domain::default_domain().to_string().into(),
            "every_s" => (schedule::EVERY_MS / SECOND_MS).into(),
            "identity_every_interactions" => cadence::EVERY_INTERACTIONS.into(),
            "identity_every_s" => (cadence::EVERY_MS / SECOND_MS).into(),
            "identity_soon_interactions" => cadence::SOON_INTERACTIONS.into(),
            "schedule" => "on_event".into(),
            _ => serde_json::Value::Null,
        })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let mut all = self.file.clone();
        all.extend(self.given.clone());
        all.try_into().map_err(|e: toml::de::Error| malformed(e.message()))
    }

    /// The data folder, if it is one or can be made.
    ///
    /// # Errors
    /// `MALFORMED`.
    pub fn folder(&self) -> Result<PathBuf, Refusal> {
        let data = self.data();
        check::data_folder(&data)?;
        Ok(data)
    }

    /// The data folder as it was said.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        let said = self.said("data").and_then(|(value, _)| value.as_str());
        PathBuf::from(said.unwrap_or(DATA))
    }

    /// How the hubs are reached.
    ///
    /// # Errors
    /// `MALFORMED`, naming the setting.
    pub fn reach(&self) -> Result<Reach, Refusal> {
        let Hubs { hubs } = self.read()?;
        let Syncing { compression, .. } = self.read()?;
        if hubs.len() > HUBS_MAX {
            return Err(malformed(format!("hubs: {} of them, at most {HUBS_MAX}", hubs.len())));
        }
        hubs.iter().try_for_each(|url| check::hub_url(url))?;
        Ok(Reach { hubs, compression: compression.unwrap_or_default() })
    }

    /// When the daemon syncs.
    ///
    /// # Errors
    /// `MALFORMED`, naming the setting.
    pub fn schedule(&self) -> Result<Schedule, Refusal> {
        let said: Syncing = self.read()?;
        let mode = match said.schedule {
            None => Mode::default(),
            Some(name) => toml::Value::String(name.clone()).try_into().map_err(|_| {
                malformed(format!("schedule: {name:?} is none of on_event, batch, periodic, on_demand"))
            })?,
        };
        Ok(Schedule {
            mode,
            every_ms: seconds("every_s", said.every_s, schedule::EVERY_MS, schedule::EVERY_MS_MAX)?,
            batch_changes: within(
                "batch_changes",
                said.batch_changes,
                schedule::BATCH_CHANGES,
                schedule::BATCH_CHANGES_MAX,
            )?,
            batch_wait_ms: seconds(
                "batch_wait_s",
                said.batch_wait_s,
                schedule::BATCH_WAIT_MS,
                schedule::BATCH_WAIT_MS_MAX,
            )?,
        })
    }

    /// How often states of identities are shared.
    ///
    /// # Errors
    /// `MALFORMED`, naming the setting.
    pub fn cadence(&self) -> Result<Cadence, Refusal> {
        const EVERY: &str = "identity_every_interactions";
        let said: Syncing = self.read()?;
        let most = cadence::EVERY_INTERACTIONS_MAX;
        let every = within(EVERY, said.identity_every_interactions, cadence::EVERY_INTERACTIONS, most)?;
        // Of a few interactions between two states, none is left to be later than.
        let soon = cadence::SOON_INTERACTIONS.min(every);
        Ok(Cadence {
            every_interactions: every,
            every_ms: seconds(
                "identity_every_s",
                said.identity_every_s,
                cadence::EVERY_MS,
                cadence::EVERY_MS_MAX,
            )?,
            soon_interactions: within(
                "identity_soon_interactions",
                said.identity_soon_interactions,
                soon,
                every,
            )?,
        })
    }

    /// Where the daemon serves its counters; `None` = nowhere.
    ///
    /// # Errors
    /// `MALFORMED`, naming the setting.
    pub fn metrics(&self) -> Result<Option<SocketAddr>, Refusal> {
        let said: Syncing = self.read()?;
        let Some(text) = said.metrics_listen else { return Ok(None) };
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
        let none = || malformed(format!("metrics_listen: {text:?} is no ADDRESS:PORT on loopback"));
        address.ok_or_else(none).map(Some)
    }

    /// What a join needs.
    ///
    /// # Errors
    /// `MALFORMED`, naming the setting; `NOT_FOUND` when the token's file cannot be read.
    pub fn join(&self) -> Result<Join, Refusal> {
        check::data_folder(&self.data())?;
        let hubs = self.reach()?.hubs;
        if hubs.is_empty() {
            return Err(missing("hubs", "--hub", "SPOKE_HUBS"));
        }
        let (said, domain) = self.joining()?;
        Ok(Join {
            hubs,
            domain,
            token: said.token.ok_or_else(|| missing("token_file", "--token-file", "SPOKE_TOKEN_FILE"))?,
            name: said.name.ok_or_else(|| missing("name", "--name", "SPOKE_NAME"))?,
            node_type: said.node_type.ok_or_else(|| missing("type", "--type", "SPOKE_TYPE"))?,
            capabilities: said.capabilities,
        })
    }

    /// What was said for a join, the token read from its file.
    fn joining(&self) -> Result<(Joining, Domain), Refusal> {
        let mut said: Joining = self.read()?;
        let domain = match said.domain.take() {
            None => Domain::default_domain(),
            Some(domain) => Domain::new(domain).map_err(|e| malformed(format!("domain: {e}")))?,
        };
        said.token = match (said.token, said.token_file.take()) {
            (Some(_), Some(_)) => {
                return Err(malformed("token and token_file are both given: give one of them"));
            }
            (None, Some(path)) => Some(secret("token_file", &path)?),
            (token, None) => token,
        };
        Ok((said, domain))
    }

    /// Checks what was said; what a join alone needs may be absent.
    ///
    /// # Errors
    /// `MALFORMED` or `JOIN_TOKEN_INVALID`, naming the setting; `NOT_FOUND` when the token's file cannot be read.
    pub fn check(&self) -> Result<(), Refusal> {
        check::data_folder(&self.data())?;
        self.reach()?;
        self.schedule()?;
        self.cadence()?;
        self.metrics()?;
        let (said, _) = self.joining()?;
        said.token.as_deref().map_or(Ok(()), check::token)
    }
}

/// A number within its bound.
fn within(name: &str, said: Option<u64>, default: u64, most: u64) -> Result<u64, Refusal> {
    match said {
        None => Ok(default),
        Some(number) if (1..=most).contains(&number) => Ok(number),
        Some(number) => Err(malformed(format!("{name}: {number} is not in 1 to {most}"))),
    }
}

/// The same, said in seconds; gives milliseconds.
fn seconds(name: &str, said: Option<u64>, default_ms: u64, most_ms: u64) -> Result<u64, Refusal> {
    within(name, said, default_ms / SECOND_MS, most_ms / SECOND_MS).map(|seconds| seconds * SECOND_MS)
}

/// URLs as they may be shown. Whoever put a password into one is told so by the check.
fn without_users(mut hubs: serde_json::Value) -> serde_json::Value {
    for url in hubs.as_array_mut().into_iter().flatten() {
        if url.as_str().is_some_and(|url| url.contains('@')) {
            *url = "(redacted)".into();
        }
    }
    hubs
}

fn missing(key: &str, flag: &str, variable: &str) -> Refusal {
    malformed(format!("{key}: give {flag}, {variable} or {key} in the settings file"))
}

#[cfg(test)]
mod tests;
