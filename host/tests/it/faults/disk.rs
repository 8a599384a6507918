//! The database's disk is full: claims are refused with a 503, nothing is left half-done, and when there is room again the
//! same processes go on. The disk is a small one in memory, which only root may make.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::claims::{Ask, Clients, View};
use super::cluster::Cluster;
use super::fleet::Fleet;
use super::invariants;
use super::run::Run;
use super::seed::size;
use super::stage::{daily, event, limited, points};
use crate::support::TestApp;

const WIDTH: usize = 8;

const ROOT_ONLY: &str = "only root may mount a disk";

/// How long it may take until a full disk is noticed, and until it is of use again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A disk of so many megabytes. Dropped, it is gone.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// `None`: we may not.
    fn mount(megabytes: usize) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
        let status = mount.arg(directory.path()).status().expect("mount is a program");
        assert!(status.success(), "{mount:?} ended with {status}");
        Some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Leaves no room at all.
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
        // Lazily: a process that is on its way out may still hold a file.
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

/// Claims until the disk is full, and goes on when it is not.
async fn claim_on_a_full_disk(run: &mut Run, stage: &TestApp, disk: &SmallDisk, processes: usize) {
    let mut rng = run.round();
    let fleet = Fleet::start(stage, processes).await;
    let users = stage.crowd(30).await;
    let (item, five) = (limited(stage, 100_000).await, points(stage, 5).await);
    let budget =
        json!({"budget": {"period": "ONCE", "amount": 1_000_000}, "recurrence": {"period": "DAILY", "count": 1000}});
    let events = [daily(stage, &[&item], 1000).await, event(stage, &[&five], budget).await];
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
        // What is not answered now is asked again later, under the same key.
        let (mut open, started) = (Vec::new(), Instant::now());
        while open.len() < 20 {
            assert!(started.elapsed() < PATIENCE, "the disk is full and nobody notices");
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
        invariants::check(stage, &view, &[]).await;
    }
    run.saw(&view);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_on_a_full_disk_refuses_claims_and_goes_on() {
    let mut run = Run::begin("A19 SQLite's disk is full");
    let Some(disk) = SmallDisk::mount(24) else {
        return run.skip(ROOT_ONLY);
    };
    let stage = TestApp::on_sqlite_below(disk.path()).await.in_real_time();
    claim_on_a_full_disk(&mut run, &stage, &disk, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_on_a_full_disk_refuses_claims_and_goes_on() {
    let mut run = Run::begin("A19 the disk of PostgreSQL's tables is full");
    let Some(disk) = SmallDisk::mount(24) else {
        return run.skip(ROOT_ONLY);
    };
    let cluster = Cluster::create();
    cluster.keep_tables_on(disk.path()).await;
    let stage = TestApp::on_postgres_at(&cluster.url()).await.in_real_time();
    claim_on_a_full_disk(&mut run, &stage, &disk, 2).await;
}
