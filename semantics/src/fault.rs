//! Planted faults: switches with which a test makes the product break one promise, to see that the checks notice.
//! They exist in builds with debug assertions alone; in a release build no switch can be thrown.

use std::sync::atomic::{AtomicU64, Ordering};

/// A promise that can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The embedded databases answer before their file is on the disk.
    NoFsync,
}

/// The variable in which a test names the fault of the process it starts.
pub const VARIABLE: &str = "HUBWARD_PLANTED_FAULT";

static PLANTED: AtomicU64 = AtomicU64::new(0);

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 1] = [Self::NoFsync];

    /// Its name in [`VARIABLE`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoFsync => "no_fsync",
        }
    }

    const fn bit(self) -> u64 {
        match self {
            Self::NoFsync => 1,
        }
    }

    /// Plants it in this process, for good. Without debug assertions this does nothing.
    pub fn plant(self) {
        if cfg!(debug_assertions) {
            PLANTED.fetch_or(self.bit(), Ordering::Relaxed);
        }
    }

    /// Whether it is planted.
    #[must_use]
    pub fn is_planted(self) -> bool {
        cfg!(debug_assertions) && PLANTED.load(Ordering::Relaxed) & self.bit() != 0
    }

    /// The fault of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// Plants the fault that a variable names; the programs pass what stands in [`VARIABLE`]. A name that is no fault's is
/// passed over.
pub fn plant_named(name: Option<&str>) {
    if let Some(fault) = name.and_then(Fault::named) {
        fault.plant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_is_planted_by_itself() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(fault));
            assert!(!fault.is_planted());
        }
        plant_named(Some("no such fault"));
        assert_eq!(PLANTED.load(Ordering::Relaxed), 0);
    }
}
