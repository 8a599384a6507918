//! Restricts the compile process before it reads the first byte of an upload: processor time, memory, files,
//! privileges, priority and, on Linux, nearly all system calls.
//!
//! An upload that takes over the compiler can still return machine code of its choice. It cannot reach files, the
//! network or other processes.

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// A lower priority than that of the server process.
const NICE: i32 = 10;

/// Applies the limits to this process. Afterwards it can open no files or sockets and gain no privileges.
pub(super) fn confine(memory_bytes: u64, cpu_seconds: u64) -> anyhow::Result<()> {
    // Failing to lower the priority is harmless.
    let _ = nice(NICE);
    // When memory runs out, the system ends this process and not the server. Without /proc, it chooses by size.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    limit(Resource::Cpu, cpu_seconds)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, 16)?;
    #[cfg(target_os = "linux")]
    {
        limit(Resource::As, memory_bytes)?;
        rustix::thread::set_no_new_privs(true)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory_bytes;
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    seccomp::apply()?;
    Ok(())
}

/// Lowers a resource limit. Raising one would require root.
fn limit(resource: Resource, wanted: u64) -> rustix::io::Result<()> {
    let value = Some(
        getrlimit(resource)
            .maximum
            .map_or(wanted, |current| wanted.min(current)),
    );
    let limit = Rlimit {
        current: value,
        maximum: value,
    };
    setrlimit(resource, limit)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod seccomp {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    /// System calls for memory, open pipes, time, signals to itself, and exit. No call that opens a file, connects, or
    /// starts a process.
    const ALLOWED: &[libc::c_long] = &[
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
        libc::SYS_write,
        libc::SYS_writev,
    ];

    /// Installs the filter for this thread and all threads that it starts. A forbidden call fails with EPERM, so that a
    /// C library that only probes for a new system call continues to work.
    pub(super) fn apply() -> anyhow::Result<()> {
        let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        // Signals to its own process only, which `abort` needs.
        let own_process =
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, std::process::id().into())?;
        allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own_process])?]);
        let filter = SeccompFilter::new(
            allowed,
            SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?;
        match seccompiler::apply_filter(&BpfProgram::try_from(filter)?) {
            // The kernel has no seccomp, or the container forbids filters. The other restrictions still hold.
            Ok(()) | Err(seccompiler::Error::Seccomp(_) | seccompiler::Error::Prctl(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(test)]
    mod tests {
        use std::io::ErrorKind;
        use std::time::{Duration, Instant};

        use super::apply;

        /// Runs `act` on a thread with the filter.
        fn confined<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
            std::thread::spawn(|| {
                apply().unwrap();
                act()
            })
            .join()
            .unwrap()
        }

        #[test]
        fn files_network_and_processes_are_denied() {
            let denied = confined(|| {
                [
                    std::fs::read("/proc/self/environ").map(drop),
                    std::fs::write("left-behind", "x"),
                    std::net::TcpStream::connect("127.0.0.1:1").map(drop),
                    std::net::TcpListener::bind("127.0.0.1:0").map(drop),
                    std::process::Command::new("/bin/true").spawn().map(drop),
                    std::thread::Builder::new().spawn(|| ()).map(drop),
                ]
            });
            for (number, outcome) in denied.into_iter().enumerate() {
                assert_eq!(
                    outcome.unwrap_err().kind(),
                    ErrorKind::PermissionDenied,
                    "attempt {number}"
                );
            }
        }

        #[test]
        fn computing_still_works() {
            let sum = confined(|| {
                let started = Instant::now();
                // Enough that the allocator requests memory from the system and returns it.
                let memory: Vec<u64> = (0..4_000_000).collect();
                std::thread::sleep(Duration::from_millis(1));
                assert!(started.elapsed() > Duration::ZERO);
                memory.iter().sum::<u64>()
            });
            assert_eq!(sum, 7_999_998_000_000);
        }
    }
}
