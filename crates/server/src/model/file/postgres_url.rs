//! `postgres://…`: where a PostgreSQL is and how to reach it, in the form that libpq reads.
//!
//! The password is never shown: neither by `Debug` and `Display` nor in a message. A character
//! that should have been escaped could put a piece of it anywhere, so messages echo nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of PostgreSQL unless another is named.
const PORT: u16 = 5432;

/// How long to wait for a connection unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where Debian and others put the socket of a server on this machine.
const SOCKETS: &str = "/var/run/postgresql";

/// Where a PostgreSQL is and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The machine, or the folder of the socket.
    pub host: Host,
    /// The port; part of a socket's name too.
    pub port: u16,
    /// The role; if none is named, the user of the operating system.
    pub user: Option<String>,
    /// The database; if none is named, the one that is called as the role.
    pub database: Option<String>,
    /// What is asked of TLS.
    pub ssl_mode: SslMode,
    /// Who may vouch for the server, in PEM; if not named, the authorities that browsers know.
    pub root_cert: Option<PathBuf>,
    /// How the server's lists of connections call this one.
    pub application_name: String,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    password: Option<String>,
    shown: String,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or address of a machine.
    Name(String),
    /// The folder of a Unix socket.
    Socket(PathBuf),
}

/// What is asked of TLS, by libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it; whose certificate it shows is not looked at.
    Prefer,
    /// TLS; whose certificate the server shows is looked at only if `sslrootcert` is named, as with
    /// `verify-ca`.
    Require,
    /// TLS with a certificate that an authority vouches for, for whatever name.
    VerifyCa,
    /// TLS with a certificate that an authority vouches for, for this very host.
    VerifyFull,
}

impl PostgresUrl {
    /// Whether `text` means a PostgreSQL.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("postgres:") || text.starts_with("postgresql:")
    }

    /// Reads a URL. A relative `sslrootcert` is relative to `folder`.
    ///
    /// # Errors
    /// What is wrong, in words that follow "the URL": without any part of it.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|start| text.strip_prefix(start))
            .ok_or("does not begin with postgres://")?;
        let start = text.strip_suffix(rest).unwrap_or_default();
        if rest.contains('#') {
            return Err(escaped("#"));
        }
        let (place, query) = rest.split_once('?').map_or((rest, ""), |(a, b)| (a, b));
        let (authority, database) = place.split_once('/').map_or((place, ""), |(a, b)| (a, b));
        if authority.matches('@').count() > 1 || database.contains('@') || query.contains('@') {
            return Err(escaped("@"));
        }
        if database.contains('/') {
            return Err(escaped("/"));
        }
        let (login, address) = authority.split_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (login, None),
        };
        let (host, port) = host_and_port(address)?;
        let mut url = Self {
            host: host_of(&decoded(host)?),
            port,
            user: some(decoded(user)?),
            database: some(decoded(database)?),
            ssl_mode: SslMode::Prefer,
            root_cert: None,
            application_name: "afield".to_owned(),
            connect_timeout: CONNECT_TIMEOUT,
            password: password.and_then(some),
            shown: String::new(),
        };
        let mut ssl_mode = None;
        let mut kept = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(PARAMETERS)?;
            if key != "password" {
                kept.push(part);
            }
            url.set(key, decoded(value)?, &mut ssl_mode, folder)?;
        }
        url.ssl_mode = ssl_mode.unwrap_or(match url.is_local() {
            true => SslMode::Prefer,
            false => SslMode::VerifyFull,
        });
        let login = if login.is_empty() {
            ""
        } else {
            &format!("{user}@")
        };
        let path = place.strip_prefix(authority).unwrap_or_default();
        let query = match kept.is_empty() {
            true => String::new(),
            false => format!("?{}", kept.join("&")),
        };
        url.shown = format!("{start}{login}{address}{path}{query}");
        Ok(url)
    }

    fn set(
        &mut self,
        key: &str,
        value: String,
        ssl_mode: &mut Option<SslMode>,
        folder: &Path,
    ) -> Result<(), String> {
        match key {
            "host" => self.host = host_of(&value),
            "port" => self.port = value.parse().map_err(|_| "names no port".to_owned())?,
            "user" => self.user = some(value),
            "password" => self.password = some(value),
            "dbname" => self.database = some(value),
            "application_name" => self.application_name = value,
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                let seconds =
                    seconds.ok_or("has a connect_timeout that is no number of seconds")?;
                self.connect_timeout = Duration::from_secs(seconds);
            }
            "sslrootcert" if value == "system" => self.root_cert = None,
            "sslrootcert" => self.root_cert = Some(folder.join(value)),
            "sslmode" => *ssl_mode = Some(SslMode::parse(&value)?),
            _ => return Err(PARAMETERS.to_owned()),
        }
        Ok(())
    }

    /// The password, if the URL has one.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Whether the server is on this machine, so that nobody stands between.
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Socket(_) => true,
            Host::Name(name) => {
                let address: Result<std::net::IpAddr, _> = name.parse();
                name.eq_ignore_ascii_case("localhost")
                    || address.is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl SslMode {
    fn parse(word: &str) -> Result<Self, String> {
        Ok(match word {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                return Err(
                    "has an unknown sslmode: write disable, prefer, require, verify-ca or \
                     verify-full"
                        .to_owned(),
                );
            }
        })
    }
}

const PARAMETERS: &str = "has an unknown parameter: there are host, port, user, password, dbname, \
                          sslmode, sslrootcert, application_name and connect_timeout, each as \
                          NAME=VALUE";

fn escaped(sign: &str) -> String {
    let code = sign.bytes().map(|byte| format!("%{byte:02X}"));
    format!(
        "has a `{sign}` where none can stand: in a name or password it is written {}",
        code.collect::<String>()
    )
}

fn host_and_port(address: &str) -> Result<(&str, u16), String> {
    if address.contains(',') {
        return Err("names several hosts; name one".to_owned());
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("has a `[` without `]`")?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => address.split_once(':').unwrap_or((address, "")),
    };
    let port = match port {
        "" => PORT,
        port => port.parse().map_err(
            |_| "names no port behind the host; write a `:` or `/` of a password as %3A or %2F",
        )?,
    };
    Ok((host, port))
}

fn host_of(name: &str) -> Host {
    if name.starts_with('/') {
        return Host::Socket(PathBuf::from(name));
    }
    if name.is_empty() {
        return match Path::new(SOCKETS).is_dir() {
            true => Host::Socket(PathBuf::from(SOCKETS)),
            false => Host::Name("localhost".to_owned()),
        };
    }
    Host::Name(name.to_owned())
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// `%41` is `A`.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "has a `%` that two hexadecimal digits do not follow".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let code = high.zip(low).map(|(high, low)| high * 16 + low);
        bytes.push(
            code.and_then(|code| u8::try_from(code).ok())
                .ok_or_else(wrong)?,
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err("has an escaped byte that is no text".to_owned()),
    }
}

/// Without the password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({:?})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresUrl, String> {
        PostgresUrl::parse(text, Path::new("team"))
    }

    #[test]
    fn a_url_says_where_and_how() {
        let url = parse(
            "postgres://ann%40x:s%3Ae%2Fc@db.example:6432/team%20a?sslmode=verify-ca&\
             sslrootcert=ca.pem&application_name=x%20y&connect_timeout=3",
        )
        .unwrap();
        assert_eq!(url.host, Host::Name("db.example".into()));
        assert_eq!((url.port, url.password()), (6432, Some("s:e/c")));
        assert_eq!(url.user.as_deref(), Some("ann@x"));
        assert_eq!(url.database.as_deref(), Some("team a"));
        assert_eq!(url.ssl_mode, SslMode::VerifyCa);
        assert_eq!(url.root_cert, Some(PathBuf::from("team/ca.pem")));
        assert_eq!(url.application_name, "x y");
        assert_eq!(url.connect_timeout, Duration::from_secs(3));
    }

    #[test]
    fn without_a_word_about_tls_only_this_machine_is_trusted() {
        for (text, mode) in [
            ("postgres://localhost/x", SslMode::Prefer),
            ("postgresql://127.0.0.2:1/x", SslMode::Prefer),
            ("postgres://[::1]:5/x", SslMode::Prefer),
            ("postgres://%2Ftmp/x", SslMode::Prefer),
            ("postgres:///x?host=/tmp", SslMode::Prefer),
            ("postgres://192.168.0.4/x", SslMode::VerifyFull),
            ("postgres://db/x", SslMode::VerifyFull),
            ("postgres://localhost/x?host=db", SslMode::VerifyFull),
            ("postgres://db/x?sslmode=disable", SslMode::Disable),
        ] {
            assert_eq!(parse(text).unwrap().ssl_mode, mode, "{text}");
        }
        let socket = parse("postgres:///x?host=/tmp&port=7").unwrap();
        assert_eq!(socket.host, Host::Socket("/tmp".into()));
        assert_eq!(socket.port, 7);
        assert_eq!(
            parse("postgres://[::1]").unwrap().host,
            Host::Name("::1".into())
        );
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://u:pass-word@h:1/d", "postgres://u@h:1/d"),
            (
                "postgresql://h/d?user=u&password=pass-word&sslmode=require",
                "postgresql://h/d?user=u&sslmode=require",
            ),
            (
                "postgres://u:pass-word@h?password=pass-word",
                "postgres://u@h",
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.password(), Some("pass-word"));
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("PostgresUrl({shown:?})"));
            let again = parse(shown).unwrap();
            assert_eq!((again.host, again.user), (url.host, url.user));
        }
        // Characters that should have been escaped.
        for text in [
            "postgres://u:pass@word@h/d",
            "postgres://u:pass/word@h/d",
            "postgres://u:pass?word@h/d",
            "postgres://u:pass#word@h/d",
            "postgres://u:pass%word@h/d",
            "postgres://u:pass/word",
            "postgres://u:x@h:word/d",
            "postgres://u:x@h/d?word=1",
            "postgres://u:x@h/d?sslmode=word",
            "postgres://u:x@a,word/d",
            "postgres:u:x@word/d",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                !error
                    .replace("passwords", "")
                    .replace("password", "")
                    .contains("word")
            );
            assert!(
                !error.contains("pass@") && !error.contains("pass/"),
                "{error}"
            );
        }
    }
}
