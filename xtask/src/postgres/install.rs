//! The packages of a PostgreSQL server.

use crate::package::Package;

pub(super) const POSTGRES: Package = Package {
    name: "PostgreSQL",
    scripts: &[
        (
            "apt-get",
            // Without this file, the package creates and starts a server.
            "export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 && \
             conf=/etc/postgresql-common/createcluster.conf && \
             mkdir -p /etc/postgresql-common && \
             { [ -e $conf ] || echo 'create_main_cluster = false' > $conf; } && \
             apt-get update && apt-get install -y --no-install-recommends postgresql",
        ),
        ("dnf", "dnf install -y postgresql-server"),
        ("apk", "apk add --no-cache postgresql"),
        ("brew", "brew install postgresql@17"),
    ],
    by_hand: "install the PostgreSQL server (initdb, postgres and pg_ctl) by hand and try again",
};
