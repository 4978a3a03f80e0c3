"""Which tests refuse which mutant, by their place below `tests`; one of them is enough."""

from __future__ import annotations

AUTH = "reference/test_auth.py::"
LAMBDAS = "reference/lambdas/"
CONNECTIONS = LAMBDAS + "test_connections.py::"
ROUTER = "reference/test_router.py::"
ACTIONS = "reference/test_actions.py::"
SWEEPER = "reference/test_sweeper.py::"
WORKER = "reference/test_worker.py::"
SERVICES = "reference/test_services.py::"
STORE = "reference/store/test_sqlite.py::"
STORES = "reference/store/test_store_behaviour.py::TestStoreBehaviour::"
MANAGER = "reference/connection/test_manager.py::"
CORE = "reference/core/"
GATEWAY = "harness/gateway/"

CONNECTING = {
    "header-before-query": (AUTH + "test_the_query_comes_before_the_header",),
    "header-in-one-case": (AUTH + "test_the_query_comes_before_the_header",),
    "bearer-kept": (AUTH + "test_the_query_comes_before_the_header",),
    "any-asymmetric-algorithm": (AUTH + "test_no_other_algorithm_is_accepted",),
    "public-key-as-secret": (AUTH + "test_no_other_algorithm_is_accepted",),
    "unsigned-tokens": (AUTH + "test_no_other_algorithm_is_accepted",),
    "key-from-the-token": (AUTH + "test_a_token_that_brings_its_key_is_refused",),
    "unknown-key-id": (AUTH + "test_a_key_id_selects_among_configured_keys",),
    "token-without-exp": (AUTH + "test_a_bad_claim_is_refused",),
    "expired-tokens": (AUTH + "test_a_bad_claim_is_refused", AUTH + "test_the_leeway_is_a_minute"),
    "not-before-unread": (AUTH + "test_a_bad_claim_is_refused",),
    "issued-ahead": (AUTH + "test_a_bad_claim_is_refused",),
    "leeway-of-ten-minutes": (AUTH + "test_the_leeway_is_a_minute",),
    "issuer-unread": (AUTH + "test_a_bad_claim_is_refused",),
    "audience-unread": (AUTH + "test_a_bad_claim_is_refused",),
    "identity-of-any-type": (AUTH + "test_a_bad_claim_is_refused",),
    "permissions-of-any-type": (AUTH + "test_a_bad_claim_is_refused",),
    "every-refusal-is-401": (CONNECTIONS + "test_a_refusal_is_a_status",),
    "opens-without-a-store": (CONNECTIONS + "test_no_token_and_a_failing_store",),
    "reason-is-sent": (CONNECTIONS + "test_a_refusal_is_a_status",),
    "identity-from-metadata": (ROUTER + "test_identity_comes_from_the_connection_alone",),
    "identity-from-payload": (ROUTER + "test_identity_comes_from_the_connection_alone",),
    "token-in-the-log": (CONNECTIONS + "test_a_token_is_nowhere",),
    "token-in-the-store": (CONNECTIONS + "test_a_token_is_nowhere",),
    "permissions-unread": (ROUTER + "test_a_refusal_is_one_error_with_a_number",),
    "session-outlives-its-token": (ROUTER + "test_a_token_that_expires_ends_the_session",),
    "expired-session-stays-open": (ROUTER + "test_a_token_that_expires_ends_the_session",),
    "any-origin": (CONNECTIONS + "test_a_refusal_is_a_status",),
    "connection-without-its-source": (
        CONNECTIONS + "test_a_connection_is_stored_before_the_handshake_completes",
    ),
    "stored-after-the-handshake": (
        CONNECTIONS + "test_a_connection_is_stored_before_the_handshake_completes",
    ),
    "connection-lives-an-hour": (
        CONNECTIONS + "test_a_connection_is_stored_before_the_handshake_completes",
    ),
    "connection-lives-two-days": (
        CONNECTIONS + "test_a_connection_is_stored_before_the_handshake_completes",
    ),
    "late-message-brings-it-back": (STORES + "test_a_removed_connection_stays_removed",),
    "subscriptions-stay": (STORES + "test_a_removed_connection_stays_removed",),
    "second-disconnect-fails": (CONNECTIONS + "test_disconnecting_twice_is_fine_and_final",),
    "gone-removes-nothing": (
        SERVICES + "test_a_gone_connection_is_removed_but_not_while_its_handshake_may_run",
    ),
    "stale-connections-stay": (SWEEPER + "test_stale_connections_go_with_their_subscriptions",),
    "disconnect-cancels": (CONNECTIONS + "test_disconnecting_twice_is_fine_and_final",),
    "opens-then-closes": (CONNECTIONS + "test_a_refusal_is_a_status",),
    "greets-unasked": (CONNECTIONS + "test_connecting_says_nothing_and_disturbs_nobody",),
    "ends-the-older-session": (CONNECTIONS + "test_connecting_says_nothing_and_disturbs_nobody",),
    "router-reads-late": (
        ROUTER + "test_a_short_request_has_one_response_and_its_budget_of_calls",
    ),
}
SLOW = MANAGER + "test_the_slow_delay_nobody"
HANGING = MANAGER + "test_who_does_not_take_a_broadcast_delays_nobody"
PASSING = MANAGER + "test_passing_trouble_is_retried_with_growing_pauses"
GONE = SERVICES + "test_a_gone_connection_is_removed_but_not_while_its_handshake_may_run"
THREE = MANAGER + "test_three_failed_sends_open_the_circuit_of_that_connection_alone"
DELIVERY = {
    "broadcast-across-tenants": (ACTIONS + "test_a_broadcast_reaches_its_tenant_and_nobody_else",),
    "broadcast-is-repeated": (MANAGER + "test_a_broadcast_without_an_answer_is_not_repeated",),
    "broadcast-without-its-sender": (
        ACTIONS + "test_a_broadcast_reaches_its_tenant_and_nobody_else",
    ),
    "broadcast-one-by-one": (SLOW,),
    "recipient-has-ten-seconds": (SLOW,),
    "slow-recipient-keeps-its-slot": (SLOW,),
    "hanging-post-keeps-its-place": (HANGING,),
    "gone-counts-as-delivered": (MANAGER + "test_a_broadcast_counts_everyone_once",),
    "serialised-for-each": (MANAGER + "test_a_broadcast_is_serialised_once",),
    "broadcast-pool-unbounded": (SLOW,),
    "shutdown-waits-for-ever": (MANAGER + "test_closing_never_hangs",),
    "retries-at-once": (PASSING,),
    "pauses-without-jitter": (
        CORE + "test_backoff.py::test_a_pause_lies_between_nothing_and_the_ceiling",
        PASSING,
    ),
    "pauses-do-not-grow": (PASSING,),
    "what-cannot-succeed-is-repeated": (MANAGER + "test_what_cannot_succeed_is_not_repeated",),
    "gone-is-repeated": (MANAGER + "test_gone_is_told_and_forgotten",),
    "throttle-is-not-repeated": (PASSING,),
    "attempts-unbounded": (MANAGER + "test_attempts_are_bounded_to_five",),
    "send-takes-a-minute": (MANAGER + "test_time_is_bounded_to_ten_seconds",),
    "two-calls-per-attempt": (
        "reference/connection/test_management_client.py::test_each_status_is_an_error_of_its_kind",
    ),
    "throttle-opens-the-circuit": (
        MANAGER + "test_throttles_and_cancellations_never_open_a_circuit",
    ),
    "too-large-opens-the-circuit": (MANAGER + "test_what_cannot_succeed_is_not_repeated",),
    "cancelled-send-opens-the-circuit": (
        MANAGER + "test_throttles_and_cancellations_never_open_a_circuit",
    ),
    "circuit-never-opens": (THREE,),
    "circuit-opens-at-ten": (THREE,),
    "circuit-never-half-opens": (THREE,),
    "circuit-half-opens-after-five-seconds": (
        CORE + "test_circuit.py::test_an_open_one_refuses_for_thirty_seconds_then_tries_one",
    ),
    "trials-without-number": (
        CORE + "test_circuit.py::test_an_open_one_refuses_for_thirty_seconds_then_tries_one",
    ),
    "one-circuit-for-all": (THREE,),
    "connections-never-forgotten": (MANAGER + "test_memory_holds_for_connections_that_exist",),
    "gone-connection-stays": (GONE,),
    "gone-during-the-handshake-removes": (GONE,),
    "sends-without-turns": (MANAGER + "test_messages_for_one_connection_arrive_in_their_order",),
    "newest-first": (MANAGER + "test_messages_for_one_connection_arrive_in_their_order",),
    "health-is-always-good": (MANAGER + "test_health_can_be_asked",),
    "last-success-unknown": (MANAGER + "test_health_can_be_asked",),
}
RATE = ROUTER + "test_the_message_rate_is_kept_and_refused_messages_count"
LIMITS = {
    "large-result-vanishes": (WORKER + "test_a_large_result_becomes_an_object",),
    "large-result-is-sent": (WORKER + "test_a_large_result_becomes_an_object",),
    "result-url-lives-a-week": (WORKER + "test_a_large_result_becomes_an_object",),
    "result-url-never-expires": (
        "harness/targets/test_object_downloads.py::test_expired_forged_and_unsigned_urls_are_refused",
    ),
    "rate-without-a-limit": (RATE,),
    "refused-messages-are-free": (RATE,),
    "wait-is-not-said": (ROUTER + "test_the_wait_that_is_said_is_the_wait_that_it_is",),
    "burst-of-a-thousand": (RATE,),
    "in-flight-without-a-limit": (ROUTER + "test_requests_in_flight_are_limited",),
    "ended-ones-count-as-in-flight": (ROUTER + "test_requests_in_flight_are_limited",),
}
EVENTS = GATEWAY + "test_gateway_events.py::"
HANDSHAKE = GATEWAY + "test_handshake.py::"
MESSAGES = GATEWAY + "test_gateway_messages.py::"
SOCKET = GATEWAY + "test_websocket_limits.py::"
API = GATEWAY + "test_connections_api.py::"
MAPPING = GATEWAY + "test_event_source_mapping.py::"
ENVIRONMENTS = GATEWAY + "test_environments.py::"
FUNCTIONS = GATEWAY + "test_gateway_functions.py::"
IDENTIFIERS = GATEWAY + "test_gateway_identifiers.py::"
ROUTING = GATEWAY + "test_gateway_routing.py::"
STOP = GATEWAY + "test_gateway_stop.py::"
PLATFORM = {
    "query-always-there": (EVENTS + "test_connect_without_query_has_no_members_for_it",),
    "messages-with-headers": (EVENTS + "test_message_has_body_and_context_only",),
    "disconnect-without-a-reason": (
        EVENTS + "test_disconnect_has_the_four_headers_and_the_reason",
    ),
    "request-time-in-iso": (EVENTS + "test_request_time_is_in_the_common_log_format",),
    "two-request-ids": (EVENTS + "test_connect_has_headers_and_query",),
    "ids-without-padding": (IDENTIFIERS + "test_ids_have_the_recorded_form_and_differ",),
    "any-text-is-an-id": (IDENTIFIERS + "test_other_ids_are_malformed",),
    "opens-before-connect-has-run": (
        HANDSHAKE + "test_connects_answer_is_the_status_of_the_refusal",
    ),
    "refused-with-403": (HANDSHAKE + "test_connects_answer_is_the_status_of_the_refusal",),
    "subprotocol-is-kept-back": (HANDSHAKE + "test_only_the_functions_subprotocol_is_passed_on",),
    "authorizer-unread": (HANDSHAKE + "test_an_authorizer_refuses",),
    "connect-by-name": (ROUTING + "test_the_action_selects_the_route",),
    "only-texts-select": (ROUTING + "test_the_action_selects_the_route",),
    "no-default-route": (ROUTING + "test_the_action_selects_the_route",),
    "every-route-answers": (MESSAGES + "test_a_one_way_route_is_silent",),
    "error-closes": (MESSAGES + "test_a_failing_function_is_an_internal_server_error",),
    "failure-is-silent": (MESSAGES + "test_a_failing_function_is_an_internal_server_error",),
    "integration-of-a-minute": (MESSAGES + "test_the_integration_has_29_seconds",),
    "messages-in-turn": (MESSAGES + "test_messages_of_one_connection_run_side_by_side",),
    "disconnect-only-from-the-client": (API + "test_boto3_posts_reads_and_deletes",),
    "disconnect-twice": (SOCKET + "test_a_clients_close_is_answered_and_told_once",),
    "disconnect-always-1005": (SOCKET + "test_a_clients_close_is_answered_and_told_once",),
    "gone-is-posted": (API + "test_errors_are_typed_and_checked_in_order",),
    "malformed-is-gone": (API + "test_errors_are_typed_and_checked_in_order",),
    "too-large-is-400": (API + "test_errors_are_typed_and_checked_in_order",),
    "errors-without-a-type": (API + "test_errors_are_typed_and_checked_in_order",),
    "unsigned-passes": (API + "test_refusals_on_the_wire",),
    "signatures-for-a-day": (
        GATEWAY + "test_verifier.py::test_a_signature_is_good_for_five_minutes",
    ),
    "post-to-a-full-buffer": (
        API + "test_a_client_that_does_not_read_yields_429_and_disturbs_nobody",
    ),
    "idle-for-an-hour": (SOCKET + "test_an_idle_connection_is_closed_after_ten_minutes",),
    "pings-keep-it-open": (SOCKET + "test_an_idle_connection_is_closed_after_ten_minutes",),
    "posts-do-not-keep-it-open": (SOCKET + "test_an_idle_connection_is_closed_after_ten_minutes",),
    "lifetime-of-a-day": (SOCKET + "test_a_connection_lives_two_hours",),
    "messages-of-any-size": (SOCKET + "test_more_is_closed_with_1009",),
    "binary-passes": (SOCKET + "test_a_binary_message_is_closed_with_1003",),
    "stop-cuts-off": (STOP + "test_what_runs_finishes_then_connections_close_with_1001",),
    "throttles-unread": (HANDSHAKE + "test_new_connections_are_throttled_when_asked_for",),
    "throttled-by-default": (HANDSHAKE + "test_nothing_is_throttled_unless_asked_for",),
    "the-machines-time": (SOCKET + "test_a_connection_lives_two_hours",),
    "report-unread": (MAPPING + "test_reported_numbers_resume_at_the_lowest",),
    "unknown-identifiers-are-success": (
        MAPPING + "test_recorded_failures_are_delivered_four_times_and_given_up",
    ),
    "resumes-at-the-first": (MAPPING + "test_reported_numbers_resume_at_the_lowest",),
    "lanes-by-turn": (MAPPING + "test_lanes_run_side_by_side_and_keep_the_order_of_a_key",),
    "writes-that-change-nothing": (MAPPING + "test_a_write_that_changes_nothing_makes_no_record",),
    "filters-unread": (MAPPING + "test_filters_let_pass_what_any_of_them_takes",),
    "tried-for-ever": (MAPPING + "test_only_what_is_left_is_given_up",),
    "never-bisected": (MAPPING + "test_bisect_halves_a_batch_that_raises",),
    "old-records-are-kept": (MAPPING + "test_records_that_are_too_old_are_given_up",),
    "window-unread": (MAPPING + "test_a_window_gathers_records",),
    "batches-of-any-size": (MAPPING + "test_batches_are_cut_at_their_size",),
    "given-up-without-a-word": (MAPPING + "test_only_what_is_left_is_given_up",),
    "batches-again-at-once": (MAPPING + "test_retries_pause_longer_each_time",),
    "environments-are-used-once": (
        ENVIRONMENTS + "test_a_process_is_started_when_asked_reused_and_ended",
    ),
    "one-environment-alone": (ENVIRONMENTS + "test_busy_environments_start_others_up_to_the_most",),
    "time-limit-does-not-kill": (ENVIRONMENTS + "test_a_time_limit_kills_the_process",),
    "idle-processes-run-on": (
        GATEWAY + "test_freezing.py::test_work_left_behind_makes_no_progress_until_the_next_event",
    ),
    "asynchronous-without-retries": (
        FUNCTIONS + "test_a_failed_asynchronous_invocation_is_tried_again_and_then_recorded",
    ),
    "asynchronous-again-at-once": (
        FUNCTIONS + "test_a_failed_asynchronous_invocation_is_tried_again_and_then_recorded",
    ),
    "failures-end-in-silence": (
        FUNCTIONS + "test_a_failed_asynchronous_invocation_is_tried_again_and_then_recorded",
    ),
}
WIRE = "reference/protocol/test_wire_messages.py::"
CODEC = "reference/protocol/test_codec.py::"
CODES = "reference/protocol/test_error_codes.py::"
REGISTRY = "reference/handlers/test_registry.py::"
ECHO = "reference/handlers/test_echo.py::"
REFUSAL = ROUTER + "test_a_refusal_is_one_error_with_a_number"
UNREADABLE = ROUTER + "test_what_cannot_be_read_is_refused_without_an_id"
DYING = WORKER + "test_a_worker_may_die_at_any_call"
BUDGET = ROUTER + "test_a_short_request_has_one_response_and_its_budget_of_calls"
SHORT = ROUTER + "test_a_short_handler_fails_in_every_way"
MIDDLEWARE = ROUTER + "test_middleware_surrounds_short_and_long_requests_alike"
BROKEN_FILE = REGISTRY + "test_a_broken_file_is_named_and_takes_no_other_down"
MESSAGES_TESTS = {
    "bad-id-replaced": (WIRE + "test_each_bad_member_is_named",),
    "ids-from-a-clock": (ROUTER + "test_ids_that_the_server_makes_are_unique",),
    "null-is-absent": (WIRE + "test_each_bad_member_is_named",),
    "unknown-members-refused": (ROUTER + "test_identity_comes_from_the_connection_alone",),
    "metadata-unbounded": (WIRE + "test_each_bad_member_is_named",),
    "json-as-python-reads-it": (CODEC + "test_what_is_not_interoperable_is_refused",),
    "nesting-unbounded": (CODEC + "test_what_is_not_interoperable_is_refused",),
    "first-bad-field-alone": (WIRE + "test_all_bad_members_are_named_at_once",),
    "validation-before-permission": (REFUSAL,),
    "unreadable-ends-the-connection": (UNREADABLE,),
    "timestamp-in-seconds": (BUDGET,),
    "error-without-request-id": (UNREADABLE,),
    "duplicate-is-numbered": (
        ROUTER + "test_a_duplicate_is_refused_while_it_runs_and_after_it_ended",
    ),
    "posted-before-it-is-stored": (DYING,),
    "posted-and-never-stored": (DYING,),
    "next-before-the-last-is-taken": (
        WORKER + "test_an_outcome_is_delivered_when_the_receiver_comes_back",
    ),
    "takeover-begins-at-one": (DYING,),
    "repeat-with-a-new-time": (DYING,),
    "integers-through-doubles": (ECHO + "test_a_payload_comes_back_exactly",),
    "small-numbers-rounded": (ECHO + "test_a_payload_comes_back_exactly",),
    "text-normalised": (ECHO + "test_a_payload_comes_back_exactly",),
    "metadata-in-the-payload": (ROUTER + "test_identity_comes_from_the_connection_alone", BUDGET),
    "success-in-the-handlers-map": (BUDGET,),
    "unknown-action-is-our-fault": (REFUSAL,),
    "queued-before-validation": (
        ROUTER + "test_a_fields_error_of_a_long_handler_comes_before_it_is_stored",
    ),
    "threshold-unread": (ROUTER + "test_the_threshold_is_the_one_that_is_configured",),
    "everything-is-queued": (BUDGET,),
    "middleware-innermost-first": (MIDDLEWARE,),
    "middleware-for-short-ones-alone": (MIDDLEWARE,),
    "second-handler-wins": (REGISTRY + "test_a_second_handler_for_an_action_is_refused",),
    "broken-file-takes-all-down": (BROKEN_FILE,),
    "broken-file-unnamed": (BROKEN_FILE,),
    "answered-twice": (BUDGET,),
    "failure-unanswered": (SHORT,),
    "exception-text-sent": (SHORT,),
    "typed-error-flattened": (SHORT,),
    "short-request-without-end": (SHORT,),
    "short-request-of-a-minute": (ROUTER + "test_a_built_in_action_ends_with_timeout",),
    "timeout-is-definite": (CODES + "test_the_registry_is_the_contracts_table",),
    "built-in-without-end": (ROUTER + "test_a_built_in_action_ends_with_timeout",),
    "unregistered-codes-pass": (SHORT,),
    "refused-twice": (REFUSAL,),
    "retry-unsaid": (CODES + "test_retry_is_always_there_and_a_pause_only_when_it_helps",),
}
DUPLICATE = ROUTER + "test_a_duplicate_is_refused_while_it_runs_and_after_it_ended"
KEYS = STORE + "test_keys_of_different_requests_differ"
ANOTHERS = ACTIONS + "test_another_users_request_is_answered_as_none"
CLAIMS = STORES + "test_only_what_is_due_is_claimed_and_only_once"
LOST = STORES + "test_an_attempt_that_lost_its_request_writes_nothing"
FAILING = WORKER + "test_a_handler_fails_in_every_way_and_ends_its_request_alone"
RETRYING = WORKER + "test_a_retryable_error_backs_off_and_then_succeeds"
EXHAUSTED = WORKER + "test_attempts_are_exhausted"
SLOTS = WORKER + "test_slots_bound_what_runs_and_waiting_requests_fill_them"
STEPS = WORKER + "test_a_request_runs_from_acknowledgment_to_outcome"
LONG_REQUESTS = {
    "acknowledged-although-not-stored": (
        ROUTER + "test_an_acceptance_that_failed_is_refused",
        ROUTER + "test_a_store_that_fails_is_answered_once",
    ),
    "acknowledged-before-stored": (
        ROUTER + "test_nothing_is_handed_over_before_its_acknowledgment_was_posted",
    ),
    "status-by-delete-and-create": (DYING,),
    "enqueued-then-acknowledged": (
        ROUTER + "test_nothing_is_handed_over_before_its_acknowledgment_was_posted",
    ),
    "progress-after-the-outcome": (STEPS,),
    "error-for-each-retry": (RETRYING,),
    "subscriber-misses-the-outcome": (
        ACTIONS + "test_a_slow_subscriber_may_miss_progress_and_never_the_outcome",
        ACTIONS + "test_a_subscriber_gets_every_later_message_unchanged",
    ),
    "claim-without-a-condition": (CLAIMS,),
    "ended-requests-run-again": (
        LAMBDAS + "test_processor.py::test_replayed_records_run_nothing_again",
    ),
    "fencing-token-unread": (LOST,),
    "lost-attempt-sends-on": (WORKER + "test_a_cancelled_request_stops_at_its_next_write",),
    "outcome-overwritten": (STORES + "test_a_request_ends_once_from_outside",),
    "tenant-missing-from-the-key": (KEYS,),
    "user-missing-from-the-key": (KEYS,),
    "key-with-a-plain-separator": (
        ROUTER + "test_users_whose_names_run_together_are_different_users",
    ),
    "reused-id-overwrites": (DUPLICATE,),
    "ended-ids-come-again": (DUPLICATE,),
    "duplicate-without-a-status": (DUPLICATE,),
    "two-attempts-by-default": (RETRYING,),
    "short-ids-are-remembered": (
        ROUTER + "test_an_id_is_used_up_only_by_a_request_that_was_queued",
    ),
    "unknown-action-says-nothing": (
        WORKER + "test_an_action_that_the_worker_does_not_know_ends_the_request",
    ),
    "invalid-payload-says-nothing": (
        WORKER + "test_a_payload_that_the_worker_finds_invalid_ends_the_request",
    ),
    "retryability-from-the-text": (WORKER + "test_a_text_makes_no_error_retryable",),
    "attempts-without-end": (EXHAUSTED,),
    "time-limit-unread": (FAILING,),
    "retries-without-a-pause": (WORKER + "test_pauses_between_attempts_double_with_full_jitter",),
    "one-after-the-other": (WORKER + "test_a_slow_request_delays_no_other",),
    "invocations-count-not-slots": (SLOTS,),
    "processor-waits": (LAMBDAS + "test_processor.py::test_it_returns_before_the_work_is_done",),
    "anothers-is-forbidden": (ANOTHERS,),
    "cancel-says-so-alone": (ACTIONS + "test_a_waiting_request_is_cancelled_by_the_canceller",),
    "ended-is-cancelled-again": (ACTIONS + "test_a_completed_request_cannot_be_cancelled",),
    "cancelled-before-what-is-under-way": (
        WORKER + "test_a_cancelled_request_stops_at_its_next_write",
        WORKER + "test_a_cancelled_request_stops_at_the_next_renewal",
    ),
    "cancelled-without-an-outcome": (
        ACTIONS + "test_a_waiting_request_is_cancelled_by_the_canceller",
    ),
}
RULES_OF_PROGRESS = CORE + "test_coalescing.py::test_what_leaves_keeps_every_rule"
INTERVAL = WORKER + "test_progress_keeps_its_interval_and_the_newest_wins"
FLUSH = WORKER + "test_what_is_pending_is_flushed_before_the_outcome_without_sleeping"
PROGRESS = {
    "percentages-unbounded": (RULES_OF_PROGRESS,),
    "percentages-fall": (RULES_OF_PROGRESS,),
    "hundred-more-than-once": (
        CORE + "test_coalescing.py::test_after_a_hundred_only_the_outcome_is_left",
    ),
    "interval-of-ten-milliseconds": (INTERVAL,),
    "first-update-wins": (INTERVAL,),
    "one-step-behind": (INTERVAL, FLUSH),
    "update-waits-a-second": (INTERVAL,),
    "pending-is-dropped": (FLUSH,),
    "outcome-waits-by-sleeping": (FLUSH,),
    "outcome-leaves-the-waiting-behind": (
        WORKER + "test_a_worker_that_dies_beside_a_slow_receiver_loses_no_progress",
    ),
    "nothing-is-noted": (WORKER + "test_status_is_an_interval_old_at_most_while_a_receiver_hangs",),
    "percentage-is-not-stored": (ACTIONS + "test_status_follows_a_request_to_its_result",),
    "metadata-of-later": (WORKER + "test_metadata_is_copied_when_it_is_set",),
    "metadata-of-the-last-alone": (WORKER + "test_metadata_stays_until_it_is_set_again",),
    "retry-begins-at-zero": (WORKER + "test_a_takeover_keeps_the_floor",),
    "handler-waits-for-its-receiver": (
        WORKER + "test_a_receiver_that_hangs_slows_no_handler_and_no_other_request",
    ),
}
TAKEN_BACK = SWEEPER + "test_an_expired_lease_is_taken_back"
SEVEN_DAYS = SWEEPER + "test_results_are_kept_for_seven_days_and_then_forgotten"
UNREADABLE_RECORD = (
    LAMBDAS + "test_processor.py::test_an_unreadable_record_is_parked_and_its_request_fails"
)
DEATHS = WORKER + "test_deaths_end_a_request_after_the_fifth"
UNCHANGED = WORKER + "test_an_outcome_that_was_not_taken_is_posted_again_unchanged"
RECOVERY = {
    "lease-never-expires": (TAKEN_BACK,),
    "sweeps-wait-for-slow-clients": (
        SWEEPER + "test_a_slow_client_keeps_nobodys_request_from_being_taken_over",
    ),
    "lease-of-an-hour": (
        SWEEPER + "test_a_worker_that_stands_still_loses_its_requests_after_five_seconds",
    ),
    "lease-is-renewed-too-late": (WORKER + "test_the_lease_is_renewed_while_work_goes_on",),
    "unclaimed-for-a-minute": (SWEEPER + "test_what_nobody_took_is_handed_over_after_ten_seconds",),
    "lease-is-not-renewed": (WORKER + "test_the_lease_is_renewed_while_work_goes_on",),
    "death-seen-and-not-told": (SWEEPER + "test_a_death_that_was_seen_is_taken_back_at_once",),
    "death-counts-as-failure": (
        WORKER + "test_others_of_the_batch_are_unharmed_by_a_death",
        DEATHS,
    ),
    "unclaimed-is-forgotten": (SWEEPER + "test_what_nobody_took_is_handed_over_after_ten_seconds",),
    "undelivered-is-forgotten": (UNCHANGED,),
    "outcome-is-made-anew": (UNCHANGED,),
    "result-is-dropped": (ACTIONS + "test_status_follows_a_request_to_its_result",),
    "retention-of-a-day": (SEVEN_DAYS,),
    "retention-without-end": (SEVEN_DAYS,),
    "status-for-its-connection-alone": (ACTIONS + "test_status_follows_a_request_to_its_result",),
    "poison-record-raises": (UNREADABLE_RECORD,),
    "poison-record-swallowed": (UNREADABLE_RECORD,),
    "parked-and-left-open": (UNREADABLE_RECORD,),
    "poisonous-among-the-others": (
        LAMBDAS + "test_processor.py::test_what_waits_is_handed_over_together_or_alone",
        DEATHS,
    ),
    "deaths-without-end": (DEATHS,),
    "three-deaths-are-enough": (DEATHS,),
    "deaths-without-a-pause": (DEATHS,),
}
OBSERVED = "reference/observability/"
CALLS = "reference/test_calls_per_operation.py::"
EMITTED = OBSERVED + "test_alarms.py::test_each_alarm_is_on_what_the_code_emits"
FOLLOWS = OBSERVED + "test_logs.py::test_the_correlation_id_follows_a_request"
OPERATORS = {
    "correlation-id-of-each-function": (FOLLOWS,),
    "lines-that-are-no-json": (OBSERVED + "test_logs.py::test_a_line_is_one_object",),
    "requests-unnamed": (FOLLOWS,),
    "queue-delay-unmeasured": (EMITTED,),
    "metrics-of-another-namespace": (
        OBSERVED + "test_metrics.py::test_a_flush_is_one_line_with_units_and_dimensions",
    ),
    "alarms-on-nothing": (EMITTED,),
    "trace-of-each-function": (
        OBSERVED + "test_traces.py::test_one_trace_per_request_across_its_functions",
    ),
    "a-read-more-per-message": (CALLS + "test_a_short_request_is_one_read_one_write_one_post",),
    "a-write-more-per-progress": (
        CALLS + "test_a_long_request_is_five_writes_and_one_per_progress_message",
    ),
    "a-lease-per-request": (CALLS + "test_a_lease_is_one_write_per_renewal_whatever_runs",),
    "a-read-per-recipient": (CALLS + "test_a_broadcast_is_a_query_per_hundred_and_a_post_each",),
}
KILLS: dict[str, tuple[str, ...]] = {
    **CONNECTING,
    **MESSAGES_TESTS,
    **LONG_REQUESTS,
    **PROGRESS,
    **RECOVERY,
    **DELIVERY,
    **LIMITS,
    **PLATFORM,
    **OPERATORS,
}
