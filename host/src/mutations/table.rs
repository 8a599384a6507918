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

    /// The names by which the test runner knows it.
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
        name: "conflict-not-retried",
        bug: "A transaction that lost a conflict on PostgreSQL is not retried.",
        found_by: &[
            Test::Plain("database::conflicts::a_claim_is_tried_again_after_every_kind_of_conflict"),
            Test::Plain("database::conflicts::a_reversal_is_tried_again_after_every_kind_of_conflict"),
        ],
        sql: &[],
    },
    Mutation {
        name: "dead-letter-with-long-key",
        bug: "A dead letter whose key makes it too long is retried with that key for ever.",
        found_by: &[Test::Both(
            "kafka::consume::a_message_that_is_too_long_to_be_put_aside_whole_holds_up_nobody",
        )],
        sql: &[],
    },
    Mutation {
        name: "two-lease-holders",
        bug: "Two processes hold a lease at the same time, so both publish.",
        found_by: &[Test::Plain(
            "kafka::publish::of_two_processes_one_publishes_and_the_other_takes_over",
        )],
        sql: &[
            ("SET fence = fence + 1, lease_until", "SET fence = fence, lease_until"),
            (
                "AND lease_until <= $2 RETURNING fence",
                "AND lease_until <= $2 + 1000000000 RETURNING fence",
            ),
        ],
    },
    Mutation {
        name: "reversed-twice",
        bug: "A reversed grant can be reversed again, and its stock is returned each time.",
        found_by: &[Test::Both(
            "reward_requests::reversal::only_what_is_granted_can_be_taken_back_and_only_once",
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
        name: "queue-out-of-order",
        bug: "Pending claims are settled by descending id, not by arrival.",
        found_by: &[Test::Both(
            "reward_requests::received::those_who_came_first_are_served_first",
        )],
        sql: &[(
            "WHERE event_id = $1 ORDER BY received_at, id LIMIT $2",
            "WHERE event_id = $1 ORDER BY id DESC LIMIT $2",
        )],
    },
    Mutation {
        name: "offsets-before-database",
        bug: "Offsets are committed before the messages are recorded.",
        found_by: &[Test::Both(
            "kafka::consume::a_database_that_fails_is_waited_for_and_nobody_is_blamed",
        )],
        sql: &[],
    },
    Mutation {
        name: "slot-not-unique",
        bug: "A period slot can be granted twice: its index is not unique.",
        found_by: &[Test::Postgres(
            "faults::race::the_whole_stock_is_granted_and_never_more",
        )],
        sql: &[(
            "CREATE UNIQUE INDEX reward_requests_granted",
            "CREATE INDEX reward_requests_granted",
        )],
    },
    Mutation {
        name: "published-without-acknowledgement",
        bug: "A message that the broker did not acknowledge leaves the outbox.",
        found_by: &[Test::Plain(
            "kafka::publish::an_outage_that_is_longer_than_a_delivery_loses_nothing",
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
];
