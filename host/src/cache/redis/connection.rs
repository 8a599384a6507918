//! One connection type for a single server and for a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, SendError};
use redis::cluster::{ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind,
    RedisResult, ScriptInvocation, Value,
};
use tokio::sync::mpsc;

use super::CONNECT_TIMEOUT;

/// TCP user timeout: the connection fails if the peer acknowledges nothing for this long.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// An out-of-band message from Redis.
pub(super) enum Push {
    Message(Vec<u8>),
    /// The connection ended; the client will reconnect.
    Lost,
}

#[derive(Clone)]
pub(super) enum Connection {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    /// The first call connects. Pushed messages go to `pushes`; `overflowed` is set if that queue was full.
    pub(super) fn open(url: &str, pushes: mpsc::Sender<Push>, overflowed: Arc<AtomicBool>) -> RedisResult<Self> {
        let push = move |info: PushInfo| {
            if let Some(push) = read(info)
                && pushes.try_send(push).is_err()
            {
                overflowed.store(true, Ordering::Relaxed);
                return Err(SendError);
            }
            Ok(())
        };
        if let Some(nodes) = nodes(url) {
            let nodes = nodes.iter().map(|node| info(node)).collect::<RedisResult<Vec<_>>>()?;
            let client = ClusterClientBuilder::new(nodes)
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(CONNECT_TIMEOUT)
                .response_timeout(CONNECT_TIMEOUT)
                .push_sender(push)
                .build()?;
            return Ok(Self::Cluster(
                client.get_pending_async_connection_with_config(ClusterConfig::new()),
            ));
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            // `Redis::next_message` retries.
            .set_number_of_retries(0)
            .set_min_delay(Duration::from_millis(10))
            .set_push_sender(push);
        let client = Client::open(info(url)?)?;
        Ok(Self::Server(ConnectionManager::new_lazy_with_config(client, config)?))
    }

    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.clone() {
            Self::Server(mut server) => command.query_async(&mut server).await,
            Self::Cluster(mut cluster) => command.query_async(&mut cluster).await,
        }
    }

    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        match self.clone() {
            Self::Server(mut server) => script.invoke_async(&mut server).await,
            Self::Cluster(mut cluster) => script.invoke_async(&mut cluster).await,
        }
    }

    pub(super) async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        match self.clone() {
            Self::Server(mut server) => server.subscribe(channel).await,
            Self::Cluster(mut cluster) => cluster.subscribe(channel).await,
        }
    }
}

fn info(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // Many commands share the connection; none may wait for the acknowledgement of an earlier one.
    let mut tcp = TcpSettings::default().set_nodelay(true);
    // Without this, a peer that vanished would be noticed after 15 minutes only.
    #[cfg(target_os = "linux")]
    {
        tcp = tcp.set_user_timeout(TCP_USER_TIMEOUT);
    }
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

/// The nodes of `redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT` as one URL per node; `None` if the URL names no
/// cluster.
fn nodes(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.strip_suffix("-cluster")?;
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    Some(
        hosts
            .split(',')
            .map(|host| format!("{scheme}://{user}{host}{path}"))
            .collect(),
    )
}

fn read(info: PushInfo) -> Option<Push> {
    match info.kind {
        PushKind::Disconnection => Some(Push::Lost),
        // The first element is the channel, the second the message.
        PushKind::Message => match info.data.into_iter().nth(1) {
            Some(Value::BulkString(message)) => Some(Push::Message(message)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_url_is_split_into_its_nodes() {
        assert_eq!(nodes("redis://a:1"), None);
        assert_eq!(nodes("rediss://user:p-cluster@a"), None);
        assert_eq!(
            nodes("rediss-cluster://user:p%40ss@a:1,b:2,[::1]:3/?x=1"),
            Some(vec![
                "rediss://user:p%40ss@a:1/?x=1".to_owned(),
                "rediss://user:p%40ss@b:2/?x=1".to_owned(),
                "rediss://user:p%40ss@[::1]:3/?x=1".to_owned(),
            ])
        );
        assert_eq!(nodes("redis-cluster://a"), Some(vec!["redis://a".to_owned()]));
    }
}
