//! Certificates for servers of tests, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn openssl(folder: &Path, arguments: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments.split_whitespace()).current_dir(folder);
    let status = openssl.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.expect("openssl, which makes certificates for this test, is on the PATH");
    assert!(status.success(), "{openssl:?} ended with {status}");
}

/// Creates an authority: a certificate, with its key in a file beside it.
pub fn authority(folder: &Path, name: &str) -> PathBuf {
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(
        folder,
        &format!("{new} -subj /CN={name} -keyout {name}.key -out {name}.pem"),
    );
    folder.join(format!("{name}.pem"))
}

/// Creates `server.pem` and `server.key` for this machine, signed by the authority `ours`.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server";
    openssl(folder, &format!("{new} -keyout server.key -out server.csr"));
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file");
    let sign = "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2";
    openssl(folder, &format!("{sign} -extfile names -out server.pem"));
    (folder.join("server.pem"), folder.join("server.key"))
}
