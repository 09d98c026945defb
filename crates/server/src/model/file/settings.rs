//! `[server]`, `[auth]` and `[sync]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afield_protocol::{RetryConfig, SyncConfig};

use super::{At, Overrides, PostgresUrl};
use crate::model::later;
use crate::model::reader::{Node, Reader, Section};

/// The database that the server stands beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL.
    Postgres(PostgresUrl),
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSection {
    /// The team's database. Always there after parsing without errors.
    pub database: DatabaseUrl,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate chain and key in PEM, both or none.
    pub tls: Option<TlsFiles>,
    /// How long a device may stay away without a resync.
    pub retention: Duration,
    /// The oldest model version still served.
    pub min_version: u32,
}

impl ServerSection {
    /// The retention in whole seconds.
    pub fn retention_s(&self) -> i64 {
        i64::try_from(self.retention.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSection {
    /// What tokens are checked with.
    pub key: KeyFile,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must contain.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
}

/// What tokens are checked with; it fixes their algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// The HS256 secret.
    Secret(PathBuf),
    /// A public key in PEM: RS256, ES256 or EdDSA.
    Public(PathBuf),
}

/// `[sync]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncSection {
    /// Synchronise when the network comes back.
    pub on_online: bool,
    /// Synchronise after a login.
    pub on_login: bool,
    /// Synchronise when the app comes to the front.
    pub on_resume: bool,
    /// Synchronise this long after a local write; `None` is off.
    pub on_write: Option<Duration>,
    /// Synchronise again and again; `None` is off.
    pub interval: Option<Duration>,
    /// Listen for news.
    pub live: bool,
    /// Try again after a failure.
    pub retry: bool,
    /// First pause before trying again; it doubles.
    pub retry_interval: Duration,
    /// Longest pause before trying again.
    pub retry_max: Duration,
}

/// Where the database's URL comes from if it is not the file's.
const FROM_OUTSIDE: &str = "AFIELD_DATABASE_URL";

const PASSWORD_IN_FILE: &str = "holds a password, which whoever reads this file knows then; take \
                                it out here and give it in PGPASSWORD, or the whole URL in \
                                AFIELD_DATABASE_URL";

const DAY: Duration = Duration::from_secs(86_400);

/// Where the server listens if nobody says otherwise.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 4100);

impl ServerSection {
    pub(super) fn read(
        reader: &Reader<'_>,
        section: Option<&Section<'_, '_>>,
        folder: &Path,
        overrides: &Overrides,
    ) -> Self {
        let take = |key| section.and_then(|section| section.take(key));
        let place = section.map(|section| section.place).unwrap_or_default();
        let written = take("database").and_then(|node| node.text_at());
        let given = overrides
            .database_url
            .clone()
            .map(|value| At { value, place });
        let database = match (given, written) {
            (Some(url), _) => database(FROM_OUTSIDE, &url, Path::new(""), reader),
            (None, Some(url)) => database("[server] database", &url, folder, reader),
            (None, None) => {
                reader.wrong(
                    place,
                    "[server]: `database` is missing; write `database = \"sqlite:FILE\"`, or set \
                     AFIELD_DATABASE_URL",
                );
                None
            }
        };
        let written = take("listen").and_then(|node| node.text_at());
        let listen = match (&overrides.listen, &written) {
            (Some(address), _) => address_of("AFIELD_LISTEN", address, place, reader),
            (None, Some(at)) => address_of("[server] listen", &at.value, at.place, reader),
            (None, None) => None,
        };
        let tls = tls(section, folder);
        let (mut retention, mut min_version) = (90 * DAY, 1);
        if let Some(section) = section {
            set(&mut retention, section.take("retention"), Node::duration);
            let number = |node: &Node<'_, '_>| node.number(1..=u64::from(u32::MAX));
            set(&mut min_version, section.take("min_version"), number);
            section.refuse_later(later::SERVER);
            section.finish();
        }
        Self {
            database: database.unwrap_or(DatabaseUrl::Sqlite(PathBuf::new())),
            listen: listen.unwrap_or(LISTEN.into()),
            tls,
            retention,
            min_version: u32::try_from(min_version).unwrap_or(u32::MAX),
        }
    }
}

fn database(
    name: &str,
    url: &At<String>,
    folder: &Path,
    reader: &Reader<'_>,
) -> Option<DatabaseUrl> {
    if let Some(path) = url.value.strip_prefix("sqlite:") {
        if !path.is_empty() {
            // `sqlite:///var/db` is the absolute path /var/db.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Some(DatabaseUrl::Sqlite(folder.join(path)));
        }
        reader.wrong(
            url.place,
            format!("{name}: names no file; write `sqlite:FILE`"),
        );
    } else if PostgresUrl::is_meant(&url.value) {
        match PostgresUrl::parse(&url.value, folder) {
            Ok(parsed) => {
                let is_in_file = name != FROM_OUTSIDE;
                if is_in_file && parsed.password().is_some() {
                    reader.warn(url.place, format!("{name}: {PASSWORD_IN_FILE}"));
                }
                return Some(DatabaseUrl::Postgres(parsed));
            }
            Err(problem) => reader.wrong(url.place, format!("{name}: the URL {problem}")),
        }
    } else {
        // The text itself may hold a password and stays out of the message.
        let message = format!(
            "{name}: is no database this server knows; write `sqlite:FILE`, or \
             `postgres://USER@HOST/DATABASE`"
        );
        reader.wrong(url.place, message);
    }
    None
}

fn address_of(
    name: &str,
    text: &str,
    place: crate::model::Place,
    reader: &Reader<'_>,
) -> Option<SocketAddr> {
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    let address = text.parse().ok();
    if address.is_none() {
        let message =
            format!("{name}: {text:?} is no address; write IP:PORT, like \"127.0.0.1:4100\"");
        reader.wrong(place, message);
    }
    address
}

fn tls(section: Option<&Section<'_, '_>>, folder: &Path) -> Option<TlsFiles> {
    let cert = section?.take("tls_cert");
    let key = section?.take("tls_key");
    match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles {
            cert: folder.join(cert.text()?),
            key: folder.join(key.text()?),
        }),
        (Some(one), None) | (None, Some(one)) => {
            one.wrong("`tls_cert` and `tls_key` go together; write both or none");
            None
        }
        (None, None) => None,
    }
}

impl AuthSection {
    pub(super) fn read(section: Option<&Section<'_, '_>>, folder: &Path) -> Self {
        let take = |key| section.and_then(|section| section.take(key));
        let not_empty = |node: Node<'_, '_>| {
            let text = node.text()?;
            if text.is_empty() {
                node.wrong("is empty; remove it or give it a value");
            }
            Some(text)
        };
        let secret = take("secret_file");
        let public = take("public_key_file");
        if let (Some(_), Some(public)) = (&secret, &public) {
            public.wrong(
                "stands beside `secret_file`, and a token can be signed in one way only; remove \
                 one of them",
            );
        }
        let key = match public.and_then(not_empty) {
            Some(public) => KeyFile::Public(folder.join(public)),
            None => {
                let secret = secret.and_then(not_empty);
                KeyFile::Secret(folder.join(secret.as_deref().unwrap_or(".afield/secret")))
            }
        };
        let auth = Self {
            key,
            issuer: take("issuer").and_then(not_empty),
            audience: take("audience").and_then(not_empty),
            user_claim: take("user_claim")
                .and_then(not_empty)
                .unwrap_or("sub".into()),
        };
        if let Some(section) = section {
            section.finish();
        }
        auth
    }
}

impl SyncSection {
    pub(super) fn read(section: Option<&Section<'_, '_>>) -> Self {
        let mut sync = Self {
            on_online: true,
            on_login: true,
            on_resume: true,
            on_write: Some(Duration::from_secs(2)),
            interval: None,
            live: true,
            retry: true,
            retry_interval: Duration::from_secs(5),
            retry_max: Duration::from_secs(300),
        };
        let Some(section) = section else { return sync };
        set(&mut sync.on_online, section.take("on_online"), Node::truth);
        set(&mut sync.on_resume, section.take("on_resume"), Node::truth);
        set(
            &mut sync.on_write,
            section.take("on_write"),
            duration_or_off,
        );
        set(&mut sync.interval, section.take("interval"), pause_or_off);
        set(&mut sync.retry, section.take("retry"), Node::truth);
        let longest = section.take("retry_max");
        set(&mut sync.retry_max, longest, retry_pause);
        set(&mut sync.live, section.take("live"), Node::truth);
        set(
            &mut sync.retry_interval,
            section.take("retry_interval"),
            |node| {
                let first = retry_pause(node)?;
                if first > sync.retry_max {
                    node.wrong("must not be longer than `retry_max`");
                    return None;
                }
                Some(first)
            },
        );
        // A file that sets the longest alone means it for the first pause too.
        sync.retry_interval = sync.retry_interval.min(sync.retry_max);
        set(&mut sync.on_login, section.take("on_login"), Node::truth);
        section.finish();
        sync
    }

    /// What devices start with.
    pub fn of_devices(&self) -> SyncConfig {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        SyncConfig {
            on_online: self.on_online,
            on_login: self.on_login,
            on_resume: self.on_resume,
            on_write_ms: self.on_write.map(ms),
            interval_ms: self.interval.map(ms),
            retry: self.retry.then(|| RetryConfig {
                first_ms: ms(self.retry_interval),
                longest_ms: ms(self.retry_max),
            }),
            live: self.live,
        }
    }
}

/// A time to wait: neither nothing nor for ever.
pub(super) fn some_time(node: &Node<'_, '_>) -> Option<Duration> {
    let duration = node.duration()?;
    if duration < Duration::from_millis(100) || duration > DAY {
        node.wrong("must be from 100 ms to 1 day");
        return None;
    }
    Some(duration)
}

/// A pause before trying again: a server that has trouble must get some rest, and one that is
/// mended must not be waited for without end.
fn retry_pause(node: &Node<'_, '_>) -> Option<Duration> {
    let pause = node.duration()?;
    if pause < Duration::from_secs(1) || pause > DAY {
        node.wrong("must be from 1 s to 1 day");
        return None;
    }
    Some(pause)
}

/// The longest pause between two syncs: a year.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// A pause between syncs: long enough that devices do more than that.
fn pause_or_off(node: &Node<'_, '_>) -> Option<Option<Duration>> {
    let pause = duration_or_off(node)?;
    if pause.is_some_and(|pause| pause < Duration::from_secs(1)) {
        node.wrong("must be 1 s at least, or false");
        return None;
    }
    Some(pause)
}

fn duration_or_off(node: &Node<'_, '_>) -> Option<Option<Duration>> {
    if node.is_false() {
        return Some(None);
    }
    let duration = node.duration()?;
    if duration > YEAR {
        node.wrong("must be a year at most, or false");
        return None;
    }
    Some(Some(duration))
}

pub(super) fn set<'r, 't, T>(
    to: &mut T,
    node: Option<Node<'r, 't>>,
    read: impl FnOnce(&Node<'r, 't>) -> Option<T>,
) {
    if let Some(value) = node.and_then(|node| read(&node)) {
        *to = value;
    }
}
