//! The signals that stop a process.

use anyhow::Context as _;
use tokio::signal::unix::{self, SignalKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM: from a service manager, which waits.
    Terminate,
    /// SIGINT: from a person at a terminal.
    Interrupt,
}

pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// Handles these signals from now on, instead of letting them end the process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: unix::signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}
