//! Access tokens that the server did not issue in this form: all get the same response.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{me, text, without_request_id};
use crate::support::{TestApp, on_both_engines};

/// An attacker who holds the server's private key.
struct Forge {
    key: Ed25519KeyPair,
    header: Value,
    claims: Value,
    signature: String,
}

impl Forge {
    fn new(app: &TestApp, token: &str) -> Self {
        let path = std::fs::read_dir(app.keys_directory())
            .expect("the keys")
            .map(|entry| entry.expect("a file").path())
            .find(|path| path.display().to_string().contains("access-"))
            .expect("an access key");
        let pem = pem::parse(std::fs::read(path).expect("a file")).expect("a PEM");
        let parts: Vec<&str> = token.split('.').collect();
        Self {
            key: Ed25519KeyPair::from_pkcs8(pem.contents()).expect("a key"),
            header: decode(parts[0]),
            claims: decode(parts[1]),
            signature: parts[2].to_owned(),
        }
    }

    /// Signs exactly these bytes.
    fn sign(&self, header: &str, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", encode(self.key.sign(message.as_bytes())))
    }

    fn with_header(&self, change: impl Fn(&mut Value)) -> String {
        let mut header = self.header.clone();
        change(&mut header);
        self.sign(&header.to_string(), self.claims.to_string())
    }

    fn with_claims(&self, change: impl Fn(&mut Value)) -> String {
        let mut claims = self.claims.clone();
        change(&mut claims);
        self.sign(&self.header.to_string(), claims.to_string())
    }

    fn with_claims_text(&self, from: &str, to: &str) -> String {
        let claims = self.claims.to_string();
        assert!(claims.contains(from), "{from} in {claims}");
        self.sign(&self.header.to_string(), claims.replacen(from, to, 1))
    }

    /// A token with this algorithm in the header, signed by the library with a key that the attacker chose.
    fn with_algorithm(&self, algorithm: Algorithm, key: &EncodingKey) -> String {
        let mut header = Header::new(algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(text(&self.header, "kid").to_owned());
        jsonwebtoken::encode(&header, &self.claims, key).expect("a token")
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

fn without(member: &'static str) -> impl Fn(&mut Value) {
    move |object| {
        object
            .as_object_mut()
            .expect("an object")
            .remove(member)
            .expect("it was there");
    }
}

fn setting(member: &'static str, value: Value) -> impl Fn(&mut Value) {
    move |object| object[member] = value.clone()
}

fn other_algorithms(forge: &Forge) -> Vec<(String, String)> {
    let mut corpus = Vec::new();
    let unsigned = forge.sign(&forge.header.to_string(), forge.claims.to_string());
    let claims = unsigned.split('.').nth(1).expect("three parts");
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(json!({"typ": "at+jwt", "alg": alg, "kid": forge.header["kid"]}).to_string());
        corpus.push((format!("alg {alg:?}, no signature"), format!("{header}.{claims}.")));
        corpus.push((
            format!("alg {alg:?}, signed"),
            forge.with_header(setting("alg", json!(alg))),
        ));
    }
    for alg in ["HS256", "ES256", "RS256", "PS256", "Ed25519", "eddsa", "HS512"] {
        corpus.push((format!("alg {alg}"), forge.with_header(setting("alg", json!(alg)))));
    }
    corpus.push(("no alg".to_owned(), forge.with_header(without("alg"))));
    corpus.push(("alg null".to_owned(), forge.with_header(setting("alg", Value::Null))));

    let public = forge.key.public_key().as_ref();
    let mut spki = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    spki.extend_from_slice(public);
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", spki.clone()));
    let jwk = json!({"crv": "Ed25519", "kty": "OKP", "x": encode(public)}).to_string();
    for (form, secret) in [
        ("raw", public.to_vec()),
        ("base64url", encode(public).into_bytes()),
        ("base64", STANDARD.encode(public).into_bytes()),
        ("DER", spki),
        ("PEM", pem.into_bytes()),
        ("JWK", jwk.into_bytes()),
        ("empty", Vec::new()),
    ] {
        let key = EncodingKey::from_secret(&secret);
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            let name = format!("{algorithm:?} with the public key as {form}");
            corpus.push((name, forge.with_algorithm(algorithm, &key)));
        }
    }
    corpus
}

fn other_signatures(forge: &Forge) -> Vec<(String, String)> {
    let good = forge.sign(&forge.header.to_string(), forge.claims.to_string());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other = Ed25519KeyPair::generate().expect("a key");
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    flipped[10] ^= 1;
    let last = signature.chars().last().expect("a letter");
    // Four bits of the last letter are unused; a lax decoder decodes this letter like `last`.
    let sloppy = match last {
        'A' => 'B',
        'Q' => 'R',
        'g' => 'h',
        'w' => 'x',
        other => panic!("{other} is not canonical"),
    };
    let with = |signature: &str| format!("{message}.{signature}");
    let parts: Vec<&str> = good.split('.').collect();
    vec![
        ("another key".to_owned(), with(&encode(other.sign(message.as_bytes())))),
        ("one bit flipped".to_owned(), with(&encode(flipped))),
        ("all zero".to_owned(), with(&encode([0; 64]))),
        ("empty".to_owned(), with("")),
        ("cut".to_owned(), with(&signature[..signature.len() - 2])),
        ("padded".to_owned(), with(&format!("{signature}=="))),
        ("longer".to_owned(), with(&format!("{signature}AAAA"))),
        (
            "non-canonical base64".to_owned(),
            with(&format!("{}{sloppy}", &signature[..85])),
        ),
        ("standard base64".to_owned(), with("+/+/")),
        ("of another token".to_owned(), {
            let claims = forge.with_claims(setting("jti", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")));
            let (message, _) = claims.rsplit_once('.').expect("three parts");
            format!("{message}.{}", forge.signature)
        }),
        ("two parts".to_owned(), message.to_owned()),
        ("one part".to_owned(), parts[0].to_owned()),
        ("four parts".to_owned(), format!("{good}.x")),
        ("five parts".to_owned(), format!("{good}.x.y")),
        (
            "swapped parts".to_owned(),
            format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        ),
        ("JSON form".to_owned(), {
            json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string()
        }),
        ("a refresh token".to_owned(), encode([7; 32])),
        ("dots".to_owned(), "..".to_owned()),
        ("nothing".to_owned(), String::new()),
        ("garbage".to_owned(), "!!!.???.***".to_owned()),
        ("blank inside".to_owned(), good.replacen('.', ". ", 1)),
        ("twice".to_owned(), format!("{good} {good}")),
    ]
}

fn other_headers(forge: &Forge) -> Vec<(String, String)> {
    let kid = text(&forge.header, "kid");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(forge.key.public_key())});
    let mut corpus = vec![
        ("no kid".to_owned(), forge.with_header(without("kid"))),
        ("no typ".to_owned(), forge.with_header(without("typ"))),
        ("two algs".to_owned(), {
            let header = format!(r#"{{"typ":"at+jwt","alg":"EdDSA","alg":"EdDSA","kid":"{kid}"}}"#);
            forge.sign(&header, forge.claims.to_string())
        }),
        ("not JSON".to_owned(), forge.sign("{", forge.claims.to_string())),
        ("an array".to_owned(), forge.sign("[]", forge.claims.to_string())),
        (
            "long kid".to_owned(),
            forge.with_header(setting("kid", json!("k".repeat(1000)))),
        ),
    ];
    for kid in ["", "../../etc/passwd", "' OR 1=1 --", "unknown", "\u{0}"] {
        corpus.push((format!("kid {kid:?}"), forge.with_header(setting("kid", json!(kid)))));
    }
    for typ in ["JWT", "jwt", "refresh", "id_token", "application/at+jwt", "AT+JWT", ""] {
        corpus.push((format!("typ {typ:?}"), forge.with_header(setting("typ", json!(typ)))));
    }
    for (member, value) in [
        ("jku", json!("https://attacker.example/jwks.json")),
        ("x5u", json!("https://attacker.example/chain.pem")),
        ("jwk", jwk),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("role", json!("ADMIN")),
    ] {
        corpus.push((format!("header {member}"), forge.with_header(setting(member, value))));
    }
    corpus
}

fn other_claims(forge: &Forge) -> Vec<(String, String)> {
    let now = forge.claims["iat"].as_i64().expect("seconds");
    let mut corpus = vec![
        ("not JSON".to_owned(), forge.sign(&forge.header.to_string(), "{")),
        (
            "bad UTF-8".to_owned(),
            forge.sign(&forge.header.to_string(), [0x22, 0xff, 0x22]),
        ),
        ("null".to_owned(), forge.sign(&forge.header.to_string(), "null")),
        (
            "nested 2,000 deep".to_owned(),
            forge.sign(&forge.header.to_string(), "[".repeat(1000)),
        ),
        (
            "64 KiB".to_owned(),
            forge.with_claims(setting("padding", json!("x".repeat(64 << 10)))),
        ),
        (
            "longer than ours".to_owned(),
            forge.with_claims(setting("padding", json!("x".repeat(2048)))),
        ),
        (
            "exp 1e400".to_owned(),
            forge.with_claims_text(&format!("\"exp\":{}", now + 600), "\"exp\":1e400"),
        ),
        (
            "exp 1.5e9".to_owned(),
            forge.with_claims_text(&format!("\"exp\":{}", now + 600), "\"exp\":1.772e9"),
        ),
        (
            "two roles".to_owned(),
            forge.with_claims_text("\"role\":\"USER\"", r#""role":"USER","role":"ADMIN""#),
        ),
        (
            "two exps".to_owned(),
            forge.with_claims_text("\"exp\":", &format!("\"exp\":{},\"exp\":", now + 1)),
        ),
    ];
    for member in ["iss", "aud", "sub", "sid", "role", "exp", "iat", "jti"] {
        corpus.push((format!("no {member}"), forge.with_claims(without(member))));
        corpus.push((
            format!("{member} null"),
            forge.with_claims(setting(member, Value::Null)),
        ));
        corpus.push((
            format!("{member} object"),
            forge.with_claims(setting(member, json!({}))),
        ));
    }
    for (member, value) in [
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("exp", json!(-1)),
        ("exp", json!(0)),
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(1_772_366_700.5)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(now + 601)),
        ("exp", json!(true)),
        ("iat", json!(now + 6)),
        ("iat", json!(now.to_string())),
        ("iat", json!(i64::MIN)),
        ("iat", json!(now - 1)),
        ("nbf", json!(now + 6)),
        ("nbf", json!("9999999999")),
        ("nbf", json!(-0.5)),
        ("iss", json!("meed2")),
        ("iss", json!("mee")),
        ("iss", json!("")),
        ("iss", json!(["meed"])),
        ("aud", json!("meed-staging")),
        ("aud", json!("mee")),
        ("aud", json!("MEED")),
        ("aud", json!(["meed"])),
        ("aud", json!(["meed", "other"])),
        ("role", json!("ADMIN")),
        ("role", json!("OPERATOR")),
        ("role", json!("user")),
        ("role", json!("ROOT")),
        ("role", json!(["USER"])),
        ("sub", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")),
        ("sub", json!("ada@example.com")),
        ("sid", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")),
        ("sid", json!("' OR 1=1 --")),
    ] {
        let name = format!("{member} {value}");
        corpus.push((name, forge.with_claims(setting(member, value))));
    }
    corpus
}

#[apply(on_both_engines)]
async fn every_forged_token_is_refused_with_the_same_response(app: TestApp) {
    let user = app.user(Role::User).await;
    app.user(Role::Admin).await;
    let forge = Forge::new(&app, &user.token);
    // Control: the forge can make valid tokens, so each token below is refused only for its one fault.
    me(&app, &forge.with_claims(|_| {})).await.expect(200);

    let corpus = [other_algorithms, other_signatures, other_headers, other_claims]
        .map(|part| part(&forge))
        .concat();
    assert!(corpus.len() >= 150, "{} tokens", corpus.len());
    let mut first: Option<Value> = None;
    for (name, token) in corpus {
        let reply = me(&app, &token).await;
        assert_eq!(reply.status, 401, "{name} was answered with {}: {token}", reply.status);
        assert_eq!(reply.header("www-authenticate"), "Bearer", "{name}");
        let problem = without_request_id(reply.expect_problem(401, "invalid-token"));
        assert_eq!(&problem, first.get_or_insert_with(|| problem.clone()), "{name}");
    }
    me(&app, &user.token).await.expect(200);
}

#[apply(on_both_engines)]
async fn a_token_with_the_session_of_another_user_is_refused(app: TestApp) {
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let bobs = Forge::new(&app, &bob.token).claims;
    let forge = Forge::new(&app, &ada.token);
    me(&app, &forge.with_claims(setting("sid", bobs["sid"].clone())))
        .await
        .expect_problem(401, "invalid-token");
    me(&app, &forge.with_claims(setting("sub", bobs["sub"].clone())))
        .await
        .expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn a_token_is_accepted_only_in_a_single_bearer_header(app: TestApp) {
    let token = app.token(Role::User).await;
    let both = app.get("/users/me").bearer(&token).bearer(&token).send().await;
    both.expect_problem(401, "invalid-token");
    let with_basic = app
        .get("/users/me")
        .bearer(&token)
        .header("authorization", "Basic YTpi")
        .send()
        .await;
    with_basic.expect_problem(401, "invalid-token");
    for value in [
        format!("Basic {token}"),
        format!("DPoP {token}"),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        format!("Bearer {token},"),
        token.clone(),
        "Bearer".to_owned(),
        String::new(),
    ] {
        let reply = app.get("/users/me").header("authorization", &value).send().await;
        reply.expect_problem(401, "invalid-token");
    }
    // The scheme's name is case-insensitive (RFC 9110).
    app.get("/users/me")
        .header("authorization", &format!("bearer {token}"))
        .send()
        .await
        .expect(200);

    app.get(&format!("/users/me?access_token={token}"))
        .send()
        .await
        .expect_problem(401, "unauthenticated");
    let cookie = app
        .get("/users/me")
        .header("cookie", &format!("access_token={token}"))
        .send()
        .await;
    cookie.expect_problem(401, "unauthenticated");
}

#[apply(on_both_engines)]
async fn a_public_route_ignores_an_invalid_token(app: TestApp) {
    app.get("/.well-known/jwks.json")
        .bearer("garbage")
        .send()
        .await
        .expect(200);
}

/// Another replica whose clock is a little behind gets a token that starts in its future.
#[apply(on_both_engines)]
async fn a_token_of_a_replica_whose_clock_is_ahead_is_accepted(app: TestApp) {
    let user = app.user(Role::User).await;
    for (now, status) in [
        ("2026-03-01T11:59:59.700Z", 200),
        ("2026-03-01T11:59:55Z", 200),
        ("2026-03-01T11:59:54.999Z", 401),
    ] {
        app.at(now);
        let reply = app.get("/users/me").bearer(&user.token).send().await;
        assert_eq!(reply.status, status, "{now}");
    }
}
