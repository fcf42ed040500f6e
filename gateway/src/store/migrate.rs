//! Migrations: append-only numbered files, one folder for each engine, with the same numbers and names.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::StoreError;

/// A migration: number, name, text.
pub(super) type File = (i64, &'static str, &'static str);

/// SQLite's.
pub(super) const SQLITE: &[File] = &[
    (1, "init", include_str!("../../../migrations/hub-sqlite/0001_init.sql")),
    (2, "commit_horizon", include_str!("../../../migrations/hub-sqlite/0002_commit_horizon.sql")),
    (3, "outcomes_as_they_are", include_str!("../../../migrations/hub-sqlite/0003_outcomes_as_they_are.sql")),
];
/// PostgreSQL's.
pub(super) const POSTGRES: &[File] = &[
    (1, "init", include_str!("../../../migrations/hub-postgres/0001_init.sql")),
    (2, "commit_horizon", include_str!("../../../migrations/hub-postgres/0002_commit_horizon.sql")),
    (
        3,
        "outcomes_as_they_are",
        include_str!("../../../migrations/hub-postgres/0003_outcomes_as_they_are.sql"),
    ),
];

/// Runs what has not run. On PostgreSQL under an advisory lock.
pub(super) fn migrator(files: &[File]) -> Migrator {
    let migration = |(number, name, text): &File| {
        Migration::new(*number, (*name).into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

/// A migration that did not go through; `of` says what an engine's error means.
pub(super) fn failed(error: &MigrateError, of: impl FnOnce(&sqlx::Error) -> StoreError) -> StoreError {
    match error {
        MigrateError::VersionMissing(number) => StoreError::Newer(*number),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of(error),
        error => StoreError::Internal(format!("could not migrate: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_migration_file_is_run_and_both_engines_have_the_same() {
        for (folder, files) in [("hub-sqlite", SQLITE), ("hub-postgres", POSTGRES)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder);
            let found: BTreeSet<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let named = files.iter().map(|(number, name, _)| format!("{number:04}_{name}.sql"));
            assert_eq!(found, named.collect());
        }
        let names =
            |files: &[File]| files.iter().map(|(number, name, _)| (*number, *name)).collect::<Vec<_>>();
        assert_eq!(names(SQLITE), names(POSTGRES));
    }
}
