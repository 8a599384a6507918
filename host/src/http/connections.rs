//! The open connections of a listener: how many there may be, and which one gives way to a new one.
//!
//! A connection costs a file and memory, and a client can keep it without sending anything. When the connections of an
//! address or of all addresses are used up, the one that has waited longest for its client is closed. So a new client is
//! served while others hold connections that they do not use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use super::peer;
use crate::config;
use crate::problem::{Problem, STREAMS_FULL};

/// Concurrent connections of a process, if its limit on open files allows them.
const MAX_CONNECTIONS: usize = 4096;
/// Open files that a process asks for. The usual soft limit of 1024 exists for programs that call `select`.
const FILES: u64 = 16_384;
/// Connections to the admin listener.
const MAX_ADMIN_CONNECTIONS: usize = 64;
/// In seconds; after [`STREAMS_FULL`].
const RETRY_AFTER: u32 = 5;

/// What the clients of a listener may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a client may take for the head of a request, for its body, and to read a part of the response; and how long
    /// an unused connection stays open.
    pub(super) client_timeout: Duration,
    /// Whether a client may speak HTTP/2.
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "the settings refuse it"))]
    pub(super) http2: bool,
    all: usize,
    per_address: usize,
    /// Connections that carry a stream; they do not count among the others.
    streams: usize,
    /// All clients of a proxy come from one address.
    proxies: Vec<IpNet>,
}

impl Limits {
    /// Raises the process's limit on open files, if the system allows it.
    pub fn new(http: &config::Http, streams: &config::Streams) -> Self {
        let files = files();
        let all = MAX_CONNECTIONS.min(files / 4 * 3);
        Self {
            client_timeout: http.client_timeout,
            http2: http.http2,
            all,
            streams: streams.max.min((files / 8 * 7).saturating_sub(all)),
            per_address: http.max_connections_per_address,
            proxies: http.trusted_proxies.clone(),
        }
    }

    /// For the admin listener, so that it does not use up the files of the API.
    pub(super) fn for_admin(http: &config::Http) -> Self {
        Self {
            client_timeout: http.client_timeout,
            all: MAX_ADMIN_CONNECTIONS,
            per_address: MAX_ADMIN_CONNECTIONS,
            http2: false,
            streams: 0,
            proxies: http.trusted_proxies.clone(),
        }
    }
}

/// How many files the process may open. Connections get up to three quarters of them, and streams up to seven eighths together
/// with these; the database, webhooks and compiled plugins need the others.
fn files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = FILES.min(maximum.unwrap_or(FILES));
    let mut allowed = current.unwrap_or(FILES);
    if allowed < wanted {
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            allowed = wanted;
        }
    }
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

#[derive(Debug)]
pub(super) struct Connections {
    all: usize,
    per_address: usize,
    streams: usize,
    proxies: Vec<IpNet>,
    began: Instant,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    by_id: HashMap<u64, Arc<Connection>>,
    /// The number of connections of each address.
    addresses: HashMap<String, Arc<AtomicUsize>>,
    /// The number of connections that carry a stream, which are not in `by_id`; the same of each address.
    streams: usize,
    stream_addresses: HashMap<String, usize>,
}

/// An open connection, in the extensions of its requests.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    address: String,
    /// The connections of this address.
    of_address: Arc<AtomicUsize>,
    /// The requests that the server works on. HTTP/2 can have many.
    requests: AtomicUsize,
    /// When the server began to wait for the client, in milliseconds after `began`, or [`BUSY`].
    waiting_since: AtomicU64,
    began: Instant,
    closed: CancellationToken,
    open: Arc<Mutex<Open>>,
    is_stream: AtomicBool,
    /// How many streams there may be, and how many of this address.
    max_streams: (usize, usize),
}

/// The server works on a request of the connection.
const BUSY: u64 = u64::MAX;

/// A request that the server works on.
#[derive(Debug)]
pub(super) struct Work(Arc<Connection>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The time in which the client sends the body of a request.
#[derive(Debug)]
pub(super) struct Pause(Arc<Connection>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.enter();
    }
}

impl Connection {
    /// Begins to work on a request.
    pub(super) fn begin(self: &Arc<Self>) -> Work {
        self.enter();
        Work(Arc::clone(self))
    }

    /// Lets the client send the body of a request that the server works on.
    pub(super) fn pause(self: &Arc<Self>) -> Pause {
        self.leave();
        Pause(Arc::clone(self))
    }

    fn enter(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.works();
    }

    fn leave(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.waits();
    }

    /// The server waits for bytes of the client, or for the client to read, unless it works on another request of it.
    pub(super) fn waits(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 {
            self.waiting_since.store(millis_since(self.began), Ordering::Relaxed);
        }
    }

    pub(super) fn works(&self) {
        self.waiting_since.store(BUSY, Ordering::Relaxed);
    }

    /// From now on, the connection carries a stream until its end: it is idle for long, and gives way to no other. `false`:
    /// there is no place for another stream.
    fn begin_stream(&self) -> bool {
        let mut open = self.open.lock();
        if self.is_stream.load(Ordering::Relaxed) {
            // Another one of HTTP/2, which has few of them on a connection.
            return true;
        }
        let (of_all, of_address) = self.max_streams;
        let from_here = open.stream_addresses.get(&self.address).copied().unwrap_or_default();
        if open.streams >= of_all || from_here >= of_address || !open.by_id.contains_key(&self.id) {
            return false;
        }
        open.remove(self);
        open.streams += 1;
        open.stream_addresses.insert(self.address.clone(), from_here + 1);
        self.is_stream.store(true, Ordering::Relaxed);
        true
    }

    pub(super) fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    /// Completes when the connection has to give way to another.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn waiting_since(&self) -> Option<u64> {
        Some(self.waiting_since.load(Ordering::Relaxed)).filter(|since| *since != BUSY)
    }
}

/// Makes the connection of a request one that carries a stream. Requests without a connection are those of tests.
pub fn begin_stream(connection: Option<&Arc<Connection>>) -> Result<(), Problem> {
    if connection.is_none_or(|connection| connection.begin_stream()) {
        return Ok(());
    }
    let detail = "This server, or your address, has too many open streams; retry later, or read without a stream.";
    Err(Problem::new(STREAMS_FULL, detail).retry_after(RETRY_AFTER))
}

fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(BUSY - 1)
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            all: limits.all.max(1),
            per_address: limits.per_address,
            streams: limits.streams,
            proxies: limits.proxies.clone(),
            began: Instant::now(),
            open: Arc::default(),
        }
    }

    /// Whether the next connection would have no place: all are used, and the server works on a request of each.
    pub(super) fn is_full(&self) -> bool {
        let open = self.open.lock();
        open.by_id.len() >= self.all && open.by_id.values().all(|one| one.waiting_since().is_none())
    }

    /// Adds a connection; closes one that waits for its client if there are too many. `None` if none of them waits.
    pub(super) fn add(&self, address: IpAddr) -> Option<Arc<Connection>> {
        let name = peer::name(Some(address.to_canonical()));
        let mut open = self.open.lock();
        let of_address = Arc::clone(open.addresses.entry(name.clone()).or_default());
        let is_proxy = self
            .proxies
            .iter()
            .any(|network| network.contains(&address.to_canonical()));
        if !is_proxy && of_address.load(Ordering::Relaxed) >= self.per_address {
            open.evict(|one| Arc::ptr_eq(&one.of_address, &of_address))?;
        }
        if open.by_id.len() >= self.all {
            open.evict(|_| true)?;
        }
        of_address.fetch_add(1, Ordering::Relaxed);
        // An eviction may have removed the last one of this address.
        open.addresses.insert(name.clone(), Arc::clone(&of_address));
        let id = open.next_id;
        open.next_id += 1;
        let connection = Arc::new(Connection {
            id,
            address: name,
            of_address,
            requests: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(millis_since(self.began)),
            began: self.began,
            closed: CancellationToken::new(),
            open: Arc::clone(&self.open),
            is_stream: AtomicBool::new(false),
            max_streams: (self.streams, if is_proxy { usize::MAX } else { self.per_address }),
        });
        open.by_id.insert(id, Arc::clone(&connection));
        Some(connection)
    }

    pub(super) fn remove(&self, connection: &Connection) {
        let mut open = self.open.lock();
        open.remove(connection);
        if connection.is_stream.load(Ordering::Relaxed) {
            open.end_stream(&connection.address);
        }
    }
}

impl Open {
    /// Closes a connection that waits for its client: of the address with the most connections, the one that waits longest.
    fn evict(&mut self, from: impl Fn(&Connection) -> bool) -> Option<()> {
        let waiting = self.by_id.values().filter(|one| from(one));
        let victim = waiting
            .filter_map(|one| {
                let since = one.waiting_since()?;
                Some((std::cmp::Reverse(one.of_address.load(Ordering::Relaxed)), since, one))
            })
            .min_by_key(|(of_address, since, one)| (*of_address, *since, one.id))
            .map(|(_, _, one)| Arc::clone(one));
        // A refused connection must leave no entry of its address behind.
        let Some(victim) = victim else {
            self.addresses.retain(|_, count| count.load(Ordering::Relaxed) > 0);
            return None;
        };
        metrics::counter!("meed_connections_evicted_total").increment(1);
        victim.closed.cancel();
        self.remove(&victim);
        Some(())
    }

    fn end_stream(&mut self, address: &str) {
        self.streams -= 1;
        if let Some(from_here) = self.stream_addresses.get_mut(address) {
            *from_here -= 1;
            if *from_here == 0 {
                self.stream_addresses.remove(address);
            }
        }
    }

    fn remove(&mut self, connection: &Connection) {
        if self.by_id.remove(&connection.id).is_some() && connection.of_address.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.addresses.remove(&connection.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(all: usize, per_address: usize) -> Connections {
        Connections::new(&Limits {
            client_timeout: Duration::from_secs(1),
            http2: false,
            all,
            per_address,
            streams: 2,
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
        })
    }

    fn add(connections: &Connections, address: &str) -> Option<Arc<Connection>> {
        connections.add(address.parse().unwrap())
    }

    #[test]
    fn an_address_replaces_its_own_connections() {
        let connections = connections(10, 2);
        let first = add(&connections, "192.0.2.1").unwrap();
        let second = add(&connections, "192.0.2.1").unwrap();
        let other = add(&connections, "192.0.2.2").unwrap();
        add(&connections, "192.0.2.1").unwrap();
        assert!(first.closed.is_cancelled());
        assert!(!second.closed.is_cancelled() && !other.closed.is_cancelled());
        // Behind the /64 of an IPv6 address is one client.
        let first = add(&connections, "2001:db8::1").unwrap();
        add(&connections, "2001:db8::2").unwrap();
        add(&connections, "2001:db8::3").unwrap();
        assert!(first.closed.is_cancelled());
    }

    #[test]
    fn an_address_that_uses_all_its_connections_gets_no_more() {
        let connections = connections(10, 2);
        for _ in 0..2 {
            add(&connections, "192.0.2.1").unwrap().works();
        }
        assert!(add(&connections, "192.0.2.1").is_none());
        assert!(add(&connections, "192.0.2.2").is_some());
        // Clients of a proxy share its address.
        for _ in 0..5 {
            add(&connections, "10.0.0.1").unwrap().works();
        }
    }

    #[test]
    fn a_connection_waits_only_when_the_server_works_on_none_of_its_requests() {
        let connections = connections(10, 2);
        let one = add(&connections, "192.0.2.1").unwrap();
        let works = [one.begin(), one.begin()];
        let [first, second] = works;
        drop(first);
        one.waits();
        assert_eq!(one.waiting_since(), None);
        let pause = one.pause();
        assert!(one.waiting_since().is_some());
        drop(pause);
        assert_eq!(one.waiting_since(), None);
        drop(second);
        assert!(one.waiting_since().is_some());
    }

    #[test]
    fn when_all_are_used_the_largest_holder_gives_way() {
        let connections = connections(4, 3);
        let probe = add(&connections, "192.0.2.9").unwrap();
        let held: Vec<_> = (0..3).map(|_| add(&connections, "192.0.2.1").unwrap()).collect();
        held[0].works();
        assert!(!connections.is_full());
        add(&connections, "192.0.2.2").unwrap();
        assert!(!held[0].closed.is_cancelled() && !probe.closed.is_cancelled());
        assert!(held[1].closed.is_cancelled());
    }

    #[test]
    fn a_connection_with_a_request_is_never_closed() {
        let connections = connections(2, 2);
        let both = ["192.0.2.1", "192.0.2.2"].map(|address| add(&connections, address).unwrap());
        for one in &both {
            one.works();
        }
        assert!(connections.is_full());
        assert!(add(&connections, "192.0.2.3").is_none());
        connections.remove(&both[0]);
        assert!(add(&connections, "192.0.2.3").is_some());
        assert_eq!(connections.open.lock().addresses.len(), 2);
    }

    #[test]
    fn a_stream_does_not_count_among_the_connections_and_is_never_closed() {
        let connections = connections(2, 1);
        let stream = add(&connections, "192.0.2.1").unwrap();
        assert!(stream.begin_stream());
        stream.waits();
        // Its address has a place for another connection, but for no other stream.
        let other = add(&connections, "192.0.2.1").unwrap();
        assert!(!other.begin_stream());
        add(&connections, "192.0.2.2").unwrap();
        add(&connections, "192.0.2.3").unwrap();
        assert!(!stream.closed.is_cancelled());
        assert!(add(&connections, "192.0.2.4").unwrap().begin_stream());
        assert!(!add(&connections, "192.0.2.5").unwrap().begin_stream());
        connections.remove(&stream);
        assert!(add(&connections, "192.0.2.1").unwrap().begin_stream());
    }
}
