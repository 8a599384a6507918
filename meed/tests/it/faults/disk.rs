//! The database's disk is full: claims are refused with 503, no claim is written partially, and when there is space
//! again the same processes continue. The tests mount a small RAM disk, which needs root, so only `cargo xtask test` as
//! root and `cargo xtask test-root` run them.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::claims::{Ask, Clients, View};
use super::cluster::Cluster;
use super::fixtures::{daily, event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::run::Run;
use super::seed::size;
use crate::support::TestApp;

const WIDTH: usize = 8;

/// The maximum time until a full disk is noticed, and until the processes recover.
const PATIENCE: Duration = Duration::from_secs(30);

/// A small RAM disk, which is unmounted on drop.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount(megabytes: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
        let status = mount.arg(directory.path()).status().expect("mount is a program");
        assert!(status.success(), "{mount:?} ended with {status}; it needs root");
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills the disk completely.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file");
        for block in [&[7_u8; 8 << 10][..], &[7; 512], &[7]] {
            let error = loop {
                if let Err(error) = ballast.write_all(block) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast is removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount, because an ending process may still have a file open.
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

/// Claims until the disk is full, and continues when there is space again.
async fn claim_on_a_full_disk(run: &mut Run, fixtures: &TestApp, disk: &SmallDisk, processes: usize) {
    let mut rng = run.round();
    let fleet = Fleet::start(fixtures, processes).await;
    let users = fixtures.crowd(30).await;
    let (item, five) = (limited(fixtures, 100_000).await, points(fixtures, 5).await);
    let budget =
        json!({"budget": {"period": "ONCE", "amount": 1_000_000}, "recurrence": {"period": "DAILY", "count": 1000}});
    let events = [
        daily(fixtures, &[&item], 1000).await,
        event(fixtures, &[&five], budget).await,
    ];
    let clients = Clients::new(&fleet);
    let mut view = View::default();
    let asks = |rng: &mut fastrand::Rng, count: usize| -> Vec<Ask> {
        let any = |rng: &mut fastrand::Rng| Ask::new(&users[rng.usize(..users.len())], &events[rng.usize(..2)]);
        (0..count).map(|_| any(rng).under(rng.u64(..))).collect()
    };
    for _ in 0..size(2, 10) {
        let first = asks(&mut rng, 40);
        view.answers.extend(clients.all(&mut rng, &first, WIDTH).await);
        disk.fill();
        // Unanswered claims are repeated later with the same key.
        let (mut open, started) = (Vec::new(), Instant::now());
        while open.len() < 20 {
            assert!(started.elapsed() < PATIENCE, "no process has noticed the full disk");
            let ask = asks(&mut rng, 1).remove(0);
            match clients.ask(&fleet.any(&mut rng), &ask).await {
                Ok(answer) => view.answers.push(answer),
                Err(broken) => {
                    assert!(broken.starts_with("503 "), "a full disk is answered with {broken}");
                    open.push(ask);
                }
            }
        }
        run.count("claims refused", open.len());
        disk.free();
        view.answers.extend(clients.all(&mut rng, &open, WIDTH).await);
        let refused: Vec<_> = view.answers.iter().filter(|answer| !answer.is_granted()).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        invariants::check(fixtures, &view, &[]).await;
    }
    run.saw(&view);
}

#[ignore = "needs root: `cargo xtask test-root`"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_on_a_full_disk_refuses_claims_and_recovers() {
    let mut run = Run::begin("A19 SQLite's disk is full");
    let disk = SmallDisk::mount(24);
    let fixtures = TestApp::on_sqlite_below(disk.path()).await.in_real_time();
    claim_on_a_full_disk(&mut run, &fixtures, &disk, 1).await;
}

#[ignore = "needs root: `cargo xtask test-root`"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_on_a_full_disk_refuses_claims_and_recovers() {
    let mut run = Run::begin("A19 the disk of PostgreSQL's tables is full");
    let disk = SmallDisk::mount(24);
    let cluster = Cluster::create();
    cluster.keep_tables_on(disk.path()).await;
    let fixtures = TestApp::on_postgres_at(&cluster.url()).await.in_real_time();
    claim_on_a_full_disk(&mut run, &fixtures, &disk, 2).await;
}
