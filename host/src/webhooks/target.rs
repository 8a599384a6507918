//! Where webhooks may be sent: to public addresses over https, and into private networks that the settings name.
//!
//! Operators choose the URL. Without this check any OPERATOR could make the server send requests to every host that it
//! can reach: itself, its neighbours, a cloud's metadata service. Must not know: how hosts are resolved and connected
//! to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;

const MAX_URL: usize = 2048;

/// Why a URL or an address is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("is not a URL such as https://shop.example.com/meed: {0}")]
    NotAUrl(String),
    #[error("has {0} bytes; the maximum is {MAX_URL}")]
    TooLong(usize),
    #[error("has the scheme {0}; use https")]
    Scheme(String),
    #[error("contains a user name or a password; remove them, messages are signed instead")]
    UserInfo,
    #[error("has a fragment (#…), which HTTP does not send; remove it")]
    Fragment,
    #[error("is http; use https, except for networks in webhooks.private_networks")]
    PlainHttp,
    #[error("has port {0}, which is not in webhooks.ports")]
    Port(u16),
    // Without the address: an operator must not learn which private addresses a name has.
    #[error("leads to an address that is neither public nor in webhooks.private_networks")]
    Private(IpAddr),
}

/// What the settings allow.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub ports: Vec<u16>,
    pub private_networks: Vec<IpNet>,
}

impl Policy {
    /// Checks everything that can be checked without resolving the host.
    pub(super) fn check_url(&self, text: &str) -> Result<Url, Refusal> {
        if text.len() > MAX_URL {
            return Err(Refusal::TooLong(text.len()));
        }
        let url = Url::parse(text).map_err(|error| Refusal::NotAUrl(error.to_string()))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refusal::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        match literal(&url) {
            Some(address) => self.check_address(&url, address)?,
            // The host is resolved at delivery. Without private networks it must be public anyway.
            None if self.private_networks.is_empty() => self.check_public(&url)?,
            None => {}
        }
        Ok(url)
    }

    /// Checks an address that the URL's host has.
    pub(super) fn check_address(&self, url: &Url, address: IpAddr) -> Result<(), Refusal> {
        if self.private_networks.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        if !is_public(address) {
            return Err(Refusal::Private(address));
        }
        self.check_public(url)
    }

    fn check_public(&self, url: &Url) -> Result<(), Refusal> {
        if url.scheme() != "https" {
            return Err(Refusal::PlainHttp);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if self.ports.contains(&port) {
            Ok(())
        } else {
            Err(Refusal::Port(port))
        }
    }
}

/// The IP address in a URL, if its host is one. Parsing has normalised unusual notations.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Whether an address is globally reachable: it is not in IANA's special-purpose registries, nor Azure's address of the host.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(net, prefix)| within_v4(*net, *prefix, address)),
        // Everything outside 2000::/3 is special, including IPv4 addresses that are embedded in IPv6 ones.
        IpAddr::V6(address) => {
            within_v6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, address)
                && !SPECIAL_V6.iter().any(|(net, prefix)| within_v6(*net, *prefix, address))
        }
    }
}

fn within_v4(net: Ipv4Addr, prefix: u8, address: Ipv4Addr) -> bool {
    Ipv4Net::new(net, prefix).is_ok_and(|net| net.contains(&address))
}

fn within_v6(net: Ipv6Addr, prefix: u8, address: Ipv6Addr) -> bool {
    Ipv6Net::new(net, prefix).is_ok_and(|net| net.contains(&address))
}

const SPECIAL_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // shared by customers of one carrier, and some clouds' metadata
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // link-local: most clouds' metadata
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // multicast, reserved, broadcast
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

const SPECIAL_V6: &[(Ipv6Addr, u8)] = &[
    // protocols, Teredo, benchmarks, ORCHID
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // documentation
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4, which carries an IPv4 address
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All networks in the lines of a file of `deploy/` that begin so.
    fn networks(file: &str, prefix: &str) -> BTreeSet<IpNet> {
        let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        let words = lines.flat_map(str::split_whitespace);
        words.filter_map(|word| word.parse().ok()).collect()
    }

    #[test]
    fn the_firewalls_of_deployments_deny_the_same_networks() {
        let v4 = SPECIAL_V4
            .iter()
            .map(|(net, prefix)| IpNet::new((*net).into(), *prefix));
        let v6 = SPECIAL_V6
            .iter()
            .map(|(net, prefix)| IpNet::new((*net).into(), *prefix));
        let special: BTreeSet<IpNet> = v4.chain(v6).map(Result::unwrap).collect();
        let chart = networks("helm/meed/templates/network.yaml", "              - ");
        assert_eq!(chart, special);
        // systemd has no list of public networks to start from, so it also denies all outside of 2000::/3.
        let outside = ["::/3", "4000::/2", "8000::/1"].map(|net| net.parse().unwrap());
        let unit = networks("systemd/webhooks.conf", "IPAddressDeny=");
        assert_eq!(unit, special.into_iter().chain(outside).collect());
    }

    fn strict() -> Policy {
        Policy {
            ports: vec![443, 8443],
            private_networks: Vec::new(),
        }
    }

    #[test]
    fn only_public_addresses_are_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2620:fe::fe",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_public_address_is_allowed_with_https_and_listed_ports_only() {
        let policy = strict();
        let public: IpAddr = "93.184.216.34".parse().unwrap();
        let check = |text: &str| policy.check_address(&Url::parse(text).unwrap(), public);
        assert_eq!(check("https://example.com/"), Ok(()));
        assert_eq!(check("https://example.com:8443/"), Ok(()));
        assert_eq!(check("http://example.com/"), Err(Refusal::PlainHttp));
        assert_eq!(check("https://example.com:22/"), Err(Refusal::Port(22)));
    }

    #[test]
    fn a_listed_private_network_allows_http_and_any_port_for_itself_only() {
        let policy = Policy {
            private_networks: vec!["10.1.0.0/16".parse().unwrap()],
            ..strict()
        };
        assert!(policy.check_url("http://10.1.2.3:8080/hook").is_ok());
        assert!(policy.check_url("http://shop.internal:8080/hook").is_ok());
        for elsewhere in ["http://10.2.0.1/", "https://127.0.0.1/", "https://[::ffff:10.1.2.3]/"] {
            assert!(
                matches!(policy.check_url(elsewhere), Err(Refusal::Private(_))),
                "{elsewhere}"
            );
        }
        let name = Url::parse("http://shop.internal:8080/").unwrap();
        assert_eq!(
            policy.check_address(&name, "93.184.216.34".parse().unwrap()),
            Err(Refusal::PlainHttp)
        );
    }

    #[test]
    fn every_notation_of_an_address_is_recognised() {
        let policy = strict();
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "017700000001",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "①②⑦.⓪.⓪.①",
            "%31%32%37.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[::ffff:7f00:1]",
            "0",
            "0x0",
        ] {
            let checked = policy.check_url(&format!("https://{host}/"));
            assert!(matches!(checked, Err(Refusal::Private(_))), "{host}: {checked:?}");
        }
    }

    #[test]
    fn invalid_receiver_urls_are_refused() {
        let policy = strict();
        for (url, refusal) in [
            ("", "is not a URL"),
            ("/hook", "is not a URL"),
            ("https://", "is not a URL"),
            ("https://[fe80::1%25eth0]/", "is not a URL"),
            ("https://256.1.1.1/", "is not a URL"),
            ("ftp://example.com/", "has the scheme ftp"),
            ("file:///etc/passwd", "has the scheme file"),
            ("gopher://example.com/", "has the scheme gopher"),
            ("data:text/plain,x", "has the scheme data"),
            ("javascript:alert(1)", "has the scheme javascript"),
            ("https://user@example.com/", "user name"),
            ("https://:secret@example.com/", "user name"),
            ("https://example.com/#there", "fragment"),
            ("http://example.com/", "is http"),
            ("https://example.com:80/", "port 80"),
            ("https://example.com:6379/", "port 6379"),
        ] {
            let checked = policy.check_url(url).unwrap_err().to_string();
            assert!(checked.contains(refusal), "{url}: {checked}");
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL));
        assert!(matches!(policy.check_url(&long), Err(Refusal::TooLong(_))));
        assert!(policy.check_url("https://example.com:443/hook?for=meed").is_ok());
    }
}
