//! Serves a router on a listener until the caller stops it, and limits what a client can hold of it.
//!
//! HTTP/1.1, and HTTP/2 without TLS where a setting asks for it (`http2`): Meed stands behind a proxy that speaks TLS and HTTP/2
//! to clients, and only gRPC needs HTTP/2 behind it.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
#[cfg(feature = "grpc")]
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::connections::{Connection, Connections, Limits};
#[cfg(feature = "grpc")]
use super::http2;
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
    #[cfg(feature = "grpc")]
    let draining = CancellationToken::new();
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
        let service = service(router.clone(), address.ip(), Arc::clone(&connection));
        let (connections, limits, http, watcher) = (
            Arc::clone(&connections),
            limits.clone(),
            http.clone(),
            running.watcher(),
        );
        #[cfg(feature = "grpc")]
        let draining = draining.clone();
        tokio::spawn(async move {
            let served = async {
                #[cfg(feature = "grpc")]
                if limits.http2 {
                    let is_http2 = tokio::select! {
                        spoken = http2::is_spoken(&stream, limits.client_timeout) => spoken?,
                        () = draining.cancelled() => return Ok(()),
                    };
                    if is_http2 {
                        let stream = Stream::new(stream, Arc::clone(&connection), limits.client_timeout);
                        return http2::serve(stream, service, watcher, limits.client_timeout).await;
                    }
                }
                let stream = Stream::new(stream, Arc::clone(&connection), limits.client_timeout);
                let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
                watcher.watch(served).await.map_err(io::Error::other)
            };
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
    #[cfg(feature = "grpc")]
    draining.cancel();
    running.shutdown().await;
}

/// The routes for the requests of one connection.
fn service(
    router: Router,
    client: IpAddr,
    connection: Arc<Connection>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    tower::service_fn(move |mut request: Request<Incoming>| {
        let work = connection.begin();
        request.extensions_mut().insert(Peer(client));
        request.extensions_mut().insert(Arc::clone(&connection));
        let (connection, is_http1) = (Arc::clone(&connection), request.version() < Version::HTTP_2);
        let answered = router.clone().oneshot(request);
        async move {
            let Ok(mut response) = answered.await;
            drop(work);
            // The connection counts as a stream until it closes.
            if is_http1 && connection.is_stream() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        }
    })
}
