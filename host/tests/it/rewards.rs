//! `/rewards`

use serde_json::json;

use crate::support::on_both_engines;

on_both_engines! {
    async fn needs_a_token(app: TestApp) {
        app.get("/rewards").send().await.expect_problem(401, "unauthenticated");
        app.post("/rewards").json(&json!({"type": "POINT"})).send().await.expect_problem(401, "unauthenticated");
    }
}
