//! A wall clock that a test turns, for the processes it starts (`trials/native/clock.c`): what takes minutes by the
//! clock need not take a test minutes.
#![allow(clippy::panic, reason = "harness of tests: a panic is how a test fails")]

use std::path::{Path, PathBuf};

use crate::process::preload;

/// The clock of some processes.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    ahead: PathBuf,
}

impl Clock {
    /// Compiles the library; keeps it and the clock's state in a folder.
    ///
    /// # Panics
    /// When there is no C compiler, or the folder takes nothing.
    #[must_use]
    pub fn under(folder: &Path) -> Self {
        let clock = Self { library: preload("clock", folder), ahead: folder.join("clock-ahead") };
        clock.set(0);
        clock
    }

    /// The variables under which a process must be started.
    #[must_use]
    pub fn environment(&self) -> [(String, String); 2] {
        [
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("CLOCK_AHEAD".to_owned(), self.ahead.display().to_string()),
        ]
    }

    /// From now on the clock is this far from the machine's, seconds.
    ///
    /// # Panics
    /// When that cannot be written down.
    pub fn set(&self, ahead_s: i64) {
        self.write(&ahead_s.to_string());
    }

    /// From now on the clock stands still at this time, seconds since 1970-01-01 UTC.
    ///
    /// # Panics
    /// When that cannot be written down.
    pub fn stop_at(&self, time_s: u64) {
        self.write(&format!("@{time_s}"));
    }

    fn write(&self, text: &str) {
        let new = self.ahead.with_extension("new");
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.ahead));
        written.unwrap_or_else(|e| panic!("{}: {e}", self.ahead.display()));
    }
}
