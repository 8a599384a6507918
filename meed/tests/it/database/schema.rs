//! What a process says about tables that it cannot use.

use meed_host::db::{Engine, Schema, Unfit};
use rstest_reuse::apply;

use crate::support::{TestApp, on_both_engines};

async fn change(app: &TestApp, sql: &'static str) {
    let mut tx = app.app.db.begin().await.expect("a transaction");
    tx.query(sql).execute(&mut tx).await.expect(sql);
    tx.commit().await.expect("a commit");
}

#[apply(on_both_engines)]
async fn a_table_that_cannot_be_read_is_reported_in_the_databases_words(app: TestApp) {
    assert_eq!(app.app.db.schema().await.expect("the tables"), Schema::Current);
    change(&app, "ALTER TABLE _sqlx_migrations RENAME COLUMN success TO ended").await;
    let said = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    };
    let schema = app.app.db.schema().await.expect_err("no such column");
    let migrate = app.app.db.migrate().await.expect_err("no such column");
    for text in [said(&schema), said(&migrate)] {
        assert!(text.contains("success") && !text.contains("not migrated"), "{text}");
    }
}

#[apply(on_both_engines)]
async fn a_database_without_tables_is_not_migrated(app: TestApp) {
    change(&app, "DROP TABLE _sqlx_migrations").await;
    assert_eq!(app.app.db.schema().await.expect("no tables"), Schema::Older);
}

#[apply(on_both_engines)]
async fn tables_in_another_schema_are_told_apart_from_none(app: TestApp) {
    if app.app.db.engine() == Engine::Sqlite {
        return;
    }
    change(&app, "CREATE SCHEMA elsewhere").await;
    change(&app, "ALTER TABLE _sqlx_migrations SET SCHEMA elsewhere").await;
    let schema = app.app.db.schema().await.expect("the catalog");
    assert_eq!(schema.check(), Err(Unfit::Elsewhere));
    assert!(Unfit::Elsewhere.to_string().contains("search_path"));
}
