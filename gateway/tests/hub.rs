//! Use cases of the hub without any spoke: one list of cases, run over every engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a surprise is a failure, and a skipped engine is said aloud"
)]
#![allow(unreachable_pub, reason = "cases are shared between modules of this binary")]

mod support;

#[path = "hub/access.rs"]
mod access;
#[path = "hub/arbiter.rs"]
mod arbiter;
#[path = "hub/clocks.rs"]
mod clocks;
#[path = "hub/collection.rs"]
mod collection;
#[path = "hub/committer.rs"]
mod committer;
#[path = "hub/compare.rs"]
mod compare;
#[path = "hub/conflicts.rs"]
mod conflicts;
#[path = "hub/control.rs"]
mod control;
#[path = "hub/examine.rs"]
mod examine;
#[path = "hub/gateways.rs"]
mod gateways;
#[path = "hub/groups.rs"]
mod groups;
#[path = "hub/hello.rs"]
mod hello;
#[path = "hub/horizon.rs"]
mod horizon;
#[path = "hub/identities.rs"]
mod identities;
#[path = "hub/live.rs"]
mod live;
#[path = "hub/matrix.rs"]
mod matrix;
#[path = "hub/paging.rs"]
mod paging;
#[path = "hub/policies.rs"]
mod policies;
#[path = "hub/put_back.rs"]
mod put_back;
#[path = "hub/recovery.rs"]
mod recovery;
#[path = "hub/registry.rs"]
mod registry;
#[path = "hub/resolutions.rs"]
mod resolutions;
#[path = "hub/resolver.rs"]
mod resolver;
#[path = "hub/seen.rs"]
mod seen;
#[path = "hub/settled.rs"]
mod settled;
#[path = "hub/streams.rs"]
mod streams;
#[path = "hub/topology.rs"]
mod topology;
#[path = "hub/versions.rs"]
mod versions;
#[path = "hub/views.rs"]
mod views;

/// Makes one test of each case, in a module named after the engine. The second argument opens an empty engine, or
/// gives `None` where it is not available.
macro_rules! hub_tests {
    ($engine:ident, $open:expr) => {
        mod $engine {
            hub_cases! { $open =>
                streams {
                    dots_out_of_order,
                    repeat_after_prune,
                    a_repeat_gets_its_first_outcome_on_every_gateway,
                    same_record_twice,
                    many_writers_in_one_commit,
                    a_push_may_take_a_commit_for_each_of_its_elements,
                    transient_refusal,
                    pushes_of_a_session_are_decided_in_the_order_in_which_they_were_heard,
                    a_push_behind_one_that_waits_waits_too,
                    a_session_goes_on_while_its_push_waits_for_its_commit,
                    withdraw,
                    a_withdrawn_dot_that_another_gateway_had_consumed,
                    replica_cloned,
                    unanswered_dots_are_bounded,
                    what_cannot_be_taken_is_refused_and_the_rest_goes_on,
                }
                groups {
                    group_whole,
                    a_group_waits_as_a_whole,
                    a_group_that_does_not_come_whole_is_refused,
                    a_group_past_its_bounds_is_refused,
                    a_group_is_never_split_between_commits,
                    rejected_cause,
                }
                conflicts {
                    a_conflict_names_both_sides_and_their_ancestor,
                    an_ancestor_is_a_state_of_the_record_that_its_author_had_seen,
                    an_ancestor_that_pruning_may_take_at_any_moment_is_not_named,
                    a_conflict_goes_where_its_record_goes,
                    what_an_open_conflict_names_survives_pruning,
                    offline_storm,
                    offline_storm_that_loses,
                    a_field_conflict_names_the_mutation_that_stands,
                    rules_of_a_declared_kind_apply_from_its_revision_on,
                }
                policies {
                    concurrent_changes_are_merged_against_what_their_author_saw,
                    own_changes_without_an_answer_are_merged_one_by_one,
                    branches_are_kept_whole,
                    what_does_not_fit_the_schema_together_is_kept_whole,
                    a_policy_applies_from_its_revision_on,
                    two_changes_that_follow_one_state_are_a_conflict_and_both_are_kept,
                    rules_that_open_conflicts_could_not_be_read_under_are_refused,
                    a_conflict_is_shown_and_settled_by_the_policy_that_was_set,
                    an_undo_under_a_policy_that_reads_its_path_otherwise_is_refused,
                    a_policy_is_not_set_over_a_conflict_that_opens_while_it_is,
                    what_a_newer_gateway_set_for_a_kind_decides_nothing_here,
                }
                topology {
                    a_replica_is_told_the_primary_and_its_write_has_no_effect,
                    a_primary_that_is_moved_writes_from_that_revision_on,
                    each_site_of_a_federation_has_a_primary_of_its_own,
                    a_replica_settles_no_conflict_of_what_it_does_not_write,
                    what_a_newer_gateway_set_as_topology_decides_nothing_here,
                    a_topology_is_set_for_active_nodes_and_known_kinds_and_by_compare_and_set,
                }
                arbiter {
                    what_a_commit_opened_that_nobody_was_told_of_is_judged_all_the_same,
                    a_collapsed_state_does_not_overwrite_a_healthy_one,
                    a_side_that_nobody_can_read_leaves_it_to_a_person,
                    states_of_a_consensus_kind_vote,
                    a_rule_that_is_set_speaks_of_what_is_open,
                    no_rule_lets_a_collapsed_state_stand_over_a_healthy_one,
                    what_weighs_or_judges_is_asked_as_if_the_policy_were_set,
                    a_like_conflict_is_settled_by_its_precedent,
                    a_near_miss_waits_for_a_person,
                    a_precedent_binds_in_its_own_tenant_alone,
                    a_precedent_that_is_revoked_settles_nothing_more,
                    only_what_is_said_of_any_two_sides_becomes_a_precedent,
                    what_stood_before_a_decision_is_not_bound_by_it,
                    who_took_a_resolution_back_is_not_overruled,
                }
                matrix {
                    a_state_that_does_not_hold_is_kept_and_a_sound_one_stands,
                    each_type_is_settled_its_way,
                    what_nobody_outweighs_waits_and_blocks_nothing,
                    what_was_recorded_without_a_type_waits_for_a_person,
                    who_wrote_over_a_conflict_is_not_overruled,
                }
                resolver {
                    a_conflict_that_moved_is_asked_about_again,
                    a_person_may_settle_it_while_the_resolver_is_asked,
                    a_precedent_goes_before_the_resolver,
                    a_wrong_answer_leaves_the_conflict_to_a_person,
                    others_are_settled_while_the_resolver_is_asked,
                    past_the_budget_conflicts_wait,
                    what_cannot_be_asked_now_is_asked_later,
                    what_is_proposed_is_settled_with_its_name_and_its_reason,
                    who_took_a_proposal_back_is_not_asked_over,
                    without_a_resolver_a_person_settles_it,
                }
                resolutions {
                    a_resolution_is_one_commit_that_says_why,
                    what_stands_is_kept_without_a_row,
                    a_resolution_of_a_conflict_that_moved_is_stale,
                    an_undo_brings_the_state_before_back_as_a_new_revision,
                    an_undo_is_refused_once_others_have_gone_on,
                    a_path_in_conflict_again_is_not_opened_twice,
                    an_undo_is_refused_once_a_side_is_pruned,
                    an_undo_is_refused_once_pruning_may_take_a_side,
                    a_write_over_a_conflict_leaves_it_open_with_its_sides,
                    the_records_own_rule_decides_what_may_stand,
                    a_node_settles_what_its_view_shows_and_nothing_else,
                    a_settled_conflict_converges_and_its_sides_are_pruned,
                }
                recovery {
                    spokes_of_the_log_before_are_taken_back_only_while_it_recovers,
                    who_follows_another_log_is_told_from_where_the_two_parted,
                    what_is_on_its_way_under_an_epoch_that_is_left_with_its_log_has_no_effect,
                    an_epoch_that_was_left_with_its_log_is_opened_again_for_nobody,
                    a_log_that_becomes_another_one_under_a_gateway_ends_its_sessions,
                    so_are_those_of_another_log_that_went_on_from_it,
                    an_effect_waits_until_its_cause_is_back,
                    what_came_back_only_as_state_is_told_and_not_written,
                    sessions_are_told_what_backups_hold,
                }
                control {
                    pushed_policy,
                    policy_revoked,
                    a_control_record_changes_by_compare_and_set,
                    registering_again_gives_the_same_node,
                    a_registration_that_a_newer_gateway_wrote_is_left_and_said_to_be_newer,
                    a_revocation_is_not_taken_back_by_what_is_done_beside_it,
                }
                committer {
                    what_was_decided_ahead_stands_or_falls_with_the_append_before_it,
                    what_is_decided_ahead_is_read_ahead,
                    a_commit_of_writers_alone_is_not_taken_for_another_one,
                    what_is_known_outlasts_a_call_that_goes_away_before_it_writes,
                }
                gateways {
                    one_gateway_at_a_time_looks_after_a_tenant,
                    rejections_only,
                    two_gateways_fair,
                    commit_unknown,
                    who_was_answered_together_is_committed_together_again,
                    a_contended_store_is_tried_again,
                    a_full_queue_refuses_and_takes_again,
                    a_queue_of_callers_that_are_gone_is_not_full,
                    ring_wrap_other_gateway,
                    a_ring_that_is_more_than_a_page_behind_begins_anew_at_the_head,
                    a_ring_does_not_take_in_a_log_that_was_pruned_past_its_end,
                    notify_lost,
                }
                clocks {
                    clock_ratchet,
                    clock_back,
                    clock_ahead,
                    a_session_goes_on_when_the_clock_steps_back,
                    a_session_never_tells_a_time_before_what_it_told_or_committed,
                    a_gateway_behind_its_store_goes_by_the_stores_time,
                }
                settled {
                    a_settled_conflict_goes_after_its_time_and_an_open_one_never,
                    a_round_looks_through_a_bounded_number_of_conflicts,
                }
                versions {
                    a_wide_version_leaves_out_the_writers_of_revoked_nodes,
                    what_was_made_on_a_writer_that_is_left_out_is_no_unknown_base,
                    a_writer_of_which_something_stands_is_not_left_out,
                    a_writer_whose_side_of_a_conflict_waits_is_not_left_out,
                }
                views {
                    view_grows,
                    a_view_that_grows_brings_tombstones,
                    view_shrinks,
                    record_leaves_view,
                    a_record_that_went_and_came_back,
                    a_view_that_grows_in_the_middle_of_a_catch_up,
                    a_cursor_shows_no_view_but_the_nodes_own,
                    a_node_writes_only_what_it_may_see,
                }
                live {
                    quiet_view,
                    live_changes_come_in_order_once,
                    readers_that_are_due_together_are_told_by_one_read,
                    a_reader_is_told_the_sum_of_exactly_its_cut,
                    readers_of_one_view_share_a_batch,
                    a_session_without_credit_is_sent_nothing,
                    credit_stays_level_for_who_grants_what_each_message_cost,
                    a_view_change_reaches_a_live_session,
                }
                paging {
                    moved_between_pages,
                    written_between_pages,
                    gc_between_pages,
                    a_lease_keeps_the_horizon,
                    a_lease_that_is_renewed_as_it_is_ended_holds,
                    a_catch_up_outlives_its_leases_while_nothing_is_pruned,
                    the_leases_of_a_node_are_bounded_and_its_lowest_holds,
                    equal_cursors_have_equal_digests,
                    a_resume_position_is_good_only_as_it_was_given,
                    pages_that_several_readers_ask_for_are_put_together_once,
                    who_comes_in_the_middle_of_a_stretch_takes_the_rest_and_goes_with_the_others,
                    what_comes_back_and_leaves_again_between_pages_is_told_to_have_left,
                    who_comes_is_not_sent_what_was_gone_before,
                    who_comes_is_not_told_of_what_left_before,
                }
                horizon {
                    the_horizon_is_what_every_open_writer_has_acknowledged,
                    retention_keeps_the_newest_revisions,
                    a_page_of_a_history_is_bounded_in_bytes_and_the_next_begins_where_it_ended,
                    pruning_keeps_what_stands,
                    what_lies_below_the_horizon_is_absent_pruned_or_not,
                    a_silent_epoch_is_closed,
                    a_closed_epoch_opens_again_for_the_replica_that_left_it_so,
                    who_wrote_once_and_then_only_reads_keeps_no_commits,
                    a_fresh_epoch_is_not_closed,
                    an_expired_cursor_starts_again,
                    a_released_hold_is_pruned,
                    one_round_prunes_all_that_may_go,
                }
                collection {
                    nothing_deleted_comes_back_while_retention_runs_under_load,
                }
                compare {
                    ranges_name_the_live_records_of_a_view_in_key_order_and_no_others,
                    scopes_differ_after_a_write_and_not_without_one,
                    a_range_begins_only_where_its_node_was_told,
                }
                examine {
                    a_chain_is_checked_page_by_page_to_its_head,
                    sums_made_anew_are_those_that_are_kept,
                    what_is_pruned_is_no_gap,
                    a_log_tells_what_holds_it,
                }
                identities {
                    a_node_that_misses_an_acknowledgement_is_shown_and_clears_itself,
                    systems_that_write_one_identity_are_compared_pair_by_pair,
                    participants_converge_once_each_reported_the_hubs_digest,
                    a_collapse_that_was_kept_out_is_told_until_its_author_is_healthy_again,
                    a_digest_that_differs_is_told,
                }
                registry {
                    signs_of_life_are_told_at_once_and_written_down_rarely,
                    what_a_spoke_tells_of_itself_is_known_on_every_gateway,
                    a_session_that_only_pings_keeps_its_epoch,
                    a_heartbeat_outside_of_a_session_is_written_down_rarely,
                    active_nodes_are_counted_by_health,
                    what_an_admin_sets_goes_before_what_a_node_declared,
                    a_node_first_sees_the_kinds_of_its_type,
                    what_a_newer_gateway_set_for_a_type_allows_nothing_here,
                }
                seen {
                    a_change_is_seen_by_those_who_acknowledged_a_cut_at_or_past_it,
                    who_cannot_see_it_or_was_revoked_is_not_counted,
                    a_view_that_grew_counts_from_its_own_cut_on,
                    a_node_learns_of_its_own_changes_alone,
                }
                access {
                    what_was_noted_before_a_flush_is_durable_after_it,
                    a_flood_of_refusals_is_few_writes,
                    a_note_never_waits,
                    an_entry_of_a_newer_gateway_is_read_and_written_behind,
                    two_gateways_write_one_chain,
                    what_was_changed_shows,
                    filters_choose_by_time_principal_event_and_reason,
                }
                hello {
                    hub_restored,
                    a_replica_that_is_a_copy_is_told,
                    a_spoke_that_speaks_as_the_first_ones_did_is_served,
                    epochs_of_one_node_are_bounded,
                    reconcile_tells_what_became_of_every_dot,
                    welcome_tells_the_hubs_time,
                    a_reconciliation_comes_in_messages_that_fit,
                }
            }
        }
    };
}

macro_rules! hub_cases {
    ($open:expr => $($family:ident { $($case:ident),* $(,)? })*) => {
        $($(
            #[tokio::test]
            async fn $case() {
                match $open.await {
                    Some(engine) => crate::$family::$case(&engine).await,
                    None => eprintln!("SKIPPED: {} is not available here", module_path!()),
                }
            }
        )*)*
    };
}

hub_tests!(memory, crate::support::engine::memory());
hub_tests!(sqlite, crate::support::engine::sqlite());
hub_tests!(postgres, crate::support::engine::postgres_without_clock());
