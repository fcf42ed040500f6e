//! A power cut, for one process: a library preloaded into it keeps what each write since a file's last fsync replaced
//! (`trials/native/power_cut.c`), and [`PowerCut::cut`] puts that back after the process was killed. What is left is
//! what a disk that honours fsync, and nothing more, would hold.
#![allow(clippy::panic, reason = "harness of tests: a panic is how a test fails")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::process::preload;

/// Offset, size of the file before, length: three 64-bit integers before the bytes of a record.
const HEAD_BYTES: usize = 24;

/// The power supply of one folder.
#[derive(Debug)]
pub struct PowerCut {
    library: PathBuf,
    root: PathBuf,
    undo: PathBuf,
}

impl PowerCut {
    /// Compiles the library and watches the files under `root`; keeps its records beside it.
    ///
    /// # Panics
    /// When there is no C compiler: Rust's own linker needs one too.
    #[must_use]
    pub fn over(root: &Path) -> Self {
        let undo = root.with_extension("undo");
        for folder in [root, &undo] {
            std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        }
        let library = preload("power_cut", &undo);
        let root = root.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", root.display()));
        Self { library, root, undo }
    }

    /// The variables under which a process must be started.
    #[must_use]
    pub fn environment(&self) -> [(String, String); 3] {
        [
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("POWER_CUT_ROOT".to_owned(), self.root.display().to_string()),
            ("POWER_CUT_UNDO".to_owned(), self.undo.display().to_string()),
        ]
    }

    /// After the process was killed: takes back every write that no fsync covered. Gives how many there were.
    ///
    /// # Panics
    /// When a record cannot be read or undone.
    #[must_use]
    pub fn cut(&self) -> usize {
        let entries =
            std::fs::read_dir(&self.undo).unwrap_or_else(|e| panic!("{}: {e}", self.undo.display()));
        let logs = entries.flatten().map(|entry| entry.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "undo"));
        logs.map(|log| undo(&log)).sum()
    }
}

/// Undoes one file's writes, the last first, and forgets them.
fn undo(log: &Path) -> usize {
    let named = std::fs::read_to_string(log.with_extension("path"));
    let path = named.unwrap_or_else(|e| panic!("{}: {e}", log.display()));
    let bytes = std::fs::read(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
    let records = records(&bytes);
    if let Ok(file) = OpenOptions::new().write(true).open(&path) {
        for (offset, size, old) in records.iter().rev() {
            put_back(&file, *offset, *size, old).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
    }
    std::fs::remove_file(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
    records.len()
}

fn put_back(file: &File, offset: u64, size: u64, old: &[u8]) -> std::io::Result<()> {
    file.write_all_at(old, offset)?;
    file.set_len(size)
}

/// The whole records; one that the kill cut short came before its write, which never happened.
fn records(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&head[at..at + 8]);
            u64::from_ne_bytes(eight)
        };
        let Ok(length) = usize::try_from(number(16)) else { break };
        let Some((old, rest)) = rest.split_at_checked(length) else { break };
        found.push((number(0), number(8), old));
        bytes = rest;
    }
    found
}
