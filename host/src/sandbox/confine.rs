//! What the compiling process gives up before it reads the first byte of an upload: processor time, memory, files,
//! rights, priority and, where the system can, nearly every system call.
//!
//! A compiler that an upload took over could still hand back machine code of its choice; what it cannot do is reach
//! files, the network or another process.

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// Behind everything that serves requests.
const NICE: i32 = 10;

/// From here on the process can use no more than this, open nothing and gain no rights.
pub(super) fn confine(memory_bytes: u64, cpu_seconds: u64) -> anyhow::Result<()> {
    // A priority that cannot be lowered any more is no fault.
    let _ = nice(NICE);
    at_most(Resource::Cpu, cpu_seconds)?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Nofile, 16)?;
    #[cfg(target_os = "linux")]
    {
        at_most(Resource::As, memory_bytes)?;
        rustix::thread::set_no_new_privs(true)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory_bytes;
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    seccomp::apply()?;
    Ok(())
}

/// Never above what we were given: only root could do that.
fn at_most(resource: Resource, wanted: u64) -> rustix::io::Result<()> {
    let value = Some(getrlimit(resource).maximum.map_or(wanted, |given| wanted.min(given)));
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

    /// Memory, the pipes that are open already, time, signals to itself, and the end. Nothing that opens, connects,
    /// starts or looks at anything.
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

    /// For this thread and all it starts. A call that is not allowed fails with EPERM, so that a C library which asks
    /// for something new, and can do without, goes on working.
    pub(super) fn apply() -> anyhow::Result<()> {
        let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        // A signal to itself, which is how it aborts, and to nobody else.
        let itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, std::process::id().into())?;
        allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![itself])?]);
        let filter = SeccompFilter::new(
            allowed,
            SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?;
        match seccompiler::apply_filter(&BpfProgram::try_from(filter)?) {
            // The latter in a kernel without it, or a container that allows no filters: the other walls stand.
            Ok(()) | Err(seccompiler::Error::Seccomp(_) | seccompiler::Error::Prctl(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(test)]
    mod tests {
        use std::io::ErrorKind;
        use std::time::{Duration, Instant};

        use super::apply;

        /// What `act` ends with on a thread under the filter.
        fn confined<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
            std::thread::spawn(|| {
                apply().unwrap();
                act()
            })
            .join()
            .unwrap()
        }

        #[test]
        fn files_the_network_and_processes_are_out_of_reach() {
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
        fn computing_goes_on() {
            let sum = confined(|| {
                let started = Instant::now();
                // Enough for the allocator to ask the system for more, and to give it back.
                let memory: Vec<u64> = (0..4_000_000).collect();
                std::thread::sleep(Duration::from_millis(1));
                assert!(started.elapsed() > Duration::ZERO);
                memory.iter().sum::<u64>()
            });
            assert_eq!(sum, 7_999_998_000_000);
        }
    }
}
