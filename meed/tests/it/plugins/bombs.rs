//! Compile bombs through the API while other clients use it. `cargo xtask bench bombs` measures the latency.

use std::time::{Duration, Instant};

use meed_host::auth::Role;

use crate::bombs;
use crate::support::{TestApp, bundled};

/// The time that an upload may take in addition to the processor time of its compile process; all tests run
/// concurrently.
const MOST: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_is_refused_and_meanwhile_the_api_answers() {
    let app = TestApp::on_sqlite().await;
    let (token, user) = (app.operator().await, app.token(Role::User).await);
    let names = ["living-locals", "nested-loops", "branches-past-locals"];
    for bomb in bombs::all().into_iter().filter(|bomb| names.contains(&bomb.name)) {
        let call = app.post("/plugins").bearer(&token);
        let started = Instant::now();
        let upload = tokio::spawn(call.bytes("application/wasm", bomb.module).send());
        let mut answers = 0;
        loop {
            app.get("/livez").send().await.expect(200);
            app.get("/events/active").bearer(&user).send().await.expect(200);
            answers += 1;
            if upload.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let reply = upload.await.expect("an answer");
        assert!(started.elapsed() < MOST, "{} took {:?}", bomb.name, started.elapsed());
        // A fast machine may compile a bomb that passed the structure check.
        if !bomb.passes || reply.status != 201 {
            let problem = reply.expect_problem(422, "plugin-refused");
            let refusal = if bomb.passes {
                "compile-limit"
            } else {
                "structure-limit"
            };
            assert_eq!(problem["refusal"], refusal, "{}: {problem:#}", bomb.name);
        }
        // An upload that takes seconds overlaps with many other requests.
        assert!(answers > 5 || !bomb.passes, "{answers} answers");
    }
    app.upload(bundled("first-come")).await.expect(201);
}
