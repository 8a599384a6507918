//! The address of the client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The other end of the connection, in the request's extensions. Requests without a connection have none.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The client's address: the peer's or, if that is a trusted proxy, the last address in `X-Forwarded-For` that is not
/// one. Proxies append to the header: addresses that the client sent precede those of the proxies, so a client cannot
/// choose its address.
pub fn client(extensions: &Extensions, headers: &HeaderMap, proxies: &[IpNet]) -> Option<IpAddr> {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut client = extensions.get::<Peer>()?.0.to_canonical();
    let lists: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let mut forwarded = lists
        .into_iter()
        .rev()
        .flat_map(|list| list.to_str().unwrap_or_default().rsplit(','));
    while is_proxy(&client) {
        let Some(before) = forwarded.next().and_then(address) else {
            break;
        };
        client = before.to_canonical();
    }
    Some(client)
}

/// An address as proxies write it: some add the port, and brackets to IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

/// One name for all addresses that a client is likely to have: IPv6 addresses by their /64, which is one link.
pub fn name(client: Option<IpAddr>) -> String {
    match client {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => network(address, 64),
    }
}

/// The same, then for IPv6 the networks around it that a provider gives to one customer.
pub fn networks(client: Option<IpAddr>) -> Vec<String> {
    let mut names = vec![name(client)];
    if let Some(IpAddr::V6(address)) = client {
        names.extend([network(address, 56), network(address, 48)]);
    }
    names
}

fn network(address: Ipv6Addr, bits: u32) -> String {
    let kept = u128::from(address) & (u128::MAX << (128 - bits));
    format!("{}/{bits}", Ipv6Addr::from(kept))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(peer: &str, forwarded: &[&'static str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for list in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(list));
        }
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client(&extensions, &headers, &proxies).unwrap().to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(of("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(of("10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("::ffff:10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn addresses_that_the_client_sent_are_ignored() {
        assert_eq!(of("10.1.2.3", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            of("10.1.2.3", &["1.1.1.1, 198.51.100.7, fd00::1, 10.9.9.9"]),
            "198.51.100.7"
        );
        assert_eq!(of("10.1.2.3", &["1.1.1.1", "198.51.100.7", "10.9.9.9"]), "198.51.100.7");
    }

    #[test]
    fn an_address_may_have_a_port_and_brackets() {
        assert_eq!(of("10.1.2.3", &["198.51.100.7:51234"]), "198.51.100.7");
        assert_eq!(of("10.1.2.3", &["[2001:db8::1]:443, 10.9.9.9:80"]), "2001:db8::1");
        assert_eq!(of("10.1.2.3", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(of("10.1.2.3", &["198.51.100.7:x"]), "10.1.2.3");
    }

    #[test]
    fn an_invalid_address_ends_the_search_at_the_proxy() {
        assert_eq!(of("10.1.2.3", &["1.1.1.1, unknown, 10.9.9.9"]), "10.9.9.9");
        assert_eq!(of("10.1.2.3", &["10.4.4.4"]), "10.4.4.4");
    }

    #[test]
    fn an_ipv6_client_is_named_by_its_network() {
        let name = |text: &str| super::name(Some(text.parse().unwrap()));
        assert_eq!(name("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        let networks = |text: &str| super::networks(Some(text.parse().unwrap()));
        assert_eq!(
            networks("2001:db8:1:2233:4:5:6:7"),
            ["2001:db8:1:2233::/64", "2001:db8:1:2200::/56", "2001:db8:1::/48"]
        );
        assert_eq!(networks("192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(name("192.0.2.1"), "192.0.2.1");
        assert_eq!(super::name(None), "unknown");
    }
}
