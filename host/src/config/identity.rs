//! The settings of identity providers: those whose tokens the API accepts, and the one that staff log in with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

use super::parse::{empty_is_none, seconds};

const MAX_ISSUERS: usize = 8;
const MINUTE: u64 = 60;
const WEEK: u64 = 7 * 24 * 60 * MINUTE;

/// An issuer whose tokens the API accepts as the tokens of users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The exact `iss`.
    pub issuer: String,
    /// One of the `aud`.
    pub audience: String,
    #[serde(default)]
    pub jwks: Jwks,
    #[serde(default = "algorithms")]
    pub algorithms: BTreeSet<TokenAlgorithm>,
    #[serde(default = "subject")]
    pub external_id_claim: String,
    #[serde(default)]
    pub external_id_prefix: String,
    /// By the name of the attribute: the claim.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Empty: its tokens are those of USERs.
    #[serde(default)]
    pub roles_claim: String,
    /// By the value of the claim: the role.
    #[serde(default)]
    pub roles: BTreeMap<String, String>,
    #[serde(default = "yes")]
    pub create_users: bool,
    /// Whether its tokens satisfy `auth.require_totp`.
    #[serde(default)]
    pub counts_as_second_factor: bool,
    #[serde(
        rename = "leeway_seconds",
        default = "leeway",
        deserialize_with = "seconds::<0, { 5 * MINUTE }, _>"
    )]
    pub leeway: Duration,
    #[serde(
        rename = "keys_valid_seconds",
        default = "keys_valid",
        deserialize_with = "seconds::<MINUTE, WEEK, _>"
    )]
    pub keys_valid: Duration,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Jwks {
    /// Where its discovery document says.
    #[default]
    Discovery,
    Url(String),
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Jwks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "discovery" => Self::Discovery,
            "" => {
                return Err(serde::de::Error::custom(
                    "is empty; write discovery, a URL or the path of a file",
                ));
            }
            url if url.contains("://") => Self::Url(text),
            _ => Self::File(text.into()),
        })
    }
}

/// A signature algorithm that a token may name. All are asymmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TokenAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

fn algorithms() -> BTreeSet<TokenAlgorithm> {
    BTreeSet::from([TokenAlgorithm::RS256, TokenAlgorithm::ES256, TokenAlgorithm::EdDSA])
}

fn subject() -> String {
    "sub".to_owned()
}

fn yes() -> bool {
    true
}

fn leeway() -> Duration {
    Duration::from_secs(30)
}

fn keys_valid() -> Duration {
    Duration::from_hours(6)
}

/// The provider that staff log in with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Empty: staff log in with a password only.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// The file that `client_secret` was read from, if any.
    #[serde(deserialize_with = "empty_is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// The public URL of `GET /auth/oidc/callback`.
    pub redirect_url: String,
    /// Separated by spaces; `openid` is always asked for.
    pub scopes: String,
    pub algorithms: BTreeSet<TokenAlgorithm>,
    pub external_id_prefix: String,
    pub roles_claim: String,
    /// By the value of the claim: the role.
    pub roles: BTreeMap<String, String>,
    /// Whether a login there satisfies `auth.require_totp`.
    pub counts_as_second_factor: bool,
    #[serde(rename = "leeway_seconds", deserialize_with = "seconds::<0, { 5 * MINUTE }, _>")]
    pub leeway: Duration,
    #[serde(rename = "keys_valid_seconds", deserialize_with = "seconds::<MINUTE, WEEK, _>")]
    pub keys_valid: Duration,
}

/// Rejects settings that contradict each other. `own` is the issuer of Meed's own tokens.
pub(super) fn check(own: &str, issuers: &[TrustedIssuer], oidc: &Oidc) -> Result<(), String> {
    if issuers.len() > MAX_ISSUERS {
        return Err(format!(
            "auth.trusted_issuers: there are {}; the maximum is {MAX_ISSUERS}",
            issuers.len()
        ));
    }
    for (index, issuer) in issuers.iter().enumerate() {
        check_issuer(own, issuer).map_err(|fault| format!("auth.trusted_issuers[{index}].{fault}"))?;
        if issuers[..index].iter().any(|other| other.issuer == issuer.issuer) {
            return Err(format!(
                "auth.trusted_issuers[{index}].issuer: {:?} is there twice; remove one",
                issuer.issuer
            ));
        }
    }
    check_oidc(oidc).map_err(|fault| format!("auth.oidc.{fault}"))?;
    check_prefixes(issuers, oidc)
}

fn check_issuer(own: &str, issuer: &TrustedIssuer) -> Result<(), String> {
    if issuer.issuer.is_empty() || issuer.issuer == own {
        return Err(format!(
            "issuer: {:?} is not the `iss` of another issuer's tokens",
            issuer.issuer
        ));
    }
    if issuer.audience.is_empty() {
        return Err("audience: is empty; write the `aud` of the tokens that are meant for Meed".to_owned());
    }
    if issuer.algorithms.is_empty() {
        return Err("algorithms: is empty; name the algorithms that the issuer signs with".to_owned());
    }
    if issuer.external_id_claim.is_empty() {
        return Err("external_id_claim: is empty; the default is sub".to_owned());
    }
    if issuer.roles_claim.is_empty() != issuer.roles.is_empty() {
        return Err("roles_claim: set it together with roles, or neither".to_owned());
    }
    Ok(())
}

fn check_oidc(oidc: &Oidc) -> Result<(), String> {
    if oidc.issuer.is_empty() {
        return Ok(());
    }
    for (name, value) in [
        ("client_id", oidc.client_id.as_str()),
        ("client_secret", oidc.client_secret.expose_secret()),
        ("redirect_url", &oidc.redirect_url),
        ("roles_claim", &oidc.roles_claim),
    ] {
        if value.is_empty() {
            return Err(format!("{name}: is empty; auth.oidc.issuer needs it"));
        }
    }
    if oidc.roles.is_empty() || oidc.algorithms.is_empty() {
        return Err("roles and auth.oidc.algorithms: neither may be empty with auth.oidc.issuer".to_owned());
    }
    Ok(())
}

/// Two providers must not name the same user, so no prefix may be the beginning of another.
fn check_prefixes(issuers: &[TrustedIssuer], oidc: &Oidc) -> Result<(), String> {
    let issuers = issuers
        .iter()
        .map(|issuer| (&issuer.issuer, &issuer.external_id_prefix));
    let staff = Some((&oidc.issuer, &oidc.external_id_prefix)).filter(|(issuer, _)| !issuer.is_empty());
    let all: Vec<_> = issuers.chain(staff).collect();
    for (index, (issuer, prefix)) in all.iter().enumerate() {
        for (other, other_prefix) in &all[..index] {
            let is_same_user_space = issuer == other && prefix == other_prefix;
            if !is_same_user_space && (prefix.starts_with(*other_prefix) || other_prefix.starts_with(*prefix)) {
                return Err(format!(
                    "external_id_prefix: {prefix:?} of {issuer} and {other_prefix:?} of {other} could name the same user; give \
                     each issuer a prefix that is not the beginning of another, such as \"game:\" and \"staff:\""
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const ISSUER: &str = "[[auth.trusted_issuers]]\nissuer = \"https://id.example.com\"\naudience = \"meed\"\n";
    const STAFF: &str = "[auth.oidc]\nissuer = \"https://staff.example.com\"\nclient_id = \"meed\"\nclient_secret = \"s\"\n\
        redirect_url = \"https://meed.example.com/auth/oidc/callback\"\nroles_claim = \"groups\"\nroles = { a = \"ADMIN\" }\n";

    fn load(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(None, Some(file.path()), &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_names_the_setting() {
        let second =
            format!("{ISSUER}[[auth.trusted_issuers]]\nissuer = \"b\"\naudience = \"m\"\nkeys_valid_seconds = -1\n");
        let fault = load(&second).unwrap_err();
        assert!(
            fault.starts_with("auth.trusted_issuers[1].keys_valid_seconds: "),
            "{fault}"
        );
    }

    #[test]
    fn an_issuer_needs_its_name_and_its_audience() {
        let issuers = load(ISSUER).unwrap().auth.trusted_issuers;
        assert_eq!(issuers[0].jwks, Jwks::Discovery);
        assert_eq!(issuers[0].algorithms, algorithms());
        assert_eq!(issuers[0].external_id_claim, "sub");
        assert!(issuers[0].create_users && !issuers[0].counts_as_second_factor);
        assert_eq!((issuers[0].leeway, issuers[0].keys_valid), (leeway(), keys_valid()));
        assert!(load("").unwrap().auth.trusted_issuers.is_empty());
        for (text, fault) in [
            ("[[auth.trusted_issuers]]\nissuer = \"a\"\n", "audience"),
            ("[[auth.trusted_issuers]]\naudience = \"a\"\n", "issuer"),
            ("[[auth.trusted_issuers]]\nissuer = \"\"\naudience = \"a\"\n", "issuer"),
            (
                "[[auth.trusted_issuers]]\nissuer = \"meed\"\naudience = \"a\"\n",
                "issuer",
            ),
            (
                "[[auth.trusted_issuers]]\nissuer = \"a\"\naudience = \"\"\n",
                "audience",
            ),
        ] {
            let error = load(text).unwrap_err();
            assert!(
                error.contains("auth.trusted_issuers") && error.contains(fault),
                "{error}"
            );
        }
        for (further, fault) in [
            ("algorithms = []", "algorithms"),
            ("algorithms = [\"HS256\"]", "HS256"),
            ("algorithms = [\"none\"]", "none"),
            ("jwks = \"\"", "empty"),
            ("external_id_claim = \"\"", "external_id_claim"),
            ("roles_claim = \"groups\"", "roles_claim"),
            ("roles = { a = \"ADMIN\" }", "roles_claim"),
            ("leeway_seconds = 301", "0 and 300"),
            ("keys_valid_seconds = 59", "60 and 604800"),
            ("secret = \"a\"", "secret"),
        ] {
            let error = load(&format!("{ISSUER}{further}\n")).unwrap_err();
            assert!(error.contains(fault), "{further}: {error}");
        }
    }

    #[test]
    fn names_of_claims_and_groups_are_kept_as_they_are() {
        let text = format!(
            "{ISSUER}roles_claim = \"https://shop.example.com/roles\"\nroles = {{ \"Shop.Admins\" = \"ADMIN\" }}\n\
             attributes = {{ \"Level.max\" = \"/profile/Level\" }}\njwks = \"keys/jwks.json\"\n"
        );
        let issuers = load(&text).unwrap().auth.trusted_issuers;
        assert_eq!(issuers[0].roles["Shop.Admins"], "ADMIN");
        assert_eq!(issuers[0].attributes["Level.max"], "/profile/Level");
        assert_eq!(issuers[0].jwks, Jwks::File("keys/jwks.json".into()));
    }

    #[test]
    fn two_issuers_cannot_name_the_same_user() {
        let second = ISSUER.replace("id.", "id2.");
        let with = |first: &str, other: &str| load(&format!("{ISSUER}{first}\n{second}{other}\n"));
        let prefix = |text: &str| format!("external_id_prefix = {text:?}");
        with(&prefix("a:"), &prefix("b:")).unwrap();
        for (first, other) in [("", ""), ("a:", "a:"), ("a", "a:"), ("a:", "")] {
            let error = with(&prefix(first), &prefix(other)).unwrap_err();
            assert!(error.contains("external_id_prefix"), "{error}");
        }
        let error = load(&format!("{ISSUER}{}", STAFF.replace("staff.", "login."))).unwrap_err();
        assert!(error.contains("external_id_prefix"), "{error}");
        // The provider of users is also that of staff: the same `sub` is the same person.
        load(&format!("{ISSUER}{}", STAFF.replace("staff.", "id."))).unwrap();
        let twice = format!("{ISSUER}{ISSUER}");
        assert!(load(&twice).unwrap_err().contains("twice"));
        let many: String = (0..9)
            .map(|n| ISSUER.replace("id.", &format!("id{n}.")) + &prefix(&format!("{n}:")) + "\n")
            .collect();
        assert!(load(&many).unwrap_err().contains("maximum is 8"));
    }

    #[test]
    fn a_provider_of_staff_needs_all_of_its_settings() {
        load(STAFF).unwrap();
        for name in ["client_id", "client_secret", "redirect_url", "roles_claim"] {
            let lines: Vec<&str> = STAFF.lines().filter(|line| !line.starts_with(name)).collect();
            let text = lines.join("\n");
            assert!(
                load(&text).unwrap_err().contains(&format!("auth.oidc.{name}")),
                "{name}"
            );
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from a file\n").unwrap();
        let text = STAFF.replace(
            "client_secret = \"s\"",
            &format!("client_secret_file = {:?}", file.path()),
        );
        assert_eq!(
            load(&text).unwrap().auth.oidc.client_secret.expose_secret(),
            "from a file"
        );
    }
}
