//! Serves a router on a listener until the caller stops it, and limits the cost of a connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::Layer as _;

use super::peer::Peer;

/// Concurrent connections; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// From the first byte of a request, or the end of the previous one, to the end of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The pause after a failure to accept, such as too many open files, so that closing connections can free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns when `stop` has completed and every request in flight has its response.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Responses are small and complete: waiting to fill a packet only delays them.
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(Extension(Peer(address.ip())).layer(router.clone()));
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.shutdown().await;
}
