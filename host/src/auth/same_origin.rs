//! Whether a browser sent a request from a page of this server. A cookie counts only then.
//!
//! `SameSite=Strict` keeps the cookie from other sites, but a site includes other ports and sub-domains. Browsers write the
//! headers that this module reads, and no script can change them.

use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, Method, header};

const FETCH_SITE: &str = "sec-fetch-site";

/// Requests that change something need an `Origin` that is this server. Reading requests have none, so `Sec-Fetch-Site` decides
/// about them, where the browser sends it; no other site can read their responses anyway.
pub fn is_same_origin(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let comes_from_here = match one(headers, FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => !headers.contains_key(FETCH_SITE),
    };
    if !comes_from_here {
        return false;
    }
    if method.is_safe() && !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let host = uri
        .authority()
        .map(Authority::as_str)
        .or_else(|| one(headers, header::HOST.as_str()));
    let origin = one(headers, header::ORIGIN.as_str());
    origin.zip(host).is_some_and(|(origin, host)| names(origin, host))
}

/// The only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether an origin is this host over https, or over http on this machine: browsers keep the cookie nowhere else.
fn names(origin: &str, host: &str) -> bool {
    let Some((scheme, origin_host)) = origin.split_once("://") else {
        return false;
    };
    if !origin_host.eq_ignore_ascii_case(host) {
        return false;
    }
    match scheme {
        "https" => true,
        "http" => is_local(host),
        _ => false,
    }
}

fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(method: &Method, sent: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        is_same_origin(method, &Uri::from_static("/users/me"), &headers)
    }

    #[test]
    fn a_change_needs_the_origin_of_this_server() {
        let host = ("host", "meed.example");
        let post = |sent: &[(&'static str, &str)]| same(&Method::POST, sent);
        assert!(post(&[host, ("origin", "https://meed.example")]));
        assert!(post(&[("host", "localhost:3000"), ("origin", "http://localhost:3000")]));
        assert!(post(&[("host", "127.0.0.1:3000"), ("origin", "http://127.0.0.1:3000")]));
        assert!(post(&[("host", "[::1]:3000"), ("origin", "http://[::1]:3000")]));
        for origin in [
            "https://evil.example",
            "https://meed.example.evil.example",
            "https://meed.example:8443",
            "http://meed.example",
            "null",
            "",
        ] {
            assert!(!post(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!post(&[host]));
        assert!(!post(&[("origin", "https://meed.example")]));
        let twice = ("origin", "https://meed.example");
        assert!(!post(&[host, twice, twice]));
        assert!(!post(&[host, twice, ("sec-fetch-site", "cross-site")]));
        assert!(!post(&[host, twice, ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn a_reading_request_needs_no_origin() {
        let host = ("host", "meed.example");
        let get = |sent: &[(&'static str, &str)]| same(&Method::GET, sent);
        assert!(get(&[host]));
        assert!(get(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(!get(&[host, ("sec-fetch-site", "same-site")]));
        assert!(!get(&[host, ("sec-fetch-site", "none")]));
        assert!(!get(&[host, ("origin", "https://evil.example")]));
    }
}
