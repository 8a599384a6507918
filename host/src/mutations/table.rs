//! The known bugs and the tests that must find each. Data only: `xtask` and the tests include this file as well.

/// A bug that `cargo xtask mutations` switches on.
#[allow(dead_code, reason = "each crate that includes this file reads some of the fields")]
#[derive(Debug)]
pub(crate) struct Mutation {
    /// What `MEED_MUTATION` and `mutations::active` call it.
    pub(crate) name: &'static str,
    pub(crate) bug: &'static str,
    /// Each of these tests must fail.
    pub(crate) found_by: &'static [Test],
    /// Replacements in every statement and migration: the original text and the mutant. A bug in Rust has none.
    pub(crate) sql: &'static [(&'static str, &'static str)],
}

/// A test by its path in the test binary, and the engines on which it must find the bug.
#[allow(dead_code, reason = "not every kind of test is in the table at all times")]
#[derive(Debug)]
pub(crate) enum Test {
    Both(&'static str),
    Sqlite(&'static str),
    Postgres(&'static str),
    /// The test does not run once per engine.
    Plain(&'static str),
}

#[allow(dead_code, reason = "each crate that includes this file uses some of the functions")]
impl Test {
    pub(crate) fn path(&self) -> &'static str {
        match self {
            Self::Both(path) | Self::Sqlite(path) | Self::Postgres(path) | Self::Plain(path) => path,
        }
    }

    /// The names of the test in the test runner.
    pub(crate) fn names(&self) -> Vec<String> {
        let cases: &[&str] = match self {
            Self::Both(_) => &["::case_1_sqlite", "::case_2_postgres"],
            Self::Sqlite(_) => &["::case_1_sqlite"],
            Self::Postgres(_) => &["::case_2_postgres"],
            Self::Plain(_) => &[""],
        };
        cases.iter().map(|case| format!("{}{case}", self.path())).collect()
    }
}

pub(crate) const ALL: &[Mutation] = &[
    Mutation {
        name: "erased-receipt-kept",
        bug: "The erasure of a user keeps the content of receipts.",
        found_by: &[Test::Both(
            "users::erasure::an_erasure_leaves_nothing_personal_and_receipts_still_verify",
        )],
        sql: &[("receipt = NULL, receipt_salt = NULL, reasons = '[]'", "reasons = '[]'")],
    },
    Mutation {
        name: "facts-built-at-once",
        bug: "The builder of facts does not wait for transactions that have not seen a new head.",
        found_by: &[Test::Postgres(
            "facts::maintained::activities_of_a_transaction_that_began_before_the_head_are_not_lost",
        )],
        sql: &[],
    },
    Mutation {
        name: "compacted-at-once",
        bug: "The compaction does not wait for transactions that have not seen a new horizon.",
        found_by: &[Test::Postgres(
            "facts::compaction::an_old_activity_of_a_running_transaction_is_not_lost",
        )],
        sql: &[],
    },
    Mutation {
        name: "horizon-ignored",
        bug: "Activities of a time that is compacted are recorded.",
        found_by: &[Test::Both(
            "facts::compaction::what_is_compacted_is_not_counted_again_and_takes_nothing_more",
        )],
        sql: &[(
            "SELECT kind, until, invited_until, is_settled, scanned FROM fact_horizons ORDER BY kind",
            "SELECT kind, until, invited_until, is_settled, scanned FROM fact_horizons WHERE FALSE",
        )],
    },
    Mutation {
        name: "late-activity-not-added",
        bug: "A late activity changes no marks.",
        found_by: &[Test::Both(
            "facts::maintained::maintained_facts_are_those_of_the_log_while_activities_arrive",
        )],
        sql: &[
            (
                "UPDATE fact_marks SET n = n + $7, sum = sum + $8",
                "UPDATE fact_marks SET n = n + 0 * $7, sum = sum + 0 * $8",
            ),
            (
                "UPDATE fact_marks m SET n = m.n + d.n, sum = m.sum + d.sum",
                "UPDATE fact_marks m SET n = m.n, sum = m.sum",
            ),
        ],
    },
    Mutation {
        name: "external-user-twice",
        bug: "An upsert of a known external id creates another user.",
        found_by: &[Test::Both(
            "users::external::an_upsert_creates_a_user_once_and_sets_its_attributes",
        )],
        sql: &[
            (
                "FROM item JOIN entered ON entered.user_id = item.id RETURNING id",
                "FROM item LEFT JOIN entered ON entered.user_id = item.id RETURNING id",
            ),
            (
                "AS item WHERE NOT EXISTS (SELECT 1 FROM user_directory d",
                "AS item WHERE TRUE OR NOT EXISTS (SELECT 1 FROM user_directory d",
            ),
        ],
    },
    Mutation {
        name: "known-by-ignored",
        bug: "An answer about the past counts activities that were recorded later.",
        found_by: &[
            Test::Both("facts::past::a_late_activity_changes_answers_but_no_receipt"),
            Test::Both("facts::kernel::the_kernel_and_the_database_agree"),
        ],
        sql: &[],
    },
    Mutation {
        name: "kernel-knows-all",
        bug: "The kernel counts what was recorded after the instant by which it may know.",
        found_by: &[Test::Both("facts::kernel::the_kernel_and_the_database_agree")],
        sql: &[],
    },
    Mutation {
        name: "answer-apart",
        bug: "The answer under an idempotency key is written after the claim, in its own transaction.",
        found_by: &[Test::Both("faults::race::the_whole_stock_is_granted_and_never_more")],
        sql: &[],
    },
    Mutation {
        name: "answer-before-commit",
        bug: "A claim is answered before its batch is committed.",
        found_by: &[Test::Both(
            "faults::kill::acknowledged_grants_survive_kills_and_every_key_has_one_response",
        )],
        sql: &[],
    },
    Mutation {
        name: "budget-kept",
        bug: "A reversed grant stays counted in the event's budget.",
        found_by: &[Test::Both(
            "faults::budgets::reversed_grants_are_granted_once_more_and_never_beyond_the_budget",
        )],
        sql: &[(
            "grants = grants - 1, amount = amount - $3",
            "grants = grants, amount = amount - 0 * $3",
        )],
    },
    Mutation {
        name: "budget-unguarded",
        bug: "An event's budget is counted but does not limit grants.",
        found_by: &[Test::Both(
            "faults::budgets::reversed_grants_are_granted_once_more_and_never_beyond_the_budget",
        )],
        sql: &[
            ("event_budgets.grants + 1 <= excluded.max_grants", "TRUE"),
            ("event_budgets.amount + excluded.amount <= excluded.max_amount", "TRUE"),
            ("CHECK (grants <= max_grants)", "CHECK (grants >= 0)"),
            ("CHECK (amount <= max_amount)", "CHECK (amount >= 0)"),
        ],
    },
    Mutation {
        name: "claim-time-of-reading",
        bug: "A claim from a topic is dated when it is read, not when its message was made.",
        found_by: &[Test::Both("kafka::claims::a_claim_has_the_time_of_its_message")],
        sql: &[],
    },
    Mutation {
        name: "conflict-not-retried",
        bug: "A transaction that lost a conflict on PostgreSQL is not retried.",
        found_by: &[
            Test::Plain("database::conflicts::a_claim_is_retried_after_every_kind_of_conflict"),
            Test::Plain("database::conflicts::a_reversal_is_retried_after_every_kind_of_conflict"),
        ],
        sql: &[],
    },
    Mutation {
        name: "dead-letter-with-long-key",
        bug: "A dead letter whose key makes it too long is retried with that key for ever.",
        found_by: &[Test::Both(
            "kafka::consume::a_message_too_long_for_the_dead_letter_topic_is_truncated_and_blocks_nothing",
        )],
        sql: &[],
    },
    Mutation {
        name: "two-lease-holders",
        bug: "Two processes hold a lease at the same time, so both publish.",
        found_by: &[Test::Plain(
            "kafka::publish::one_of_two_processes_publishes_and_the_other_takes_over",
        )],
        sql: &[
            ("SET fence = fence + 1, lease_until", "SET fence = fence, lease_until"),
            ("AND (lease_until <= $2 OR", "AND (lease_until <= $2 + 1000000000 OR"),
        ],
    },
    Mutation {
        name: "failure-kept",
        bug: "The answer to a failed claim is kept under its idempotency key, so it cannot be retried.",
        found_by: &[Test::Both("reward_requests::idempotency::a_failure_is_not_stored")],
        sql: &[],
    },
    Mutation {
        name: "reversed-twice",
        bug: "A reversed grant can be reversed again, and its stock is returned each time.",
        found_by: &[Test::Both(
            "reward_requests::reversal::only_granted_requests_can_be_reversed_and_only_once",
        )],
        sql: &[
            (
                "SET status = 'REVERSED' WHERE id = $1 AND status = 'GRANTED'",
                "SET status = 'REVERSED' WHERE id = $1 AND status IN ('GRANTED', 'REVERSED')",
            ),
            (
                "PRIMARY KEY (user_id, request_id)",
                "PRIMARY KEY (user_id, request_id, id)",
            ),
        ],
    },
    Mutation {
        name: "reviewed-twice",
        bug: "A claim that was just reviewed can be reviewed again.",
        found_by: &[Test::Both(
            "reward_requests::reviews::of_concurrent_reviews_one_succeeds",
        )],
        sql: &[(
            "WHERE user_id = $1 AND id = $2 AND status = 'HELD'",
            "WHERE user_id = $1 AND id = $2",
        )],
    },
    Mutation {
        name: "granted-cache-outlives-reversal",
        bug: "The granted cache keeps a grant that was reversed.",
        found_by: &[
            Test::Both("cache::granted::after_a_reversal_every_process_reads_the_database"),
            Test::Both("faults::budgets::reversed_grants_are_granted_once_more_and_never_beyond_the_budget"),
        ],
        sql: &[],
    },
    Mutation {
        name: "queue-out-of-order",
        bug: "Pending claims are settled by descending id, not by arrival.",
        found_by: &[Test::Both(
            "reward_requests::received::pending_claims_are_decided_in_order_of_arrival",
        )],
        sql: &[(
            "AND retry_at = 0 ORDER BY id LIMIT $2",
            "AND retry_at = 0 ORDER BY id DESC LIMIT $2",
        )],
    },
    Mutation {
        name: "outcome-read-once",
        bug: "A commit with unknown outcome is looked up once, although it may complete later.",
        found_by: &[Test::Plain(
            "faults::lost_replies::a_commit_that_finishes_after_its_lookup_is_not_repeated",
        )],
        sql: &[],
    },
    Mutation {
        name: "new-ids-after-lost-reply",
        bug: "A commit with unknown outcome counts as lost, so the claim is decided again under new ids.",
        found_by: &[Test::Plain(
            "faults::lost_replies::a_claim_without_a_key_is_written_once",
        )],
        sql: &[],
    },
    Mutation {
        name: "offsets-before-database",
        bug: "Offsets are committed before the messages are recorded.",
        found_by: &[Test::Both(
            "kafka::consume::during_a_database_failure_messages_wait_and_none_is_dead_lettered",
        )],
        sql: &[],
    },
    Mutation {
        name: "outbox-message-missing",
        bug: "A claim with an idempotency key writes no outbox message.",
        found_by: &[Test::Both("faults::race::the_whole_stock_is_granted_and_never_more")],
        sql: &[],
    },
    Mutation {
        name: "slot-not-unique",
        bug: "A period slot can be granted twice: its index is not unique.",
        found_by: &[Test::Postgres(
            "faults::race::the_whole_stock_is_granted_and_never_more",
        )],
        sql: &[(
            "CREATE UNIQUE INDEX reward_requests_slots",
            "CREATE INDEX reward_requests_slots",
        )],
    },
    Mutation {
        name: "published-without-acknowledgement",
        bug: "A message that the broker did not acknowledge leaves the outbox.",
        found_by: &[Test::Plain(
            "kafka::publish::an_outage_beyond_the_delivery_timeout_loses_nothing",
        )],
        sql: &[],
    },
    Mutation {
        name: "redis-opens-limit",
        bug: "When Redis allows a call, the limit of the process is not applied.",
        found_by: &[Test::Both(
            "cache::limits::a_forged_bucket_lifts_no_limit_and_blocks_for_one_window_at_most",
        )],
        sql: &[],
    },
    Mutation {
        name: "refresh-read-then-write",
        bug: "A refresh token is read and consumed in two statements.",
        found_by: &[Test::Postgres(
            "faults::refresh::at_most_one_of_64_concurrent_refreshes_succeeds_and_the_session_ends",
        )],
        sql: &[],
    },
    Mutation {
        name: "repeat-decided-again",
        bug: "A pending claim that was answered under its key meanwhile is decided again.",
        found_by: &[Test::Both(
            "reward_requests::received::a_pending_claim_already_answered_under_its_key_is_not_granted_again",
        )],
        sql: &[],
    },
    Mutation {
        name: "review-not-logged",
        bug: "The decision of a review is not queued for the transparency log.",
        found_by: &[Test::Both(
            "transparency::appending::a_held_claim_keeps_its_leaf_and_gets_another_by_its_review",
        )],
        sql: &[],
    },
    Mutation {
        name: "revision-not-confirmed",
        bug: "The commit does not notice that the event was paused or changed since the decision.",
        found_by: &[Test::Both(
            "reward_requests::gates::another_process_sees_the_pause_immediately",
        )],
        sql: &[(
            "c.id = i.event_id AND c.revision = i.event_revision",
            "c.id = i.event_id",
        )],
    },
    Mutation {
        name: "savepoint-kept",
        bug: "On SQLite, a claim that lost keeps what it had written.",
        found_by: &[Test::Sqlite("faults::race::the_whole_stock_is_granted_and_never_more")],
        sql: &[],
    },
    Mutation {
        name: "settled-claim-stays",
        bug: "A pending claim stays in its queue when its reward request is written.",
        found_by: &[Test::Both(
            "faults::queued_claims::queued_claims_are_decided_once_and_in_order",
        )],
        sql: &[(
            "DELETE FROM pending_claims p USING requests r WHERE p.user_id = r.user_id AND p.id = r.id",
            "DELETE FROM pending_claims p USING requests r WHERE p.user_id = r.user_id AND p.id = r.id AND FALSE",
        )],
    },
    Mutation {
        name: "group-unguarded",
        bug: "Concurrent claims of a user get the same number in an event group.",
        found_by: &[Test::Both(
            "reward_requests::groups::of_concurrent_claims_exactly_the_maximum_is_granted",
        )],
        sql: &[(
            "CREATE UNIQUE INDEX reward_requests_groups",
            "CREATE INDEX reward_requests_groups",
        )],
    },
    Mutation {
        name: "codes-not-counted-on",
        bug: "The claims of a batch, or the ones after each other, take the same position of a code pool.",
        found_by: &[Test::Both(
            "rewards::codes::of_many_claims_at_two_processes_each_code_is_given_to_one",
        )],
        sql: &[
            ("next_code = next_code + $2", "next_code = next_code"),
            ("next_code = s.next_code + n.quantity", "next_code = s.next_code"),
        ],
    },
    Mutation {
        name: "codes-of-others",
        bug: "Staff see the codes of users.",
        found_by: &[Test::Both("rewards::codes::a_grant_shows_its_codes_to_its_owner_only")],
        sql: &[],
    },
    Mutation {
        name: "stock-taken-once-per-batch",
        bug: "A batch takes the quantity of its largest claim from a stock, not the sum of all.",
        found_by: &[Test::Postgres(
            "faults::race::the_whole_stock_is_granted_and_never_more",
        )],
        sql: &[(
            "SUM(quantity)::BIGINT AS quantity FROM granted",
            "MAX(quantity)::BIGINT AS quantity FROM granted",
        )],
    },
    Mutation {
        name: "stock-unguarded",
        bug: "Stock is taken without a check that it suffices.",
        found_by: &[Test::Both("faults::race::the_whole_stock_is_granted_and_never_more")],
        sql: &[
            ("WHERE reward_id = $1 AND remaining >= $2", "WHERE reward_id = $1"),
            (
                "CHECK (remaining >= 0 AND remaining <= total)",
                "CHECK (remaining <= total)",
            ),
        ],
    },
    Mutation {
        name: "topic-order-lost",
        bug: "Claims from a topic get ids in random order, which decides their order within one millisecond.",
        found_by: &[Test::Both("kafka::claims::claims_of_a_topic_are_decided_in_order")],
        sql: &[],
    },
    Mutation {
        name: "sold-out-though-granted",
        bug: "A user whose claim found nothing left is refused again, although a later claim was granted.",
        found_by: &[Test::Both(
            "reward_requests::sold_out::a_grant_by_another_process_is_visible_within_a_second_although_the_stock_is_gone_again",
        )],
        sql: &[],
    },
];
