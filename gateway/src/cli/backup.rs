//! `hubward backup create` and `hubward restore`: they work on the store itself, with the settings of `serve`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use semantics::reason::Refusal;
use serde_json::{Value, json};

use super::output::Printer;
use super::process::{checked, refusal};
use crate::ambient::{SystemClock, SystemEntropy};
use crate::backup;
use crate::config::Given;

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Makes a backup of the whole store in a new folder, while the hub runs; the keys are not in it.
    Create {
        /// The folder; it must not be there, or be empty.
        folder: PathBuf,
        #[command(flatten)]
        given: Box<Given>,
        /// Settings as TOML; flags and environment win.
        #[arg(long, env = "HUBWARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Checks that a backup is whole, and shows what it holds.
    Check {
        /// The folder.
        folder: PathBuf,
    },
}

impl BackupCommand {
    pub(super) async fn run(self, data: PathBuf, out: Printer) -> Result<(), Refusal> {
        let (folder, manifest) = match self {
            Self::Create { folder, given, config } => {
                let config = checked(*given, config, data)?;
                let made = backup::create(&config, &folder, &SystemClock).await.map_err(refusal)?;
                (folder, made)
            }
            Self::Check { folder } => {
                let manifest = backup::check(&folder).map_err(refusal)?;
                (folder, manifest)
            }
        };
        out.object(&shown(&folder, &manifest));
        Ok(())
    }
}

fn shown(folder: &Path, manifest: &backup::Manifest) -> Value {
    json!({
        "backup": folder,
        "hub": manifest.hub.map(|hub| hub.to_string()),
        "time_ms": manifest.time_ms,
        "bytes": manifest.tables_bytes,
        "digest": manifest.tables_digest.to_string(),
        "tenants": manifest.tenants.iter().map(head).collect::<Vec<_>>(),
        "kept_apart": manifest.kept_apart,
    })
}

fn head(head: &backup::TenantHead) -> Value {
    json!({
        "tenant": head.tenant,
        "log_id": head.log_id.to_string(),
        "commit": head.commit,
        "revision": head.revision,
    })
}

pub(super) async fn restore(
    folder: &Path,
    replace: bool,
    (given, config): (Given, Option<PathBuf>),
    data: PathBuf,
    out: Printer,
) -> Result<(), Refusal> {
    let config = checked(given, config, data)?;
    let done =
        backup::restore(&config, folder, replace, (&SystemClock, &SystemEntropy)).await.map_err(refusal)?;
    out.object(&json!({
        "restored": folder,
        "time_ms": done.time_ms,
        "tenants": done.tenants.iter().map(head).collect::<Vec<_>>(),
        "predecessors": done.from.iter().map(head).collect::<Vec<_>>(),
        "keys": if done.has_keys { "there" } else { "missing: put the hub's keys into its data folder before it starts" },
        "replaced": done.replaced,
    }));
    Ok(())
}
