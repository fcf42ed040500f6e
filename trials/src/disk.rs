//! A disk that fills and empties at a word, for the processes that a test starts (`trials/native/full_disk.c`).
#![allow(clippy::panic, reason = "harness of tests: a panic is how a test fails")]

use std::path::{Path, PathBuf};

use crate::process::preload;

/// The disk of some processes.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    full: PathBuf,
}

impl Disk {
    /// Compiles the library; keeps it and the disk's state in a folder.
    ///
    /// # Panics
    /// When there is no C compiler.
    #[must_use]
    pub fn under(folder: &Path) -> Self {
        Self { library: preload("full_disk", folder), full: folder.join("disk-is-full") }
    }

    /// The variables under which a process must be started.
    #[must_use]
    pub fn environment(&self) -> [(String, String); 2] {
        [
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("FULL_DISK".to_owned(), self.full.display().to_string()),
        ]
    }

    /// From now on there is no room.
    ///
    /// # Panics
    /// When that cannot be written down.
    pub fn fill(&self) {
        std::fs::write(&self.full, "").unwrap_or_else(|e| panic!("{}: {e}", self.full.display()));
    }

    /// From now on there is room again.
    ///
    /// # Panics
    /// When there was room.
    pub fn empty(&self) {
        std::fs::remove_file(&self.full).unwrap_or_else(|e| panic!("{}: {e}", self.full.display()));
    }
}
