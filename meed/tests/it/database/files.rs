//! The permissions of files that Meed creates and reads

use std::fs::{Permissions, metadata, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use meed_host::clock::Clock;
use meed_host::keys::{KeyError, Keys};

use crate::support::{TestApp, guest};

fn mode(path: &Path) -> u32 {
    metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_their_owner_can_read_the_files_of_a_server() {
    let app = TestApp::on_sqlite().await;
    app.install(guest("compiled").module()).await;
    for (name, expected) in [
        ("meed.db", 0o600),
        ("meed.db-wal", 0o600),
        ("keys", 0o700),
        ("code", 0o700),
    ] {
        let found = mode(&app.directory().join(name));
        assert_eq!(found, expected, "{name} has the mode {found:o}");
    }
}

#[tokio::test]
async fn a_private_key_that_others_can_read_is_refused() {
    let app = TestApp::on_sqlite().await;
    let keys = app.keys_directory();
    let key = std::fs::read_dir(&keys)
        .expect("the keys")
        .next()
        .expect("a key")
        .expect("a key")
        .path();
    assert_eq!(mode(&key), 0o600);
    for (wide, refused) in [
        (0o644, true),
        (0o604, true),
        (0o660, true),
        (0o440, false),
        (0o400, false),
    ] {
        set_permissions(&key, Permissions::from_mode(wide)).expect("a mode");
        match Keys::load(&keys, &Clock::System) {
            Ok(_) => assert!(!refused, "{wide:o}"),
            Err(error @ KeyError::Exposed { .. }) => {
                let error = error.to_string();
                assert!(
                    refused && error.contains(&format!("{wide:04o}")) && error.contains("chmod 600"),
                    "{error}"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}
