//! The listener: TLS, an orderly end, and addresses it refuses.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use afield_protocol::Frame;
use afield_protocol::codec::Format;
use afield_server::http::HttpLimits;
use afield_server::serve::{ServeError, ServeOptions, TlsFiles, serve_until};
use axum::Router;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http_support::client::{Ask, connect, read_answer};
use crate::http_support::{Server, group, kinds, token};

struct Certificate {
    files: TlsFiles,
    der: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["afield.test".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    Certificate {
        files,
        der: made.cert.der().clone(),
        _folder: folder,
    }
}

fn tls_client(
    certificate: &Certificate,
    stream: TcpStream,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("afield.test").unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        stream,
    )
}

#[test]
fn a_sync_over_tls_while_others_never_shake_hands() {
    let certificate = certificate();
    let server = Server::start_with(HttpLimits::default(), |options| {
        options.tls = Some(certificate.files.clone());
    });
    // Connections that say nothing, or no TLS, must not keep anybody else waiting.
    let silent: Vec<TcpStream> = (0..20).map(|_| connect(server.address)).collect();
    let mut plain = connect(server.address);
    plain.write_all(b"GET /v1/health HTTP/1.1\r\n\r\n").unwrap();
    let hello = server.hello(&[("visit", None)]);
    let frames = [Frame::Hello(hello), Frame::Group(group(1, "a")), Frame::End];
    let body = server.encode(Format::Cbor, &frames);
    let stream = tls_client(&certificate, connect(server.address));
    let answer = Ask::sync(&token()).body(body).send_over(stream);
    assert_eq!(answer.status, 200);
    assert_eq!(
        kinds(&server.decode(Format::Cbor, &answer.body)).last(),
        Some(&"end")
    );
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(
        !said.starts_with(b"HTTP/"),
        "plain HTTP was answered on a TLS listener"
    );
    drop(silent);
}

#[test]
fn a_server_that_stops_finishes_what_is_in_flight() {
    let mut server = Server::start();
    server.storage.set(|script| {
        script.more_pages = 3;
        script.holds_pulls = true;
    });
    let hello = server.hello(&[("visit", None)]);
    let frames = [Frame::Hello(hello), Frame::Group(group(1, "a")), Frame::End];
    let body = server.encode(Format::Cbor, &frames);
    let mut stream = connect(server.address);
    Ask::sync(&token()).body(body).write(&mut stream);
    server.storage.wait_for_pull();
    let idle = connect(server.address);
    server.tell_to_stop();
    // The listener is gone at once; what is in flight is not.
    while TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
    server.storage.release();
    let answer = read_answer(&mut BufReader::new(stream));
    assert!(answer.is_whole);
    assert_eq!(
        server.decode(Format::Cbor, &answer.body).last(),
        Some(&Frame::End)
    );
    drop(idle);
    server.wait();
}

#[test]
fn a_server_that_stops_waits_only_so_long() {
    let mut server = Server::start_with(HttpLimits::default(), |options| {
        options.drain = Duration::from_millis(200);
    });
    server.storage.set(|script| script.holds_pulls = true);
    let hello = server.hello(&[("visit", None)]);
    let frames = [Frame::Hello(hello), Frame::Group(group(1, "a")), Frame::End];
    let body = server.encode(Format::Cbor, &frames);
    let mut stream = connect(server.address);
    Ask::sync(&token()).body(body).write(&mut stream);
    server.storage.wait_for_pull();
    server.tell_to_stop();
    let answer = read_answer(&mut BufReader::new(stream));
    assert!(
        !answer.is_whole,
        "half an answer must not look like a whole one"
    );
    server.storage.release();
    server.wait();
}

fn refused(options: &ServeOptions) -> ServeError {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let served = serve_until(options, Router::new(), std::future::ready(()), |_| {});
    runtime.block_on(served).unwrap_err()
}

#[test]
fn plain_http_is_not_shown_to_other_machines_by_accident() {
    let mut options = ServeOptions::new("0.0.0.0:0".parse().unwrap());
    assert!(matches!(refused(&options), ServeError::Exposed(_)));
    assert!(refused(&options).to_string().contains("--behind-proxy"));
    options.listen = "[::]:0".parse().unwrap();
    assert!(matches!(refused(&options), ServeError::Exposed(_)));
    options.listen = "0.0.0.0:0".parse().unwrap();
    options.behind_proxy = true;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let served = serve_until(&options, Router::new(), std::future::ready(()), |_| {});
    runtime.block_on(served).unwrap();
}

#[test]
fn what_cannot_be_listened_on_or_read_is_named() {
    let server = Server::start();
    let taken = refused(&ServeOptions::new(server.address));
    assert!(
        taken.to_string().contains(&server.address.to_string()),
        "{taken}"
    );

    let certificate = certificate();
    let with = |cert: &std::path::Path, key: &std::path::Path| {
        let mut options = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        options.tls = Some(TlsFiles {
            cert: cert.to_owned(),
            key: key.to_owned(),
        });
        refused(&options).to_string()
    };
    let TlsFiles { cert, key } = &certificate.files;
    assert!(
        with(key, key).contains("key.pem: holds no certificate"),
        "{}",
        with(key, key)
    );
    assert!(
        with(cert, cert).contains("cert.pem: no private key"),
        "{}",
        with(cert, cert)
    );
    let missing = with(&cert.with_file_name("none.pem"), key);
    assert!(missing.contains("none.pem: "), "{missing}");
    let other = self::certificate();
    assert!(
        with(cert, &other.files.key).contains("does not fit"),
        "another's key"
    );
}
