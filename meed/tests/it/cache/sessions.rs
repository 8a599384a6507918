//! Sessions in Redis save a database read, and never extend a session

use meed_host::auth::Role;
use rstest_reuse::apply;

use super::{me, soon, two};
use crate::support::{RedisServer, TestApp, on_both_engines};

/// Ends every session in the database without an invalidation, so that only cached sessions are still accepted.
async fn end_silently(app: &TestApp) {
    let mut tx = app.app.db.begin().await.expect("a transaction");
    let end = tx.query("UPDATE sessions SET ended_at = $1").bind(app.clock.now());
    end.execute(&mut tx).await.expect("the sessions end");
    tx.commit().await.expect("a commit");
}

async fn only_session(redis: &RedisServer) -> String {
    let names = redis.names("meed:session:").await;
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

#[apply(on_both_engines)]
async fn a_session_read_by_one_process_is_cached_for_all(app: TestApp) {
    let (redis, here, there) = two(&app, &[]).await;
    let user = app.token(Role::User).await;
    assert_eq!(me(&here, &user).await, 200);
    only_session(&redis).await;
    end_silently(&app).await;
    assert_eq!(me(&there, &user).await, 200, "from Redis");
    app.at("2026-03-01T12:00:01.999Z");
    assert_eq!(me(&there, &user).await, 200);
    // The two seconds begin with the read from the database, not with the read from Redis.
    app.at("2026-03-01T12:00:02.000Z");
    assert_eq!(me(&there, &user).await, 401);
    assert_eq!(me(&here, &user).await, 401);
}

#[apply(on_both_engines)]
async fn an_ended_session_is_removed_before_the_response(app: TestApp) {
    let (redis, here, _there) = two(&app, &[]).await;
    let user = app.token(Role::User).await;
    assert_eq!(me(&here, &user).await, 200);
    let name = only_session(&redis).await;
    let value: Vec<u8> = redis.ask("GET", &[name.as_bytes()]).await;
    here.post("/auth/logout").bearer(&user).send().await.expect(204);
    let left: Vec<u8> = redis.ask("GET", &[name.as_bytes()]).await;
    assert!(!value.is_empty() && left.is_empty());
    // A process that starts now has received no invalidation.
    let late = redis.replica(&app, &[]).await;
    assert_eq!(me(&late, &user).await, 401);
    // A process that read the session before its end cannot store it again.
    let put: Option<String> = redis.ask("SET", &[name.as_bytes(), &value, b"NX"]).await;
    assert_eq!(put, None);
}

#[apply(on_both_engines)]
async fn a_restored_old_value_is_rejected(app: TestApp) {
    let (redis, here, _there) = two(&app, &[]).await;
    let user = app.token(Role::User).await;
    assert_eq!(me(&here, &user).await, 200);
    let name = only_session(&redis).await;
    let value: Vec<u8> = redis.ask("GET", &[name.as_bytes()]).await;
    here.post("/auth/logout").bearer(&user).send().await.expect(204);
    () = redis.ask("SET", &[name.as_bytes(), &value]).await;
    app.at("2026-03-01T12:00:02Z");
    let late = redis.replica(&app, &[]).await;
    assert_eq!(me(&late, &user).await, 401);
}

#[apply(on_both_engines)]
async fn forged_sessions_are_ignored(app: TestApp) {
    let (redis, here, there) = two(&app, &[]).await;
    let (living, over) = (app.token(Role::User).await, app.token(Role::User).await);
    assert_eq!(me(&here, &over).await, 200);
    let name = only_session(&redis).await;
    here.post("/auth/logout").bearer(&over).send().await.expect(204);
    soon("the session is over", async || me(&there, &over).await == 401).await;
    assert_eq!(me(&here, &living).await, 200);
    let names = redis.names("meed:session:").await;
    let other = names.iter().find(|other| **other != name).expect("the living session");
    let foreign: Vec<u8> = redis.ask("GET", &[other.as_bytes()]).await;
    let mut changed = foreign.clone();
    changed[50] ^= 1;
    for value in [foreign.as_slice(), b"garbage", &[0; 500], b"{}"] {
        () = redis.ask("SET", &[name.as_bytes(), value]).await;
        let late = redis.replica(&app, &[]).await;
        assert_eq!(me(&late, &over).await, 401);
    }
    for value in [changed.as_slice(), b"garbage"] {
        () = redis.ask("SET", &[other.as_bytes(), value]).await;
        let late = redis.replica(&app, &[]).await;
        assert_eq!(me(&late, &living).await, 200, "from the database");
    }
    let _: u64 = redis.ask("DEL", &[other.as_bytes()]).await;
    let _: u64 = redis.ask("LPUSH", &[other.as_bytes(), b"no text at all"]).await;
    let late = redis.replica(&app, &[]).await;
    assert_eq!(me(&late, &living).await, 200);
    assert!(
        late.app.cache.is_shared(),
        "a wrong value is no reason to give Redis up"
    );
}

#[apply(on_both_engines)]
async fn without_redis_the_database_answers(app: TestApp) {
    let (mut redis, here, there) = two(&app, &[]).await;
    let users = [
        app.token(Role::User).await,
        app.token(Role::User).await,
        app.token(Role::User).await,
    ];
    () = redis.ask("FLUSHALL", &[]).await;
    assert_eq!((me(&here, &users[0]).await, me(&there, &users[0]).await), (200, 200));
    redis.pause();
    assert_eq!((me(&here, &users[1]).await, me(&there, &users[1]).await), (200, 200));
    redis.resume();
    redis.kill();
    assert_eq!((me(&here, &users[2]).await, me(&there, &users[2]).await), (200, 200));
    here.post("/auth/logout").bearer(&users[2]).send().await.expect(204);
    assert_eq!(me(&here, &users[2]).await, 401);
}
