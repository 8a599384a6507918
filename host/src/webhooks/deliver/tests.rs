//! URLs that try to make the server connect to forbidden addresses. A trap listens on every address of this machine and
//! must never see a connection.

use std::net::{IpAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::HeaderValue;

use super::*;

/// Accepts connections on all addresses and counts them.
struct Trap {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Trap {
    fn set() -> Self {
        // Without IPv6, no client can connect over IPv6 either.
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, seen }
    }

    /// Waits a moment for connections in flight.
    async fn seen(&self) -> usize {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.seen.load(Ordering::SeqCst)
    }
}

fn parcel() -> Parcel {
    Parcel {
        id: uuid::Uuid::nil(),
        seconds: 0,
        signature: "v1,".to_owned(),
        body: b"{}".to_vec(),
    }
}

/// The default policy, except that it allows the trap's port like 443: only the address can be the reason for a
/// refusal.
fn deliverer(trap: &Trap, private: &[&str], names: Names) -> Deliverer {
    let policy = Policy {
        ports: vec![443, trap.port],
        private_networks: private.iter().map(|network| network.parse().unwrap()).collect(),
    };
    Deliverer::new(policy, Duration::from_millis(400), names)
}

fn scripted(answers: &[&[&str]]) -> (Names, Arc<Mutex<std::collections::VecDeque<Vec<IpAddr>>>>) {
    let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
    let script = Arc::new(Mutex::new(answers.iter().map(parse).collect()));
    (Names::Scripted(Arc::clone(&script)), script)
}

/// Hosts that are, or resemble, this machine, its neighbours or a cloud's metadata.
const HOSTS: &[&str] = &[
    // plain
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "ip6-localhost",
    // other ways to write 127.0.0.1
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7F.0.0.1",
    "0177.0.0.1",
    "0177.0.0.0x1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "127.0.0.1.",
    "127.000.000.001",
    "0",
    "0x0",
    "00000000",
    "%31%32%37.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127．0．0．1",
    "１２７.0.0.1",
    "ⓛocalhost",
    "ｌｏｃａｌｈｏｓｔ",
    "lo\u{ad}calhost",
    // inside an IPv6 address
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    // neighbours and metadata
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "100.64.0.1",
    "[fe80::1]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "[2001:db8::1]",
];

/// Whole URLs; `PORT` is replaced by the trap's port.
const URLS: &[&str] = &[
    "https://example.com@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT@example.com/",
    "https://user:pass@localhost:PORT/",
    "https://127.0.0.1:PORT\\@example.com/",
    "https://example.com\\@127.0.0.1:PORT/",
    "https:127.0.0.1:PORT/",
    "https:///127.0.0.1:PORT/",
    "https:\\\\127.0.0.1:PORT/",
    "\thttps://127.0.0.1:PORT/",
    "ht\ntps://127.0.0.1:PORT/",
    "https://127.0.0.1:PORT/#https://example.com/",
    "https://127.0.0.1:PORT?https://example.com/",
    "HTTPS://127.0.0.1:PORT/",
    "ftp://127.0.0.1:PORT/",
    "gopher://127.0.0.1:PORT/_x",
    "file://127.0.0.1/etc/passwd",
    "dict://127.0.0.1:PORT/",
    "ldap://127.0.0.1:PORT/",
    "ws://127.0.0.1:PORT/",
    "//127.0.0.1:PORT/",
    "127.0.0.1:PORT",
    "https://[::1%25lo]:PORT/",
    "https://[::ffff:127.0.0.1%25lo]:PORT/",
    "jar:https://127.0.0.1:PORT/!/",
];

#[tokio::test]
async fn hostile_urls_reach_no_host() {
    let trap = Trap::set();
    let deliverer = deliverer(&trap, &[], Names::System);
    let mut urls: Vec<String> = Vec::new();
    for host in HOSTS {
        for scheme in ["https", "http"] {
            urls.push(format!("{scheme}://{host}:{}/hook", trap.port));
        }
    }
    urls.extend(URLS.iter().map(|url| url.replace("PORT", &trap.port.to_string())));
    // This machine by its network address, if it has one.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    if socket.connect("192.0.2.1:9").is_ok() {
        let own = socket.local_addr().expect("an address").ip();
        urls.push(format!("https://{own}:{}/", trap.port));
    }
    assert!(HOSTS.len() + URLS.len() >= 60 && urls.len() >= 150, "{}", urls.len());
    for url in &urls {
        let attempt = deliverer.attempt(url, parcel()).await;
        assert!(!attempt.is_success() && attempt.status.is_none(), "{url}: {attempt:?}");
        assert_eq!(trap.seen.load(Ordering::SeqCst), 0, "{url}");
    }
    assert_eq!(trap.seen().await, 0);
    // The trap counts an allowed connection.
    let open = self::deliverer(&trap, &["127.0.0.0/8"], Names::System);
    open.attempt(&format!("http://127.0.0.1:{}/", trap.port), parcel())
        .await;
    assert_eq!(trap.seen().await, 1);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_only_checked_addresses_are_connected_to() {
    let trap = Trap::set();
    let url = format!("https://rebinding.example:{}/", trap.port);
    for answers in [
        // a name with an internal address, alone or among public ones
        [["127.0.0.1"].as_slice(), &["127.0.0.1"]],
        [["198.41.0.4", "127.0.0.1"].as_slice(), &["127.0.0.1"]],
        [["::1"].as_slice(), &["127.0.0.1"]],
        [["::ffff:127.0.0.1"].as_slice(), &["127.0.0.1"]],
        [["64:ff9b::7f00:1"].as_slice(), &["127.0.0.1"]],
        [["169.254.169.254"].as_slice(), &["127.0.0.1"]],
        [[].as_slice(), &["127.0.0.1"]],
        // a public address first, an internal one next
        [["198.41.0.4"].as_slice(), &["127.0.0.1"]],
    ] {
        let (names, script) = scripted(&answers);
        let deliverer = deliverer(&trap, &[], names);
        let attempt = deliverer.attempt(&url, parcel()).await;
        assert!(
            attempt.status.is_none() && !attempt.is_success(),
            "{answers:?}: {attempt:?}"
        );
        assert_eq!(script.lock().unwrap().len(), 1, "{answers:?}: resolved once");
        assert_eq!(trap.seen().await, 0, "{answers:?}");
        // Resolved again later, perhaps to an internal address.
        let attempt = deliverer.attempt(&url, parcel()).await;
        assert!(
            attempt.status.is_none() && !attempt.is_success(),
            "{answers:?}: {attempt:?}"
        );
        assert_eq!(trap.seen().await, 0, "{answers:?}");
    }
    // The client connects to the checked address, for any name.
    let (names, _) = scripted(&[&["127.0.0.1"]]);
    let open = deliverer(&trap, &["127.0.0.1/32"], names);
    open.attempt(&format!("http://anything.example:{}/", trap.port), parcel())
        .await;
    assert_eq!(trap.seen().await, 1);
}

/// Answers every request with these bytes, and closes the connection.
async fn answering(answer: String) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await;
                assert!(read.is_ok_and(|read| read > 0), "a request");
                stream.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    port
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let trap = Trap::set();
    let deliverer = deliverer(&trap, &["127.0.0.1/32"], Names::System);
    for status in [301, 302, 303, 307, 308] {
        for target in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"] {
            let answer = format!(
                "HTTP/1.1 {status} Moved\r\nLocation: http://{target}:{}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                trap.port
            );
            let port = answering(answer).await;
            let attempt = deliverer.attempt(&format!("http://127.0.0.1:{port}/"), parcel()).await;
            assert_eq!(attempt.status, Some(status), "{attempt:?}");
            assert!(attempt.error.is_some_and(|error| error.contains("not followed")));
        }
    }
    assert_eq!(trap.seen().await, 0);
}

#[tokio::test]
async fn an_answer_is_bounded_in_length_and_in_time() {
    let trap = Trap::set();
    let deliverer = deliverer(&trap, &["127.0.0.1/32"], Names::System);
    let send = async |answer: String| {
        let port = answering(answer).await;
        deliverer.attempt(&format!("http://127.0.0.1:{port}/"), parcel()).await
    };
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{}",
        "x".repeat(1 << 20)
    );
    let attempt = send(long).await;
    assert!(attempt.is_success());
    assert_eq!(attempt.answer.map(|answer| answer.len()), Some(ANSWER_BYTES));
    // A response whose body never ends.
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow\u{0}\n".to_owned();
    let attempt = send(endless).await;
    assert!(
        attempt.is_success() && attempt.elapsed < Duration::from_secs(5),
        "{attempt:?}"
    );
    // The trap closes the connection, the next receiver never answers, and the one after it does not speak HTTP.
    let attempt = deliverer
        .attempt(&format!("http://127.0.0.1:{}/", trap.port), parcel())
        .await;
    assert!(attempt.status.is_none() && !attempt.is_success(), "{attempt:?}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let attempt = deliverer.attempt(&format!("http://127.0.0.1:{port}/"), parcel()).await;
    assert_eq!(attempt.error.as_deref(), Some("no answer within 0.4 s"));
    let attempt = send("SSH-2.0-OpenSSH\r\n".to_owned()).await;
    assert!(attempt.status.is_none() && !attempt.is_success());
    let attempt = send("HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    assert_eq!(
        (attempt.status, attempt.retry_after),
        (Some(503), Some(Duration::from_mins(2)))
    );
    let attempt = send("HTTP/1.1 429 Later\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    assert_eq!(attempt.retry_after, Some(LONGEST_RETRY_AFTER));
}

#[test]
fn a_receiver_may_ask_for_a_delay_in_seconds_or_until_a_date() {
    let asked = |after: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static(after));
        retry_after(&headers).map(|delay| delay.as_secs())
    };
    assert_eq!(asked("120"), Some(120));
    assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
    for long in [
        "99999999",
        "99999999999999999999999999",
        "Mon, 06 Nov 1995 08:49:37 GMT",
    ] {
        assert_eq!(asked(long), Some(24 * 60 * 60), "{long}");
    }
    for unknown in ["", "-1", "1.5", "soon"] {
        assert_eq!(asked(unknown), None, "{unknown}");
    }
}
