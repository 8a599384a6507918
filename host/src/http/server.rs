//! Serves a router on a listener until the caller stops it, and limits what a client can hold of it.
//!
//! HTTP/1.1 only: HTTP/2 would need limits of its own on streams, windows and resets, and Meed stands behind a proxy that
//! speaks it to clients.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::connections::{Connections, Limits};
use super::peer::Peer;
use super::stream::Stream;

/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The pause after a failure to accept, such as too many open files, and while all connections have a request in work.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns when `stop` has completed and every request in flight has its response.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()> + Send) {
    let mut http = Builder::new();
    http.timer(TokioTimer::new())
        // From the accept, or the end of the previous response, to the end of the head.
        .header_read_timeout(limits.client_timeout)
        .max_buf_size(MAX_HEAD_BYTES);
    let connections = Arc::new(Connections::new(&limits));
    let running = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accept = async {
            while connections.is_full() {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            listener.accept().await
        };
        let accepted = tokio::select! {
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
        let Some(connection) = connections.add(address.ip()) else {
            metrics::counter!("meed_connections_refused_total").increment(1);
            continue;
        };
        // Responses are small and complete: waiting to fill a packet only delays them.
        stream.set_nodelay(true).ok();
        let service = router.clone().map_request({
            let connection = Arc::clone(&connection);
            move |mut request: hyper::Request<hyper::body::Incoming>| {
                connection.works();
                request.extensions_mut().insert(Peer(address.ip()));
                request.extensions_mut().insert(Arc::clone(&connection));
                request
            }
        });
        let stream = Stream::new(stream, Arc::clone(&connection), limits.client_timeout);
        let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let served = running.watch(served);
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            tokio::select! {
                served = served => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "connection ended early");
                    }
                }
                () = connection.closed() => tracing::debug!("connection closed for another"),
            }
            connections.remove(&connection);
        });
    }
    drop(listener);
    running.shutdown().await;
}
