//! `hubward keys`: the keys of access tokens, with the settings of `serve`, beside a hub that runs or without one.

use std::path::PathBuf;

use clap::Subcommand;
use semantics::reason::Refusal;
use serde_json::{Value, json};

use super::output::Printer;
use super::process::{checked, refusal};
use crate::ambient::{Clock, SystemClock, SystemEntropy};
use crate::auth::{self, KnownKey, RETIRED_KEY_LIFE_S};
use crate::backup;
use crate::config::Given;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Makes another key for access tokens. The hub signs with it within a minute; tokens of the key before are taken
    /// until they have ended, and then it is gone.
    Rotate {
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Lists the keys of access tokens that the store knows: until when tokens of each are taken, and which one this
    /// data folder signs with. Those without an end that it does not sign with are of other gateways.
    List {
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Retires the key of a gateway that is gone: tokens of it are taken until those that it gave have ended. The key
    /// of this data folder is retired by `rotate`.
    Retire {
        /// Name of the key.
        kid: String,
        #[command(flatten)]
        given: Given,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
}

impl KeysCommand {
    pub(super) async fn run(self, data: PathBuf, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Rotate { given, config } => {
                let config = checked(given, config, data)?;
                let rotated = auth::rotate_token_key(&config.data, &SystemEntropy).map_err(refusal)?;
                out.object(&json!({
                    "kid": rotated.kid, "before": rotated.before, "before_taken_for_s": RETIRED_KEY_LIFE_S,
                }));
            }
            Self::List { given, config } => {
                let config = checked(given, config, data)?;
                let signing = auth::token_kid(&config.data).map_err(refusal)?;
                let at = backup::origin(&config).map_err(refusal)?;
                let known = auth::known_token_keys(at).await.map_err(refusal)?;
                let shown = known.iter().map(|key| shown(key, signing.as_deref())).collect();
                out.list("keys", shown, &["kid", "state", "until_ms", "signs_here"]);
            }
            Self::Retire { kid, given, config } => {
                let config = checked(given, config, data)?;
                let signing = auth::token_kid(&config.data).map_err(refusal)?;
                let at = backup::origin(&config).map_err(refusal)?;
                let life_ms = RETIRED_KEY_LIFE_S.saturating_mul(1_000);
                let now_ms = SystemClock.now_ms();
                let times = (now_ms, now_ms.saturating_add(life_ms));
                let retired = auth::retire_token_key(at, &kid, signing.as_deref(), times).await;
                out.object(&shown(&retired.map_err(refusal)?, signing.as_deref()));
            }
        }
        Ok(())
    }
}

fn shown(key: &KnownKey, signing: Option<&str>) -> Value {
    let state = match key {
        KnownKey { is_gone: true, .. } => "gone",
        KnownKey { until_ms: Some(_), .. } => "ends",
        KnownKey { until_ms: None, .. } => "good",
    };
    let signs_here = signing == Some(key.kid.as_str());
    json!({"kid": key.kid, "state": state, "until_ms": key.until_ms, "signs_here": signs_here})
}
