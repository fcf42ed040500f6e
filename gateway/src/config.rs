//! Settings of `hubward serve` and `hubward migrate`: flags, then environment, then file, then defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use semantics::reason::{Reason, Refusal};
use serde::Deserialize;

mod check;
mod file;
mod quotas;
mod resolver;

pub(crate) use self::check::data_folder;
pub use self::check::variables;
pub use self::file::secret;
pub use self::quotas::{MUTATIONS_PER_S_MAX, NODE_MUTATIONS_PER_S, Quotas, TENANT_MUTATIONS_PER_S};
pub use self::resolver::{
    RESOLVER_PER_MINUTE, RESOLVER_PER_MINUTE_MAX, RESOLVER_TIMEOUT_MS, RESOLVER_TIMEOUT_MS_BOUNDS, ResolverAt,
};

/// Where spokes connect, when nothing else is said.
pub const LISTEN: &str = "127.0.0.1:7420";
/// Where operators connect, when nothing else is said.
pub const OPERATOR_LISTEN: &str = "127.0.0.1:7421";
/// The data folder, when nothing else is said.
pub const DATA: &str = "./hubward-data";
/// The keys of a settings file.
pub const KEYS: [&str; 15] = [
    "data",
    "database_url",
    "database_url_file",
    "dev",
    "drain_lead_s",
    "hostnames",
    "listen",
    "metrics_tenant_labels",
    "node_mutations_per_s",
    "operator_listen",
    "resolver",
    "resolver_ca_file",
    "resolver_per_minute",
    "resolver_timeout_ms",
    "tenant_mutations_per_s",
];
/// Longest time between saying "not ready" and the drain, seconds.
pub const DRAIN_LEAD_S_MAX: u64 = 300;

/// Settings as somebody gave them: a flag, a variable HUBWARD_…, or a key of the settings file.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// Plaintext on loopback, and a tenant `default` ready to join.
    #[arg(long)]
    pub dev: bool,
    /// Postgres, as postgres://…; without it the hub keeps everything in one SQLite file in the data folder.
    #[arg(long, env = "HUBWARD_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// File that holds the database URL; a command line is seen by every user of the machine, a file is not.
    #[arg(long, env = "HUBWARD_DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Seconds between the moment when /readyz says "draining" and the drain itself, 0 to 300 [default: 0]: the time
    /// in which a load balancer notices.
    #[arg(long, env = "HUBWARD_DRAIN_LEAD_S", value_name = "SECONDS")]
    pub drain_lead_s: Option<u64>,
    /// Where spokes connect [default: 127.0.0.1:7420]; port 0 takes a free one.
    #[arg(long, env = "HUBWARD_LISTEN")]
    pub listen: Option<String>,
    /// Whether /metrics, which asks for no credential, names tenants [default: true]; false leaves their heads and
    /// nodes out.
    #[arg(long, env = "HUBWARD_METRICS_TENANT_LABELS", value_name = "true|false")]
    pub metrics_tenant_labels: Option<bool>,
    /// Most mutations a second that one node may push, 1 to 1000000 [default: 50000]; twice as many at once after a
    /// pause.
    #[arg(long, env = "HUBWARD_NODE_MUTATIONS_PER_S", value_name = "NUMBER")]
    pub node_mutations_per_s: Option<u32>,
    /// Where operators connect [default: 127.0.0.1:7421].
    #[arg(long, env = "HUBWARD_OPERATOR_LISTEN")]
    pub operator_listen: Option<String>,
    /// Program that conflicts of kinds with the policy `resolver` are put to, as https://HOST:PORT, or http:// on this
    /// machine; without it they wait for a person.
    #[arg(long, env = "HUBWARD_RESOLVER", value_name = "URL")]
    pub resolver: Option<String>,
    /// PEM file of the authority that the resolver's certificate is under; needed with https.
    #[arg(long, env = "HUBWARD_RESOLVER_CA_FILE", value_name = "FILE")]
    pub resolver_ca_file: Option<PathBuf>,
    /// Most conflicts about which the resolver is asked in any minute, 1 to 6000 [default: 60]; the others wait.
    #[arg(long, env = "HUBWARD_RESOLVER_PER_MINUTE", value_name = "NUMBER")]
    pub resolver_per_minute: Option<u32>,
    /// Milliseconds that an answer of the resolver is waited for, 10 to 60000 [default: 2000].
    #[arg(long, env = "HUBWARD_RESOLVER_TIMEOUT_MS", value_name = "MILLISECONDS")]
    pub resolver_timeout_ms: Option<u64>,
    /// Most mutations a second that all nodes of one tenant may push on this gateway, 1 to 1000000 [default: 100000];
    /// twice as many at once after a pause.
    #[arg(long, env = "HUBWARD_TENANT_MUTATIONS_PER_S", value_name = "NUMBER")]
    pub tenant_mutations_per_s: Option<u32>,
    /// Names or addresses under which spokes reach this hub, besides those it listens on.
    #[arg(long = "hostname", env = "HUBWARD_HOSTNAMES", value_delimiter = ',')]
    pub hostnames: Vec<String>,
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
    /// The data folder.
    pub data: PathBuf,
    /// Between "not ready" and the drain.
    pub drain_lead: Duration,
    /// Whether /metrics names tenants.
    pub metrics_tenant_labels: bool,
    /// How much may be pushed.
    pub quotas: Quotas,
    /// The program that conflicts are put to.
    pub resolver: Option<ResolverAt>,
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
    /// Whether a name of this hub is among them. A variable that is set and empty, as containers have it, comes as one
    /// empty name, and says nothing.
    pub(crate) fn names_hosts(&self) -> bool {
        self.hostnames.iter().any(|name| !name.is_empty())
    }

    /// These settings, and where they say nothing, those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        // A secret and its file are one setting: whoever names one of them names it.
        let is_said = self.database_url.is_some() || self.database_url_file.is_some();
        let said: Vec<String> = self.hostnames.into_iter().filter(|name| !name.is_empty()).collect();
        Self {
            dev: self.dev || other.dev,
            database_url: if is_said { self.database_url } else { other.database_url },
            database_url_file: if is_said { self.database_url_file } else { other.database_url_file },
            drain_lead_s: self.drain_lead_s.or(other.drain_lead_s),
            listen: self.listen.or(other.listen),
            metrics_tenant_labels: self.metrics_tenant_labels.or(other.metrics_tenant_labels),
            node_mutations_per_s: self.node_mutations_per_s.or(other.node_mutations_per_s),
            operator_listen: self.operator_listen.or(other.operator_listen),
            // A variable that is set and empty says nothing.
            resolver: self.resolver.filter(|url| !url.is_empty()).or(other.resolver),
            resolver_ca_file: self
                .resolver_ca_file
                .filter(|path| !path.as_os_str().is_empty())
                .or(other.resolver_ca_file),
            resolver_per_minute: self.resolver_per_minute.or(other.resolver_per_minute),
            resolver_timeout_ms: self.resolver_timeout_ms.or(other.resolver_timeout_ms),
            tenant_mutations_per_s: self.tenant_mutations_per_s.or(other.tenant_mutations_per_s),
            hostnames: if said.is_empty() { other.hostnames } else { said },
            data: self.data.or(other.data),
        }
    }

    /// Checks them.
    ///
    /// # Errors
    /// MALFORMED, naming the setting.
    pub fn check(self) -> Result<Config, Refusal> {
        let (resolver, quotas) = (self.resolver_at()?, self.quotas()?);
        let database_url = match (self.database_url, self.database_url_file) {
            (Some(_), Some(_)) => {
                return Err(malformed("database_url and database_url_file are both given: give one of them"));
            }
            (None, Some(path)) => Some(secret("database_url_file", &path)?),
            (url, None) => url,
        };
        let store = match database_url {
            None => StoreAt::Folder,
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                // The URL is not repeated: it may hold a password.
                crate::store::postgres::check_url(&url)
                    .map_err(|detail| malformed(format!("database_url: {detail}")))?;
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
        check::apart(listen, operator_listen)?;
        self.hostnames.iter().try_for_each(|name| check::hostname(name))?;
        let data = self.data.unwrap_or_else(|| PathBuf::from(DATA));
        data_folder(&data)?;
        let lead_s = self.drain_lead_s.unwrap_or(0);
        if lead_s > DRAIN_LEAD_S_MAX {
            return Err(malformed(format!("drain_lead_s: {lead_s} is more than {DRAIN_LEAD_S_MAX} seconds")));
        }
        let (hostnames, drain_lead) = (self.hostnames, Duration::from_secs(lead_s));
        let metrics_tenant_labels = self.metrics_tenant_labels.unwrap_or(true);
        Ok(Config {
            dev: self.dev,
            store,
            listen,
            operator_listen,
            hostnames,
            data,
            drain_lead,
            metrics_tenant_labels,
            quotas,
            resolver,
        })
    }
}

fn address(name: &str, text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| malformed(format!("{name}: {text:?} is no ADDRESS:PORT")))
}

#[cfg(test)]
mod tests {
    use super::file::SECRET_BYTES_MAX;
    use super::*;

    fn given(text: &str) -> Given {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults_fill_what_nobody_said() {
        let config = Given::default().check().unwrap();
        assert_eq!(config.listen.to_string(), LISTEN);
        assert_eq!(config.operator_listen.to_string(), OPERATOR_LISTEN);
        assert_eq!((config.dev, config.store), (false, StoreAt::Folder));
        assert!(config.metrics_tenant_labels);
    }

    #[test]
    fn what_was_said_first_wins() {
        let flags = given("listen = '127.0.0.1:1'");
        let file = given("listen = '127.0.0.1:2'\noperator_listen = '127.0.0.1:3'\ndata = 'd'");
        let config = flags.or(file).check().unwrap();
        let silent = given("metrics_tenant_labels = false").or(given("metrics_tenant_labels = true"));
        assert!(!silent.check().unwrap().metrics_tenant_labels);
        assert_eq!((config.listen.port(), config.operator_listen.port()), (1, 3));
        assert_eq!(config.data, PathBuf::from("d"));
    }

    #[test]
    fn an_empty_list_of_host_names_says_nothing() {
        use clap::{Args, FromArgMatches};
        // The parser makes the same of `--hostname ""` as of a variable that is set and empty.
        for (text, names) in [("", vec!["of-the-file"]), ("hub,", vec!["hub"])] {
            let command = Given::augment_args(clap::Command::new("hubward"));
            let matches = command.try_get_matches_from(["hubward", "--hostname", text]).unwrap();
            let said = Given::from_arg_matches(&matches).unwrap();
            let config = said.clone().or(given("hostnames = ['of-the-file']")).check().unwrap();
            assert_eq!(config.hostnames, names);
            assert!(said.or(Given::default()).check().is_ok());
        }
    }

    #[test]
    fn an_unknown_key_is_told_the_nearest_known_one() {
        for (key, known) in [("listne", "listen"), ("databse_url", "database_url"), ("hostname", "hostnames")]
        {
            let path = std::env::temp_dir().join(format!("hubward-config-{key}-{}", std::process::id()));
            std::fs::write(&path, format!("{key} = 'x'")).unwrap();
            let refusal = Given::read(&path).unwrap_err();
            let told = format!("unknown key {key}; did you mean {known}?");
            assert!(refusal.detail.contains(&told), "{}", refusal.detail);
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_secret_comes_from_its_file_and_not_from_two_places() {
        let path = std::env::temp_dir().join(format!("hubward-secret-{}", std::process::id()));
        std::fs::write(&path, "postgres://u:s3cret@h/d\n").unwrap();
        let from_file = Given { database_url_file: Some(path.clone()), ..Given::default() };
        let config = from_file.clone().check().unwrap();
        assert_eq!(config.store, StoreAt::Postgres("postgres://u:s3cret@h/d".to_owned()));
        assert!(!format!("{config:?}").contains("s3cret"));
        let both = Given { database_url: Some("postgres://x".to_owned()), ..from_file.clone() };
        assert!(both.check().unwrap_err().detail.contains("both given"));
        let weaker = given("database_url = 'postgres://weaker'");
        assert!(from_file.clone().or(weaker).check().is_ok());
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(from_file.check().unwrap_err().reason, Reason::Malformed);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_secret_past_its_bound_is_refused_and_never_cut() {
        let path = std::env::temp_dir().join(format!("hubward-long-secret-{}", std::process::id()));
        let most = usize::try_from(SECRET_BYTES_MAX).unwrap();
        std::fs::write(&path, "s".repeat(most)).unwrap();
        assert_eq!(secret("token_file", &path).unwrap().len(), most);
        std::fs::write(&path, "s".repeat(most + 1)).unwrap();
        let refusal = secret("token_file", &path).unwrap_err();
        assert_eq!(refusal.reason, Reason::TooLarge);
        let told = format!("token_file: {} is larger than 16384 bytes", path.display());
        assert_eq!(refusal.detail, told);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        let unknown = toml::from_str::<Given>("listne = 'x'").unwrap_err();
        assert!(unknown.message().contains("listne"), "{unknown}");
        for (text, name) in [
            ("listen = 'here'", "listen"),
            ("database_url = 'mysql://x'", "database_url"),
            ("database_url = 'memory:'", "database_url"),
            ("drain_lead_s = 301", "drain_lead_s"),
            ("dev = true\nlisten = '0.0.0.0:7420'", "listen"),
            ("listen = '127.0.0.1:7421'", "operator_listen"),
            ("hostnames = ['my hub']", "hostnames"),
            ("data = ''", "data"),
            ("data = '/dev/null'", "data"),
        ] {
            let refusal = given(text).check().unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed);
            assert!(refusal.detail.starts_with(name), "{}", refusal.detail);
        }
    }
}
