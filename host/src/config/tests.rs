//! The values that a file and the environment may contain, and the error for each fault.

use super::*;

#[test]
fn the_documented_defaults_are_complete() {
    let config = Config::load(None, None, &[]).unwrap();
    assert_eq!(config.http.listen.port(), 3000);
    assert_eq!(config.plugins.bundled_directory, None);
}

#[test]
fn a_data_dir_moves_the_default_files() {
    let config = Config::defaults(Path::new("/srv/meed")).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite:/srv/meed/meed.db");
    assert_eq!(config.keys.directory, Path::new("/srv/meed/keys"));
    assert_eq!(
        config.plugins.code_cache_directory.as_deref(),
        Some(Path::new("/srv/meed/code"))
    );
}

#[test]
fn an_override_wins_and_an_unknown_key_is_named() {
    let config = Config::load(None, None, &[("http.listen", "127.0.0.1:4000".to_owned())]).unwrap();
    assert_eq!(config.http.listen.port(), 4000);
    for (key, named) in [
        ("http.lisen", "http: unknown field `lisen`"),
        // Settings of earlier development versions.
        ("sandbox.pool.slots", "sandbox: unknown field `pool`"),
        (
            "sandbox.standard.call.note_lines",
            "sandbox.standard: unknown field `call`",
        ),
        ("auth.password_queue", "auth: unknown field `password_queue`"),
    ] {
        let error = Config::load(None, None, &[(key, "1".to_owned())]).unwrap_err();
        assert!(error.to_string().starts_with(named), "{error}");
    }
}

#[test]
fn a_url_file_replaces_the_url() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    let load = |key: &str| {
        let overrides = [
            ("database.url", "sqlite:elsewhere.db".to_owned()),
            (key, file.display().to_string()),
        ];
        Config::load(None, None, &overrides)
    };
    std::fs::write(&file, "redis://:hush@cache/0\n").unwrap();
    assert_eq!(
        load("cache.url_file").unwrap().cache.url.expose_secret(),
        "redis://:hush@cache/0"
    );
    let config = load("database.url_file").unwrap();
    assert_eq!(config.database.url.expose_secret(), "redis://:hush@cache/0");
    assert_eq!(config.cache.url.expose_secret(), "");
    assert!(!format!("{config:?}").contains("hush"));

    for (text, hint) in [
        ("\n", "the file is empty"),
        ("redis://cache\nhush\n", "and nothing else"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = load("cache.url_file").unwrap_err().to_string();
        assert!(
            error.starts_with("cache.url_file = ") && error.contains(hint),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = load("database.url_file").unwrap_err().to_string();
    assert!(
        error.starts_with("database.url_file = ") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let load = |text: &str| Config::load(None, None, &[("http.trusted_proxies", text.to_owned())]);
    assert_eq!(load("").unwrap().http.trusted_proxies, []);
    let proxies = load("10.0.0.0/8, ::1").unwrap().http.trusted_proxies;
    assert_eq!(proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    let error = load("10.0.0.0/8,proxy").unwrap_err();
    assert!(error.to_string().contains("\"proxy\" is neither"), "{error}");
}

#[test]
fn retries_are_durations_and_ports_are_ports() {
    let load = |key: &str, text: &str| Config::load(None, None, &[(key, text.to_owned())]);
    let retries = load("webhooks.retries", "500ms, 5s,2m, 24h").unwrap().webhooks.retries;
    assert_eq!(
        retries,
        [
            Duration::from_millis(500),
            Duration::from_secs(5),
            Duration::from_mins(2),
            Duration::from_hours(24)
        ]
    );
    assert!(load("webhooks.retries", "").unwrap().webhooks.retries.is_empty());
    let days: Duration = Config::load(None, None, &[]).unwrap().webhooks.retries.iter().sum();
    assert!(days > Duration::from_hours(48), "{days:?}");
    for bad in ["soon", "-5s", "721h", "5"] {
        let error = load("webhooks.retries", bad).unwrap_err().to_string();
        assert!(error.contains("is not a duration"), "{bad}: {error}");
    }
    assert_eq!(load("webhooks.ports", "443, 8443").unwrap().webhooks.ports, [443, 8443]);
    assert!(
        load("webhooks.ports", "65536")
            .unwrap_err()
            .to_string()
            .contains("is not a port")
    );
}

#[test]
fn the_documented_sandbox_is_the_default_one() {
    let documented = Config::load(None, None, &[]).unwrap().sandbox;
    assert_eq!(
        crate::sandbox::Settings::from(&documented),
        crate::sandbox::Settings::default()
    );
}

#[test]
fn one_limit_of_the_sandbox_can_be_set_alone() {
    let config = Config::load(None, None, &[("sandbox.runtime.upload_bytes", "7".to_owned())]).unwrap();
    let mut expected = crate::sandbox::Settings::default();
    expected.runtime.upload.bytes = 7;
    assert_eq!(crate::sandbox::Settings::from(&config.sandbox), expected);
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    for (key, value, range) in [
        ("http.timeout_seconds", "0", "1 and 3600"),
        ("http.timeout_seconds", "3601", "1 and 3600"),
        ("http.shutdown_seconds", "9223372036854775807", "0 and 3600"),
        ("http.drain_seconds", "3601", "0 and 3600"),
        ("http.max_in_flight", "0", "1 and 1000000"),
        ("database.max_connections", "0", "1 and 10000"),
        ("database.max_connections", "10001", "1 and 10000"),
        ("auth.access_token_seconds", "0", "1 and 31536000"),
        ("auth.refresh_idle_seconds", "0", "1 and 3153600000"),
        ("auth.session_seconds", "9223372036854775807", "1 and 3153600000"),
        ("auth.password_concurrency", "0", "1 and 1024"),
        ("auth.session_cache_seconds", "9223372036854775807", "0 and 3600"),
        ("claims.idempotency_seconds", "9223372036854775807", "1 and 31536000"),
        ("plugins.uploads.seconds_per_hour", "3601", "1 and 3600"),
        ("plugins.quarantine.users", "0", "1 and 1000"),
        ("limits.user.per_minute", "0", "1 and 1000000"),
        ("limits.account.burst", "1201", "0 and 1200"),
        ("claims.max_pending", "10000001", "0 and 10000000"),
        ("claims.max_pending_per_user", "0", "1 and 10000"),
        ("outbox.retention_seconds", "0", "1 and 31536000"),
        ("webhooks.timeout_seconds", "61", "1 and 60"),
        ("webhooks.concurrency", "0", "1 and 1000"),
        ("traces.sample_percent", "101", "0 and 100"),
        ("sandbox.slots", "4097", "0 and 4096"),
        ("sandbox.standard.evaluate_fuel", "0", "1 and 1000000000"),
        ("sandbox.standard.memory_bytes", "1", "65536 and 1073741824"),
        ("sandbox.runtime.upload_bytes", "67108865", "1 and 67108864"),
    ] {
        let error = Config::load(None, None, &[(key, value.to_owned())]).unwrap_err();
        let expected = format!("{key}: {value} is not between {range}");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    for (key, value) in [
        ("http.timeout_seconds", "1"),
        ("http.shutdown_seconds", "0"),
        ("http.drain_seconds", "0"),
        ("auth.session_cache_seconds", "0"),
        ("database.max_connections", "1"),
        ("plugins.quarantine.failures", "0"),
        ("plugins.signatures", "enforce"),
        ("limits.credentials.burst", "0"),
        ("cache.url", "redis://127.0.0.1"),
    ] {
        assert!(Config::load(None, None, &[(key, value.to_owned())]).is_ok(), "{key}");
    }
}

#[test]
fn a_mail_password_is_never_sent_in_clear() {
    let load = |name, value: &str| {
        let off = ("mail.encryption", "off".to_owned());
        Config::load(None, None, &[off, (name, value.to_owned())])
    };
    let error = load("mail.username", "meed").unwrap_err().to_string();
    assert!(error.contains("mail.encryption"), "{error}");
    load("mail.from", "meed@example.com").unwrap();
}
