//! The user that runs the server when this process is root, because PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

/// The account of the packages first, then one that every system has.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: u32,
    pub(super) group: u32,
}

impl User {
    pub(super) fn unprivileged() -> Result<Self> {
        let accounts = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        choose(&accounts).context(
            "PostgreSQL refuses to run as root, and /etc/passwd has no user `postgres` or `nobody`; \
             add one, or run this command as another user",
        )
    }

    pub(super) fn run(&self, command: &mut Command) {
        command.uid(self.id).gid(self.group);
    }
}

fn choose(accounts: &str) -> Option<User> {
    CANDIDATES.iter().find_map(|candidate| {
        accounts.lines().find_map(|line| {
            // name:password:uid:gid:…
            let mut fields = line.split(':');
            let is_wanted = fields.next() == Some(*candidate);
            let id = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            (is_wanted && id != 0).then_some(User { id, group })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "root:x:0:0:root:/root:/bin/bash\n";
    const NOBODY: &str = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    const POSTGRES: &str = "postgres:x:105:109:,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn the_servers_own_account_is_preferred() {
        let user = choose(&[ROOT, NOBODY, POSTGRES].concat());
        assert_eq!(user, Some(User { id: 105, group: 109 }));
        let user = choose(&[ROOT, NOBODY].concat());
        assert_eq!(
            user,
            Some(User {
                id: 65534,
                group: 65534
            })
        );
    }

    #[test]
    fn root_is_never_chosen() {
        assert_eq!(choose(ROOT), None);
        assert_eq!(choose("postgres:x:0:0::/root:/bin/sh\n"), None);
    }
}
