//! The rows that could not be written, beside the input.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::Options;

/// The bad rows, written as they are found: how many there are does not matter to memory.
#[derive(Debug)]
pub(super) struct Rejected {
    to: PathBuf,
    pub(super) rows: u64,
    file: Option<BufWriter<File>>,
}

impl Rejected {
    /// For the rows of a file.
    ///
    /// # Errors
    /// `MALFORMED` where they would go to the file that they come from.
    pub(super) fn new(path: &Path, options: &Options) -> Result<Self, Refusal> {
        let to = options.rejected.clone().unwrap_or_else(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".rejected.jsonl");
            PathBuf::from(name)
        });
        if let (Ok(from), Ok(into)) = (fs::canonicalize(path), fs::canonicalize(&to))
            && from == into
        {
            let detail = format!("rejected: {} is the file that is imported: name another", to.display());
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        Ok(Self { to, rows: 0, file: None })
    }

    pub(super) fn add(&mut self, place: &str, refusal: &Refusal, row: Value) -> Result<(), Refusal> {
        self.rows += 1;
        let line =
            json!({"at": place, "reason": refusal.reason.as_str(), "detail": refusal.detail, "row": row});
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => create(&self.to).map(BufWriter::new),
        };
        let written = file.and_then(|mut file| writeln!(file, "{line}").map(|()| file));
        self.file = Some(written.map_err(|e| self.unwritten(&e))?);
        Ok(())
    }

    pub(super) fn close(mut self) -> Result<Option<PathBuf>, Refusal> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        file.flush().map_err(|e| self.unwritten(&e))?;
        Ok(Some(self.to))
    }

    fn unwritten(&self, error: &io::Error) -> Refusal {
        let detail = format!("the bad rows cannot be written to {}: {error}", self.to.display());
        Refusal::new(Reason::StoreUnavailable, detail)
    }
}

/// A new file that its owner alone can read: rows may be private. One of an earlier import is replaced; a link that
/// somebody left there is not followed.
fn create(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() || about.is_symlink() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
