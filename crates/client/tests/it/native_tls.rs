//! The driver over TLS: a private certificate authority in a file, and nobody else.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use afield::engine::SyncStatus;
use afield::native::{Client, ClientOptions, SyncOptions};
use afield::protocol::Code;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::tempdir;

use crate::native_server::{Connection, Reply, Server, options};

struct Tls(StreamOwned<ServerConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Connection for Tls {
    fn end(&mut self) {
        let _ = self.0.sock.shutdown(Shutdown::Both);
    }
}

/// A server for `localhost` with a certificate of an authority whose own is written to `roots`.
fn server(roots: &Path, script: impl IntoIterator<Item = Reply>) -> (Server, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(roots, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let server = Server::start_with(script, move |stream| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        Box::new(Tls(StreamOwned::new(connection, stream)))
    });
    let port = server.address.rsplit(':').next().unwrap();
    let address = format!("https://localhost:{port}");
    (server, address)
}

#[test]
fn a_private_authority_is_trusted_from_a_file() {
    let folder = tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    let (_server, address) = server(
        &roots,
        [
            Reply::Cut(50, Box::new(Reply::Notes(vec![("a", "b")]))),
            Reply::Notes(vec![("a", "b")]),
        ],
    );
    let client = Client::open(ClientOptions {
        root_certificates: Some(roots),
        ..options(folder.path(), &address)
    });
    let report = client
        .unwrap()
        .sync_with(&SyncOptions::default(), &mut |_| {});
    let report = report.unwrap();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(report.pulled, 1);
}

#[test]
fn p7_an_unknown_authority_gets_no_token() {
    let folder = tempdir().unwrap();
    let (server, address) = server(&folder.path().join("roots.pem"), [Reply::Notes(vec![])]);
    let client = Client::open(options(folder.path(), &address)).unwrap();
    let report = client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_eq!(report.status, SyncStatus::Failed);
    let (code, message) = report.error.unwrap();
    assert_eq!(code, Code::UNREACHABLE);
    assert!(message.contains("certificate"), "{message}");
    assert!(!server.saw_more());
}

#[test]
fn silence_is_noticed_inside_tls() {
    let folder = tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    let stall = || Reply::Stall(30, Box::new(Reply::Notes(vec![])));
    let (_server, address) = server(&roots, [stall(), stall(), stall(), stall()]);
    let client = Client::open(ClientOptions {
        root_certificates: Some(roots),
        ..options(folder.path(), &address)
    });
    let report = client
        .unwrap()
        .sync_with(&SyncOptions::default(), &mut |_| {});
    assert_eq!(report.unwrap().error.unwrap().0, Code::TIMEOUT);
}

#[test]
fn roots_that_cannot_be_read_are_named() {
    let folder = tempdir().unwrap();
    for (name, content) in [("empty.pem", Some("")), ("missing.pem", None)] {
        let roots = folder.path().join(name);
        if let Some(content) = content {
            fs::write(&roots, content).unwrap();
        }
        let client = Client::open(ClientOptions {
            root_certificates: Some(roots),
            ..options(folder.path(), "https://localhost:9")
        });
        let error = client
            .unwrap()
            .sync_with(&SyncOptions::default(), &mut |_| {})
            .unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
