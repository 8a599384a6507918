//! Machine code on disk across restarts.

use std::fs;
use std::path::{Path, PathBuf};

use meed_host::sandbox::{CodeCache, Digest, LoadError, Sandbox, Settings};

use super::{evaluate, executable};
use crate::guests::Condition;

/// The sandbox of a restarted server, with nothing in memory.
fn sandbox(directory: &Path, compiler: PathBuf) -> Sandbox {
    let cache = CodeCache {
        directory: directory.to_owned(),
        key: [5; 32],
    };
    Sandbox::new(&Settings::default(), compiler, Some(cache)).unwrap()
}

fn no_compiler() -> PathBuf {
    "/nowhere/meed".into()
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

async fn admit_and_keep(sandbox: &Sandbox, module: Vec<u8>) -> Digest {
    let admitted = sandbox.admit(module).await.unwrap();
    sandbox.store(&admitted).await.unwrap();
    admitted.digest
}

#[tokio::test]
async fn an_upload_that_is_not_stored_leaves_no_code() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox(directory.path(), executable());
    let admitted = sandbox.admit(Condition::default().module()).await.unwrap();
    assert!(sandbox.loaded(admitted.digest).is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_plugin_survives_a_restart_without_a_compiler() {
    let directory = tempfile::tempdir().unwrap();
    let module = Condition::default().module();
    let digest = admit_and_keep(&sandbox(directory.path(), executable()), module).await;

    let restarted = sandbox(directory.path(), no_compiler());
    assert!(restarted.loaded(digest).is_none());
    let plugin = restarted.load_cached(digest).await.unwrap();
    assert!(restarted.loaded(digest).is_some());
    assert!(evaluate(&restarted, &plugin).await.outcome.is_ok());
}

#[tokio::test]
async fn corrupt_code_is_compiled_again_and_never_run() {
    let directory = tempfile::tempdir().unwrap();
    let module = Condition::default().module();
    let digest = admit_and_keep(&sandbox(directory.path(), executable()), module.clone()).await;
    let file = only_file(directory.path());
    let mut code = fs::read(&file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(&file, &code).unwrap();

    assert!(
        sandbox(directory.path(), no_compiler())
            .load_cached(digest)
            .await
            .is_none()
    );
    assert!(!file.exists());

    sandbox(directory.path(), executable())
        .load(digest, module)
        .await
        .unwrap();
    assert!(
        sandbox(directory.path(), no_compiler())
            .load_cached(digest)
            .await
            .is_some()
    );
}

#[tokio::test]
async fn code_of_another_plugin_is_not_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let expected = Digest::of(b"something else");
    let error = sandbox(directory.path(), executable())
        .load(expected, Condition::default().module())
        .await
        .unwrap_err();
    assert!(
        matches!(error, LoadError::Digest { expected: e, .. } if e == expected),
        "{error}"
    );
}

#[tokio::test]
async fn refused_plugins_leave_no_code() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox(directory.path(), executable());
    let condition = Condition {
        describe: "unreachable",
        ..Condition::default()
    };
    let module = condition.module();
    assert!(sandbox.admit(module.clone()).await.is_err());
    assert!(sandbox.loaded(Digest::of(&module)).is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn compiled_code_is_not_an_upload() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox(directory.path(), executable());
    admit_and_keep(&sandbox, Condition::default().module()).await;
    let tag_and_code = fs::read(only_file(directory.path())).unwrap();
    assert_eq!(
        sandbox.admit(tag_and_code[32..].to_vec()).await.unwrap_err().code(),
        "not-wasm"
    );
}

#[tokio::test]
async fn concurrent_loads_of_a_plugin_all_succeed() {
    let sandbox = Sandbox::new(&Settings::default(), executable(), None).unwrap();
    let module = Condition::default().module();
    let digest = Digest::of(&module);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (sandbox, module) = (sandbox.clone(), module.clone());
        callers.spawn(async move { sandbox.load(digest, module).await.map(|plugin| plugin.digest()) });
    }
    for loaded in callers.join_all().await {
        assert_eq!(loaded.unwrap(), digest);
    }
    assert!(sandbox.load_cached(digest).await.is_some());
}
