//! The conformance suite: one list of cases, each a sentence of the store's contract, run on every engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a surprise is a failure, and a skipped engine is said aloud"
)]
#![allow(unreachable_pub, reason = "cases are shared between modules of this binary")]

mod support;

#[path = "store/append.rs"]
mod append;
#[path = "store/backup.rs"]
mod backup;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/exclusive.rs"]
mod exclusive;
#[path = "store/isolation.rs"]
mod isolation;
#[path = "store/model.rs"]
mod model;
#[path = "store/odd_text.rs"]
mod odd_text;
#[path = "store/plain.rs"]
mod plain;
#[path = "store/presence.rs"]
mod presence;
#[path = "store/prune.rs"]
mod prune;
#[path = "store/read.rs"]
mod read;
#[path = "store/server.rs"]
mod server;
#[path = "store/settings.rs"]
mod settings;

/// Makes one test of each case, in a module named after the engine. The second argument opens an empty engine, or
/// gives `None` where it is not available.
macro_rules! store_tests {
    ($engine:ident, $open:expr) => {
        mod $engine {
            store_cases! { $open =>
                append {
                    append_is_atomic,
                    an_append_of_any_number_of_rows_is_whole,
                    append_is_durable,
                    append_moves_the_head_by_compare_and_set,
                    append_follows_its_chain,
                    a_prepared_append_is_as_any_other,
                    an_append_at_an_old_commit_number_writes_nothing,
                    append_refuses_another_log,
                    append_is_the_only_way_the_log_changes,
                    an_append_of_refusals_only_moves_the_head,
                    an_append_replaces_pointers_writers_and_cells,
                    a_full_commit_is_taken,
                    bodies_are_any_bytes,
                    large_bodies_come_back,
                    unknown_means_maybe,
                    a_tenant_is_made_once,
                }
                exclusive {
                    exclusive_shuts_out_other_appends,
                    exclusive_ends_by_itself_when_its_holder_stops,
                    exclusive_is_released_on_drop,
                    exclusive_is_released_by_its_append,
                    exclusive_reads_and_appends,
                    an_exclusive_append_at_an_old_commit_number_writes_nothing,
                    exclusive_sections_of_two_tenants_do_not_wait_for_each_other,
                }
                isolation {
                    tenants_are_apart,
                    an_unknown_tenant_is_told_as_such,
                    load_is_one_moment,
                    log_page_is_one_moment,
                    pointer_page_is_one_moment,
                }
                odd_text {
                    ids_are_compared_as_bytes,
                    prefixes_are_compared_as_bytes,
                    pages_go_on_after_any_id,
                    facets_paths_and_details_are_any_text,
                }
                plain {
                    plain_rows_change_by_compare_and_set,
                    of_two_puts_at_one_version_one_wins,
                    plain_rows_page_in_byte_order,
                    plain_spaces_are_apart,
                    plain_values_are_any_bytes,
                    a_plain_value_past_its_bound_is_an_error,
                    a_deleted_plain_row_starts_again,
                    a_plain_row_that_was_written_since_it_was_read_is_not_deleted,
                }
                prune {
                    pruning_takes_rows_and_commits,
                    pruning_takes_a_bounded_number_of_commits,
                    a_tombstone_goes_only_while_it_stands,
                    a_row_without_a_pointer_says_so,
                    held_revisions_are_told,
                    pruning_what_is_not_there_is_no_error,
                }
                settings {
                    an_engine_tells_its_settings,
                }
                read {
                    log_pages_are_in_revision_order,
                    pages_are_bounded,
                    a_log_page_stops_after_the_row_that_reaches_the_bytes,
                    a_pointer_page_stops_after_the_row_that_reaches_the_bytes,
                    a_log_page_tells_where_each_record_is_now,
                    a_shown_page_is_a_log_page_without_what_nobody_is_sent,
                    a_shown_page_of_latest_revisions_is_without_history,
                    latest_revisions_are_those_of_all_records,
                    a_log_page_brings_records_and_cells,
                    a_log_page_brings_all_cells_or_none,
                    load_finds_what_is_there_and_leaves_out_the_rest,
                    load_takes_as_many_keys_as_it_says,
                    rows_come_by_revision,
                    commits_page,
                    writers_page,
                    tenants_page_in_byte_order,
                    records_of_one_kind_page,
                }
            }
        }
    };
}

macro_rules! store_cases {
    ($open:expr => $($family:ident { $($case:ident),* $(,)? })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                match $open.await {
                    Some(engine) => crate::$family::$case(&engine).await,
                    None => eprintln!("SKIPPED: {} is not available here", module_path!()),
                }
            }
        )*)*
    };
}

store_tests!(memory, crate::support::engine::memory());
store_tests!(sqlite, crate::support::engine::sqlite());
store_tests!(postgres, crate::support::engine::postgres());
