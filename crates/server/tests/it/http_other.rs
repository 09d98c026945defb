//! Everything around a sync: tokens, the model, health, headers, logs.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use afield_protocol::codec::Format;
use afield_protocol::{Frame, Model};
use afield_server::auth::{Auth, Secret, TokenRules};
use serde_json::{Map, json};

use crate::http_support::client::{Answer, Ask};
use crate::http_support::{NOW, Server, auth, group, token};

fn get(server: &Server, path: &str) -> Answer {
    let ask = Ask::new("GET", path).header("Authorization", &format!("Bearer {}", token()));
    ask.send(server.address)
}

#[test]
fn p7_without_a_good_token_nothing_is_read_or_written() {
    let server = Server::start();
    let good = token();
    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0";
    let other = Auth::new(
        Secret::from_bytes(vec![1; 32]).unwrap(),
        TokenRules::default(),
    );
    let later = json!({ "nbf": NOW + 600 });
    let headers = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        "Bearer x".into(),
        "Bearer a.b.c".into(),
        "Bearer ..".into(),
        format!("Basic {good}"),
        good.clone(),
        format!("Token {good}"),
        format!("Bearer {good}x"),
        format!("Bearer {good}="),
        format!("Bearer {}", good.to_lowercase()),
        format!("Bearer {head}.{payload}"),
        format!("Bearer {head}.{payload}."),
        format!("Bearer {none}.{payload}."),
        format!("Bearer {none}.{payload}.{signature}"),
        format!("Bearer {head}.{payload}.{}", &signature[1..]),
        format!("Bearer {head}.{head}.{signature}"),
        format!(
            "Bearer {}",
            other.issue("ann", NOW + 60, &Map::new()).unwrap()
        ),
        format!(
            "Bearer {}",
            auth().issue("ann", NOW - 60, &Map::new()).unwrap()
        ),
        format!("Bearer {}", auth().issue("ann", 0, &Map::new()).unwrap()),
        format!(
            "Bearer {}",
            auth().issue("", NOW + 60, &Map::new()).unwrap()
        ),
        format!(
            "Bearer {}",
            auth()
                .issue("ann", NOW + 900, later.as_object().unwrap())
                .unwrap()
        ),
    ];
    let hello = Frame::Hello(server.hello(&[("visit", None)]));
    let frames = [hello, Frame::Group(group(1, "a")), Frame::End];
    let body = server.encode(Format::Cbor, &frames);
    for header in headers {
        let sync = Ask::new("POST", "/v1/sync").body(body.clone());
        for ask in [sync, Ask::new("GET", "/v1/model")] {
            let answer = ask.header("Authorization", &header).send(server.address);
            assert_eq!(
                (answer.status, &*answer.code()),
                (401, "sign-in"),
                "{header}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(
        (server.storage.pushed().len(), server.storage.pulls()),
        (0, 0)
    );
}

#[test]
fn a_refusal_reaches_a_device_that_sends_all_of_its_body_first() {
    let server = Server::start();
    let ask = Ask::sync("expired").body(vec![0; 20 << 20]);
    assert_eq!(ask.send(server.address).code(), "sign-in");
    let ask = Ask::sync("expired").body(vec![0; 20 << 20]).chunked();
    assert_eq!(ask.send(server.address).code(), "sign-in");
}

#[test]
fn the_model_comes_with_its_fingerprint() {
    let server = Server::start();
    let answer = get(&server, "/v1/model");
    let model = Model::from_json(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    assert_eq!(model, server.model.device);
    let tag = answer.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", model.fingerprint()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let ask = |known: &str| {
        Ask::new("GET", "/v1/model")
            .header("Authorization", &format!("Bearer {}", token()))
            .header("If-None-Match", known)
            .send(server.address)
    };
    assert_eq!(ask(&format!("\"old\", {tag}")).status, 304);
    assert_eq!(ask("\"old\"").status, 200);
}

#[test]
fn health_asks_the_database() {
    let server = Server::start();
    let healthy = Ask::new("GET", "/v1/health").send(server.address);
    assert_eq!(
        (healthy.status, &healthy.body[..]),
        (200, &br#"{"status":"ok"}"#[..])
    );
    server.storage.set(|script| {
        script.health_fails = true;
        script.is_retryable = true;
    });
    let ill = Ask::new("GET", "/v1/health").send(server.address);
    assert_eq!((ill.status, &*ill.code()), (503, "busy"));
}

#[test]
fn a_ping_gives_its_nonce_back_and_nothing_else() {
    let server = Server::start();
    let ping = |query: &str| Ask::new("GET", &format!("/v1/ping{query}")).send(server.address);
    server.storage.set(|script| script.health_fails = true);
    let answer = ping("?nonce=0123456789abcDEF");
    let body = br#"{"nonce":"0123456789abcDEF"}"#;
    assert_eq!((answer.status, &answer.body[..]), (200, &body[..]));
    let long = format!("?nonce={}", "a".repeat(65));
    for query in [
        "",
        "?nonce=short",
        "?nonce=0123456789abcdef&x=1",
        "?nonce=%3Cscript%3E%3C/script%3E",
        "?n=0123456789abcdef",
        &long,
    ] {
        let answer = ping(query);
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "malformed"),
            "{query}"
        );
    }
}

#[test]
fn every_answer_keeps_out_of_caches() {
    let server = Server::start();
    let sync = server.sync(&[Frame::Hello(server.hello(&[])), Frame::End]);
    let answers = [
        (sync, 200),
        (get(&server, "/v1/model"), 200),
        (get(&server, "/v1/health"), 200),
        (get(&server, "/v1/ping?nonce=0123456789abcdef"), 200),
        (get(&server, "/"), 404),
        (get(&server, "//v1/model"), 404),
        (get(&server, "/v1/sync"), 405),
        (Ask::new("GET", "/v1/model").send(server.address), 401),
        (Ask::new("DELETE", "/v1/model").send(server.address), 405),
    ];
    for (answer, status) in answers {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{answer:?}"
        );
        if status >= 400 && status != 401 {
            assert_eq!(answer.code(), "unknown-request");
        }
    }
}

/// All that was logged in this process.
static LOGGED: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let logged = Arc::default();
    let sink = Sink(Arc::clone(&logged));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    logged
});

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn logs_say_what_happened_without_values_or_tokens() {
    LazyLock::force(&LOGGED);
    let mut server = Server::start();
    let secret = "the-patient-has-a-secret";
    let user = "lena\n\"forged line\"";
    let token = auth().issue(user, NOW + 60, &Map::new()).unwrap();
    server.storage.set(|script| {
        script.more_pages = 2;
        script.failing_page = Some(2);
    });
    let hello = Frame::Hello(server.hello(&[("visit", None)]));
    let frames = [hello, Frame::Group(group(1, secret)), Frame::End];
    let json = server.encode(Format::JsonLines, &frames);
    let sync = |body: &[u8]| {
        let ask = Ask::sync(&token).header("Content-Type", Format::JsonLines.media_type());
        ask.body(body).send(server.address)
    };
    assert_eq!(sync(&json).status, 200);
    // What cannot be read, and what stands where it should not, is not logged either.
    let broken = String::from_utf8(json).unwrap().replace("\"op\"", "\"po\"");
    assert_eq!(sync(broken.as_bytes()).status, 400);
    let stray = format!("/v1/sync/{token}?token={token}&value={secret}");
    assert_eq!(get(&server, &stray).status, 404);
    server.tell_to_stop();
    server.wait();

    let logged = String::from_utf8(LOGGED.lock().unwrap().clone()).unwrap();
    let signature = token.rsplit_once('.').unwrap().1;
    for word in [secret, signature, token.as_str(), "row 0"] {
        assert!(!logged.contains(word), "{word} is in the log");
    }
    let line = logged
        .lines()
        .find(|line| line.contains("lena") && line.contains("status=200"));
    let line = line.unwrap_or_else(|| panic!("no line of the sync:\n{logged}"));
    for field in [
        "method=POST",
        "path=\"/v1/sync\"",
        "groups=1",
        "rows=2",
        "bytes=",
        "ms=",
        "whole=true",
        "\\n\\\"forged line\\\"",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    assert!(
        logged.contains("secret_table"),
        "what the storage says is in the log"
    );
    assert!(logged.contains("path=\"unknown\""), "{logged}");
}
