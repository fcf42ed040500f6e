//! How many files this process may have open: a connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as the system allows; a shell gives 1 024 of them as a rule, and allows far more. Gives how many they
/// are then; `None` = as many as there is room for.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Who may not raise it, or need not, goes on with what there is.
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum;
    }
    current
}

/// How many they are; `None` = as many as there is room for.
#[must_use]
pub(crate) fn max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_are_taken_as_the_system_allows() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let low = Some(current.unwrap_or(u64::MAX).min(1_024));
        setrlimit(Resource::Nofile, Rlimit { current: low, maximum }).unwrap();
        assert_eq!(max(), low);
        assert_eq!(raise(), maximum);
        assert_eq!(max(), maximum);
        assert_eq!(raise(), maximum, "and again");
    }
}
