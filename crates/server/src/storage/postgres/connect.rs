//! A connection to a team's PostgreSQL, and in plain words why there is none.
//!
//! | `sslmode` | encrypted | whose certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer` | if the server can | not looked at |
//! | `require` | yes | not looked at, unless `sslrootcert` is named: as `verify-ca` |
//! | `verify-ca` | yes | one that an authority vouches for, for whatever name |
//! | `verify-full` | yes | one that an authority vouches for, for this very host |
//!
//! Where the URL does not say, it is `prefer` on this machine and `verify-full` elsewhere: libpq's
//! `prefer` gives password and rows to whoever stands between. The authorities are those of
//! `sslrootcert`, else those that browsers know. A Unix socket has no TLS.

mod tls;

use std::error::Error as _;

use afield_protocol::Code;
use tokio_postgres::config::SslMode as Tls;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, Socket};

use self::tls::{MakeTls, TlsStream};
use crate::model::file::{Host, PostgresUrl, SslMode};
use crate::storage::StorageError;

/// The oldest version that is tried: older ones have no 64-bit transaction numbers.
const VERSION_MIN: u32 = 13;

/// Where the password is, if the URL has none.
const PASSWORD: &str = "PGPASSWORD";

/// A connection; what the server sends is taken by a task on the caller's runtime, which ends with
/// the client.
///
/// # Errors
/// There is none: the message names host, database and remedy, and never the password.
pub async fn connect(url: &PostgresUrl) -> Result<Client, StorageError> {
    let config = config(url);
    let tls = MakeTls::new(url).map_err(|why| failure(url, Code::UNREACHABLE, &why))?;
    let made = tokio::time::timeout(url.connect_timeout, config.connect(tls)).await;
    let (client, connection) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => return Err(failure(url, Code::UNREACHABLE, &why(url, &error))),
        Err(_) => {
            let seconds = url.connect_timeout.as_secs();
            let why = format!(
                "no answer within {seconds} s; check host, port and firewall (connect_timeout=… \
                 waits longer)"
            );
            return Err(failure(url, Code::TIMEOUT, &why));
        }
    };
    check_version(&connection).map_err(|why| failure(url, Code::NOT_AVAILABLE, &why))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to PostgreSQL ended: {}", told(&error));
        }
    });
    Ok(client)
}

/// What the database or the library says, whole: an error's own text leaves the reason out.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("PostgreSQL says: {}", error.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn config(url: &PostgresUrl) -> Config {
    let mut config = Config::new();
    match &url.host {
        Host::Name(name) => config.host(name),
        Host::Socket(folder) => config.host_path(folder),
    };
    config.port(url.port);
    config.application_name(&url.application_name);
    if let Some(user) = &url.user {
        config.user(user);
    }
    if let Some(database) = &url.database {
        config.dbname(database);
    }
    let given = std::env::var(PASSWORD)
        .ok()
        .filter(|given| !given.is_empty());
    if let Some(password) = url.password().map(str::to_owned).or(given) {
        config.password(password);
    }
    config.ssl_mode(match (&url.host, url.ssl_mode) {
        (Host::Socket(_), _) | (_, SslMode::Disable) => Tls::Disable,
        (_, SslMode::Prefer) => Tls::Prefer,
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => Tls::Require,
    });
    config
}

fn check_version(connection: &Connection<Socket, TlsStream<Socket>>) -> Result<(), String> {
    let version = connection.parameter("server_version").unwrap_or_default();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next();
    match digits.and_then(|digits| digits.parse::<u32>().ok()) {
        Some(number) if number < VERSION_MIN => Err(format!(
            "it is version {number}, and Afield needs {VERSION_MIN} or newer; upgrade the server"
        )),
        _ => Ok(()),
    }
}

fn failure(url: &PostgresUrl, code: Code, why: &str) -> StorageError {
    let place = match &url.host {
        Host::Name(name) => format!("{name}:{}", url.port),
        Host::Socket(folder) => format!("{} (socket, port {})", folder.display(), url.port),
    };
    let database = match (&url.database, &url.user) {
        (Some(name), _) => format!("the database `{name}`"),
        (None, Some(user)) => format!("the database `{user}` (the URL names none)"),
        (None, None) => "the database (the URL names none)".to_owned(),
    };
    StorageError {
        message: format!("cannot reach {database} of PostgreSQL at {place}: {why}"),
        is_retryable: code != Code::NOT_AVAILABLE,
        code,
    }
}

/// The reason and the remedy.
fn why(url: &PostgresUrl, error: &tokio_postgres::Error) -> String {
    let reason = told(error);
    format!("{reason}; {}", remedy(url, error))
}

fn remedy(url: &PostgresUrl, error: &tokio_postgres::Error) -> &'static str {
    let Some(code) = error.code() else {
        return remedy_of_network(url, error);
    };
    if *code == SqlState::INVALID_PASSWORD {
        "check user and password (in AFIELD_DATABASE_URL, or PGPASSWORD)"
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        "check the user, and that pg_hba.conf of the server lets it in from here, with or without \
         TLS (sslmode=…)"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "check the name behind the host, or create the database"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "grant this user CONNECT on the database"
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        "close other connections, or raise the server's max_connections"
    } else if *code == SqlState::CANNOT_CONNECT_NOW {
        "try again when it has started"
    } else {
        "see the server's log"
    }
}

fn remedy_of_network(url: &PostgresUrl, error: &tokio_postgres::Error) -> &'static str {
    let text = told(error);
    if text.contains("password missing") {
        return "give one in AFIELD_DATABASE_URL, or in PGPASSWORD";
    }
    if text.contains("does not support TLS") {
        return "switch TLS on there (ssl = on), or write ?sslmode=disable if nobody can listen in \
                between";
    }
    if text.contains("certificate") {
        return match url.root_cert {
            Some(_) => {
                "check that sslrootcert holds the authority of this server, and that its \
                 certificate is for this host (sslmode=verify-ca takes any name)"
            }
            None => {
                "name the file with the server's authority: ?sslrootcert=FILE (providers of \
                 databases offer it for download)"
            }
        };
    }
    match url.host {
        Host::Name(_) => "check host and port, and that the server runs and listens there",
        Host::Socket(_) => "check folder and port, and that the server runs",
    }
}
