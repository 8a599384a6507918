//! The files that a browser gets

use meed_host::config::ConsoleAt;
use meed_host::console::Files;
use rstest_reuse::apply;

use super::{cookies, log_in};
use crate::support::{Call, TestApp, on_both_engines};
use meed_host::auth::Role;

const PAGE: &str = "<!doctype html><title>Meed</title>";

fn with_files(app: &TestApp) -> axum::Router {
    let files: [(&'static str, &'static [u8]); 3] = [
        ("index.html", PAGE.as_bytes()),
        ("assets/index-1.js", b"let a;"),
        ("assets/index-1.js.gz", b"\x1f\x8b"),
    ];
    (*app.app).clone().with_console(Files::new(files)).router()
}

#[apply(on_both_engines)]
async fn every_screen_is_the_same_page_under_a_strict_policy(app: TestApp) {
    let router = with_files(&app);
    for path in ["/console/", "/console/claims", "/console/users/external%3Aada"] {
        let reply = Call::new(router.clone(), "GET", path).send().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.bytes[..]),
            (200, PAGE.as_bytes()),
            "{path}"
        );
        let policy = reply.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        assert_eq!(reply.header("cache-control"), "no-cache");
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    }
    let reply = Call::new(router, "GET", "/console").send().await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (308, "/console/"));
}

#[apply(on_both_engines)]
async fn hashed_files_are_kept_for_ever_and_packed(app: TestApp) {
    let router = with_files(&app);
    let get = |path: &str| Call::new(router.clone(), "GET", path);
    let plain = get("/console/assets/index-1.js").send().await;
    assert_eq!(plain.bytes, b"let a;");
    assert_eq!(plain.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
    let packed = get("/console/assets/index-1.js")
        .header("accept-encoding", "br, gzip")
        .send()
        .await;
    assert_eq!(
        (packed.header("content-encoding"), &packed.bytes[..]),
        ("gzip", b"\x1f\x8b".as_slice())
    );
    // A page of an older build asks for a file that is gone: no page in its place.
    get("/console/assets/index-0.js")
        .send()
        .await
        .expect_problem(404, "no-such-route");
    for path in ["/console/../keys", "/console/%2e%2e/keys", "/console/..%2fkeys"] {
        let reply = get(path).send().await;
        assert!(
            reply.status == 404 || reply.bytes == PAGE.as_bytes(),
            "{path}: {}",
            reply.status
        );
    }
}

#[apply(on_both_engines)]
async fn a_build_without_the_console_says_so(app: TestApp) {
    let router = (*app.app).clone().with_console(Files::default()).router();
    let reply = Call::new(router, "GET", "/console/claims").send().await;
    assert_eq!(reply.status, 404);
    let page = String::from_utf8(reply.bytes.clone()).expect("text");
    assert!(page.contains("cargo xtask console"), "{page}");
    assert!(!reply.header("content-security-policy").contains("unsafe"));
}

#[apply(on_both_engines)]
async fn the_setting_turns_the_console_off_or_moves_it(app: TestApp) {
    let operator = app.user(Role::Operator).await;
    let cookie = cookies(&log_in(&app, &operator).await);
    for (at, moved) in [(ConsoleAt::Off, false), (ConsoleAt::Admin, true)] {
        let other = app.replica_with(|config, _| config.http.console = at);
        other.get("/console/").send().await.expect_problem(404, "no-such-route");
        // Nor does a cookie count there.
        let read = other.get("/rewards").header("cookie", &cookie).send().await;
        read.expect_problem(401, "unauthenticated");
        let admin = other.app.admin_router();
        assert_eq!(admin.is_some(), moved);
        if let Some(router) = admin {
            let read = Call::new(router, "GET", "/rewards")
                .header("cookie", &cookie)
                .send()
                .await;
            read.expect(200);
        }
    }
    assert!(app.app.admin_router().is_none());
}
