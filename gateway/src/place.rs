//! What a hub leaves in its data folder for the commands that come after it: where it listens.

use std::fs;
use std::io::Write;
use std::path::Path;

use semantics::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::hub::error::HubError;
use crate::serve::Listening;

/// Name of the file that says where the hub of a data folder listens.
pub const FILE: &str = "hub.json";

/// Where the hub of a data folder listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// For spokes, ADDRESS:PORT.
    pub listen: String,
    /// For operators, ADDRESS:PORT.
    pub operator_listen: String,
    /// Whether it speaks plaintext.
    pub dev: bool,
    /// The process.
    pub pid: u32,
}

#[derive(Debug, Serialize)]
struct Ready<'a> {
    #[serde(flatten)]
    place: &'a Place,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<String>,
}

fn unwritten(path: &Path, error: &std::io::Error) -> HubError {
    HubError::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
}

/// Makes the data folder, readable by its owner only.
///
/// # Errors
/// STORE_UNAVAILABLE when it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), HubError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| unwritten(path, &e))
}

/// Writes down where the hub listens, and says on stdout, as one JSON line, that it is ready.
///
/// # Errors
/// STORE_UNAVAILABLE when it cannot be written.
pub fn announce(config: &Config, at: Listening, dev_token: Option<&str>) -> Result<(), HubError> {
    let place = Place {
        listen: at.listen.to_string(),
        operator_listen: at.operator_listen.to_string(),
        dev: config.dev,
        pid: std::process::id(),
    };
    let path = config.data.join(FILE);
    let text = serde_json::to_vec(&place).map_err(|e| HubError::internal(e.to_string()))?;
    let partial = path.with_extension("json.partial");
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path)).map_err(|e| unwritten(&path, &e))?;
    let url = format!("{}://{}", if config.dev { "http" } else { "https" }, at.listen);
    let join = dev_token.map(|token| {
        format!("spoke --data ./spoke-data join --hub {url} --token {token} --name my-machine --type desktop")
    });
    let ready = Ready { place: &place, url, join };
    let line = serde_json::to_string(&ready).map_err(|e| HubError::internal(e.to_string()))?;
    let mut out = std::io::stdout().lock();
    // Nobody may be listening there; the hub serves all the same.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    Ok(())
}

/// Where the hub of a data folder listens, if one runs there.
#[must_use]
pub fn find(data: &Path) -> Option<Place> {
    serde_json::from_slice(&fs::read(data.join(FILE)).ok()?).ok()
}

/// Takes away what [`announce`] wrote.
pub fn forget(data: &Path) {
    // A file left behind only makes the next command say that nobody listens there.
    drop(fs::remove_file(data.join(FILE)));
}
