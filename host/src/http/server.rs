//! Serving a router on a listener until told to stop.

use axum::Router;
use tokio::net::TcpListener;

/// Returns when `stop` completed and every request in flight was answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
