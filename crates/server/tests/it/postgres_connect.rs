//! Reaching a PostgreSQL: every `sslmode`, and errors that say what to do and tell no password.

use std::path::{Path, PathBuf};

use afield_protocol::Code;
use afield_server::model::file::PostgresUrl;
use afield_server::storage::StorageError;
use afield_server::storage::postgres::connect::connect;
use afield_testbed::postgres::Cluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// A first value of the first row.
fn ask(url: &str, sql: &str) -> Result<String, StorageError> {
    let url = PostgresUrl::parse(url, Path::new("")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let client = connect(&url).await?;
        Ok(client.query_one(sql, &[]).await.unwrap().get(0))
    })
}

fn refused(url: &str) -> String {
    let error = ask(url, "SELECT ''").expect_err(url);
    let text = format!("{error} {error:?}");
    assert!(!text.contains("pass-word"), "{text}");
    text
}

/// Asks again and again; the server takes a setting a moment after it was told.
fn wait_until(is_so: impl Fn() -> bool) {
    assert!(
        (0..100_000).any(|_| is_so()),
        "the server does not take the setting"
    );
}

/// The authority's certificate, and a server's for `name`, with its key; all PEM.
fn certificates(name: &str) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let server = params.signed_by(&key, &authority).unwrap();
    [authority.pem(), server.pem(), key.serialize_pem()]
}

/// Switches TLS on with a certificate for `name`; gives the authority's file.
fn encrypt(cluster: &Cluster, name: &str, folder: &TempDir) -> PathBuf {
    let [authority, certificate, key] = certificates(name);
    let mut server = cluster.database("").connect();
    let data: String = server.query_one("SHOW data_directory", &[]).unwrap().get(0);
    for (file, text) in [("tls.crt", certificate), ("tls.key", key)] {
        let sql = format!(
            "COPY (SELECT unnest(string_to_array('{text}', E'\\n'))) TO PROGRAM \
             'umask 077; cat > {data}/{file}'"
        );
        server.batch_execute(&sql).unwrap();
    }
    for setting in [
        "ssl_cert_file = 'tls.crt'",
        "ssl_key_file = 'tls.key'",
        "ssl = on",
    ] {
        server
            .batch_execute(&format!("ALTER SYSTEM SET {setting}"))
            .unwrap();
    }
    server.batch_execute("SELECT pg_reload_conf()").unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority).unwrap();
    file
}

const IS_ENCRYPTED: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[test]
fn tls_is_as_strict_as_the_url_asks_for() {
    let cluster = Cluster::start().unwrap();
    let plain = cluster.url("postgres");
    assert_eq!(
        ask(&plain, IS_ENCRYPTED).unwrap(),
        "false",
        "prefer takes what there is"
    );
    let text = refused(&format!("{plain}?sslmode=require"));
    assert!(text.contains("?sslmode=disable"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let file = encrypt(&cluster, "db.example", &folder);
    let (authority, [stranger, ..]) = (file.display().to_string(), certificates("x"));
    let other = folder.path().join("other.pem");
    std::fs::write(&other, stranger).unwrap();
    let other = other.display();
    wait_until(|| ask(&plain, IS_ENCRYPTED).unwrap() == "true");
    for (query, expected) in [
        ("", Ok("true")),
        ("?sslmode=disable", Ok("false")),
        ("?sslmode=prefer", Ok("true")),
        ("?sslmode=require", Ok("true")),
        (
            &format!("?sslmode=require&sslrootcert={authority}"),
            Ok("true"),
        ),
        (
            &format!("?sslmode=require&sslrootcert={other}"),
            Err("holds the authority"),
        ),
        (
            &format!("?sslmode=verify-ca&sslrootcert={authority}"),
            Ok("true"),
        ),
        (
            &format!("?sslmode=verify-ca&sslrootcert={other}"),
            Err("holds the authority"),
        ),
        ("?sslmode=verify-ca", Err("?sslrootcert=FILE")),
        (
            &format!("?sslmode=verify-full&sslrootcert={authority}"),
            Err("for this host"),
        ),
        (
            "?sslmode=verify-full&sslrootcert=nowhere",
            Err("nowhere cannot be read"),
        ),
    ] {
        let url = format!("{plain}{query}");
        match expected {
            Ok(expected) => assert_eq!(ask(&url, IS_ENCRYPTED).unwrap(), expected, "{url}"),
            Err(expected) => assert!(refused(&url).contains(expected), "{url}: {}", refused(&url)),
        }
    }
    // For the very host.
    let file = encrypt(&cluster, "127.0.0.1", &folder);
    let url = format!("{plain}?sslmode=verify-full&sslrootcert={}", file.display());
    wait_until(|| ask(&url, IS_ENCRYPTED).is_ok());
}

#[test]
fn an_error_names_place_and_remedy_and_no_password() {
    let database = Cluster::shared().database("CREATE ROLE nobody_much LOGIN");
    let (_, address) = database.url.split_once('@').unwrap();
    let place = address.split('/').next().unwrap();
    let with = |rest: &str| format!("postgres://postgres:pass-word@{rest}");
    assert_eq!(ask(&with(address), "SELECT 'x'").unwrap(), "x");
    assert_eq!(
        ask(&with(address), "SELECT current_setting('application_name')").unwrap(),
        "afield"
    );
    for (url, expected) in [
        (with(&format!("{place}/nowhere")), "create the database"),
        (
            format!("postgres://who:pass-word@{address}"),
            "check the user",
        ),
        (
            with("127.0.0.1:1/x"),
            "that the server runs and listens there",
        ),
        (
            with("no-host.invalid/x?sslmode=disable"),
            "check host and port",
        ),
        (
            "postgres://u:pass-word@/x?host=/nowhere".to_owned(),
            "check folder and port",
        ),
    ] {
        let text = refused(&url);
        assert!(text.contains(expected), "{url}: {text}");
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        assert!(text.contains("the database `"), "{name}: {text}");
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = with(&format!("127.0.0.1:{port}/x?connect_timeout=1"));
    let error = ask(&url, "SELECT ''").unwrap_err();
    assert_eq!(error.code, Code::TIMEOUT);
    assert!(error.message.contains("no answer within 1 s"), "{error}");
}

#[test]
fn a_password_is_asked_for_and_checked() {
    let cluster = Cluster::start().unwrap();
    let mut server = cluster.database("").connect();
    server
        .batch_execute("CREATE ROLE ann LOGIN PASSWORD 'pass-word'")
        .unwrap();
    let file: String = server.query_one("SHOW hba_file", &[]).unwrap().get(0);
    let line = "host all all 127.0.0.1/32 scram-sha-256";
    let sql = format!("COPY (SELECT '{line}') TO PROGRAM 'cat > {file}'");
    server.batch_execute(&sql).unwrap();
    server.batch_execute("SELECT pg_reload_conf()").unwrap();
    let url = cluster.url("postgres");
    let (_, address) = url.split_once('@').unwrap();
    let (good, none) = (
        format!("postgres://ann:pass-word@{address}"),
        format!("postgres://ann@{address}"),
    );
    wait_until(|| ask(&none, "SELECT ''").is_err());
    assert_eq!(ask(&good, "SELECT current_user::text").unwrap(), "ann");
    let text = refused(&none);
    assert!(text.contains("PGPASSWORD"), "{text}");
    let text = refused(&format!("postgres://ann:pass-words@{address}"));
    assert!(text.contains("check user and password"), "{text}");
}
