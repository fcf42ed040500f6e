//! Attacks that other tests make.

/// An attack, what is heard, and the test that makes it.
pub struct Elsewhere {
    pub name: &'static str,
    pub hears: &'static str,
    pub file: &'static str,
    pub test: &'static str,
}

const fn at(name: &'static str, hears: &'static str, file: &'static str, test: &'static str) -> Elsewhere {
    Elsewhere { name, hears, file, test }
}

pub const ELSEWHERE: &[Elsewhere] = &[
    at(
        "an assertion replayed at a second gateway",
        "`UNAUTHENTICATED`",
        "gateway/tests/auth/assertions.rs",
        "an_assertion_is_good_once_on_whichever_gateway",
    ),
    at(
        "token after token, asked for by a node",
        "`QUOTA_EXCEEDED`",
        "gateway/tests/auth/assertions.rs",
        "a_node_that_asks_for_token_after_token_is_told_to_wait_and_what_is_refused_is_not_used_up",
    ),
    at(
        "an overheard assertion repeated, to use up its node's tokens",
        "`UNAUTHENTICATED`; the node is given tokens as before",
        "gateway/tests/auth/assertions.rs",
        "who_repeats_an_overheard_assertion_takes_no_token_from_its_node",
    ),
    at(
        "a join repeated and repeated",
        "`QUOTA_EXCEEDED`; one entry in the access log",
        "gateway/tests/auth/joining.rs",
        "a_join_that_changes_nothing_is_none_in_the_access_log_and_has_a_rate",
    ),
    at(
        "an expired join token",
        "`JOIN_TOKEN_INVALID`",
        "gateway/tests/auth/joining.rs",
        "an_expired_mistyped_or_forged_token_is_refused",
    ),
    at(
        "a hub under another key than the pinned one",
        "`PIN_MISMATCH`, at the spoke",
        "spoke/src/trust/pin/tests.rs",
        "another_hub_is_told_apart_from_a_broken_connection",
    ),
    at(
        "an access token signed with a key that was rotated long ago",
        "`UNAUTHENTICATED`",
        "gateway/tests/auth/keys.rs",
        "a_rotated_key_signs_everywhere_and_the_one_before_is_taken_until_its_tokens_have_ended",
    ),
    at(
        "access tokens of unknown keys, hundreds at once",
        "`UNAUTHENTICATED`, with one look at the store for all",
        "gateway/tests/auth/unknown.rs",
        "a_flood_of_unknown_keys_has_one_look_at_the_store_for_all",
    ),
    at(
        "an access token of a service that asks for another",
        "`UNAUTHENTICATED`",
        "gateway/tests/auth/services.rs",
        "a_token_gives_no_other_and_opens_nothing_of_a_nodes",
    ),
    at(
        "a service's access token after its operator was revoked",
        "`UNAUTHENTICATED`",
        "gateway/tests/auth/services.rs",
        "a_services_token_ends_with_its_time_its_credential_and_its_operator",
    ),
    at(
        "a session whose reader takes a byte at a time",
        "goodbye: `DEADLINE_EXCEEDED`",
        "gateway/tests/rpc/slow.rs",
        "a_client_that_reads_a_byte_at_a_time_holds_a_bounded_queue_and_is_cut",
    ),
    at(
        "an operator that asks for pages and reads none of them",
        "`OVERLOADED`",
        "gateway/tests/rpc/slow.rs",
        "answers_that_nobody_reads_are_bounded_and_taking_or_dropping_them_gives_the_room_back",
    ),
    at(
        "probes that are asked for and not read",
        "503, for its address",
        "gateway/tests/rpc/slow.rs",
        "probes_that_nobody_reads_are_bounded_and_get_their_room_back",
    ),
    at(
        "requests in HTTP/1 one behind another, and no answer read",
        "nothing more is read from it",
        "gateway/tests/rpc/slow.rs",
        "who_reads_no_answer_in_http_1_is_not_read_from_either",
    ),
    at(
        "an answer of which nothing is read",
        "closed: `unread`",
        "gateway/tests/rpc/slow.rs",
        "a_connection_on_which_an_answer_is_not_read_ends_and_nobody_elses",
    ),
    at("TLS 1.2", "closed: `handshake`", "gateway/tests/tls.rs", "a_tls_1_2_client_is_refused"),
    at(
        "a handshake that does not end",
        "closed: `handshake`",
        "gateway/tests/tls.rs",
        "a_handshake_that_does_not_end_is_ended",
    ),
    at(
        "a connection on which nothing is called",
        "closed: `idle`",
        "gateway/tests/tls.rs",
        "a_connection_on_which_nothing_is_called_is_closed",
    ),
    at(
        "more connections than there is room for",
        "closed: `full`, `of_address`",
        "gateway/tests/tls.rs",
        "past_the_room_connections_are_closed_at_once_and_counted",
    ),
    at(
        "a node that speaks and never listens",
        "nothing more is read from it; it can still be revoked",
        "gateway/tests/rpc/sessions.rs",
        "a_node_that_speaks_and_never_listens_can_still_be_cut_off",
    ),
    at(
        "more calls at once than the hub works on",
        "`OVERLOADED`",
        "gateway/tests/rpc/layers.rs",
        "past_the_limit_calls_are_refused_at_once",
    ),
    at(
        "all the calls that a node may have at once",
        "`OVERLOADED` for it; other nodes are served",
        "gateway/tests/rpc/layers.rs",
        "a_node_takes_its_own_share_of_the_calls_only",
    ),
    at(
        "all the calls of the spokes' port, taken by nodes together",
        "`OVERLOADED` there; operators are served, and can revoke them",
        "gateway/tests/rpc/layers.rs",
        "operators_are_served_while_every_call_of_the_other_port_is_taken",
    ),
    at(
        "more mutations than a node's rate",
        "waits: `QUOTA_EXCEEDED`",
        "gateway/src/hub/admission.rs",
        "a_burst_passes_and_then_the_rate_holds",
    ),
    at(
        "a request id that could spoil a log",
        "replaced",
        "gateway/tests/rpc/layers.rs",
        "a_request_id_that_could_spoil_a_log_is_replaced",
    ),
    at(
        "a panic in a handler",
        "`INTERNAL`, and nothing of the cause",
        "gateway/tests/rpc/layers.rs",
        "a_panic_is_one_failed_call_that_tells_nothing",
    ),
    at(
        "a store that another hub's keys belong to",
        "`ALREADY_EXISTS`",
        "gateway/tests/auth/keys.rs",
        "a_store_of_another_hub_is_not_taken_over",
    ),
    at(
        "what a schema violation tells",
        "`SCHEMA_VIOLATION`: the path of the value in the body, and not the value",
        "semantics/src/schema.rs",
        "a_violation_names_path_and_count_but_not_the_value",
    ),
    at(
        "a schema that is short and dear",
        "`TOO_LARGE`, when it is declared",
        "semantics/src/schema/cost/tests.rs",
        "a_short_schema_of_countless_looks_is_too_large",
    ),
    at(
        "the daemon's local socket, from another user, whatever the files' rights",
        "closed without a word; `spoke` says `PERMISSION_DENIED` and whose it is",
        "spoke/tests/cli.rs",
        "the_socket_of_another_user_does_not_answer",
    ),
    at(
        "an import of a symlink, a FIFO or a folder",
        "`MALFORMED`, at the spoke",
        "spoke/tests/import.rs",
        "what_is_no_regular_file_or_too_long_a_line_is_refused",
    ),
    at(
        "an import of 10 GB in one line",
        "`TOO_LARGE`; 1 GB in one line is a bad row; neither is held in memory",
        "spoke/tests/import.rs",
        "a_sparse_file_of_one_huge_line_is_not_held_in_memory",
    ),
    at(
        "a link in the place of the file for an import's bad rows",
        "replaced, not followed",
        "spoke/tests/import.rs",
        "bad_rows_go_to_a_file_of_the_owners_and_never_through_a_link",
    ),
];
