//! The driver for desktop and mobile: blocking HTTP, threads, the system's clock and randomness.
//!
//! ```text
//!   app threads ──► Client::store ──► Store ───────┐
//!   any thread  ──► Client::sync  ──► Engine ──► SyncStore ──► one file
//!                        │    ▲                    ▲
//!                        ▼    │ answers            │
//!                  a thread for each request   a thread that watches for other processes
//! ```
//!
//! A sync never holds the app's [`Store`]: the app writes and reads while it runs, and waits at
//! most for the short transactions that store what arrived.

mod address;
mod environment;
mod folder;
mod http;
mod key_source;
mod packed;
mod problem;
mod sync;
mod tls;
mod token;
mod watch;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use afield_protocol::{Code, Model};

use self::address::Address;
use self::sync::{Control, Runner};
use self::watch::Observer;
use crate::engine::{CheckPolicy, Direction, Engine, Event, Progress, Report};
use crate::error::Error;
use crate::store::{ConflictInfo, Resolution, Store, SyncStore, Watch};

pub use environment::SystemEnvironment;
pub use folder::Folder;
pub use http::Timeouts;
pub use key_source::{KeyCallback, KeySource};
pub use token::token_user;

/// How often a sync compares all rows of a unit with the server's, unless the app says otherwise.
/// It costs the server a pass over the user's rows; what it would find is rare.
pub const CHECK_EVERY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How to open a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The folder of this device's stores; it is made if it does not exist.
    pub folder: PathBuf,
    /// Whose store to open.
    pub user: String,
    /// The server's address, remembered in the store; `None` takes the one remembered.
    pub server: Option<String>,
    /// The token to sign in with; `None` takes the one remembered in the folder, if any.
    pub token: Option<String>,
    /// Whether to keep `token` in the folder, in a file that only its owner may read. An app
    /// that has a key store keeps it there instead.
    pub remember_token: bool,
    /// The model for a store that has none, so that it works before the first sync.
    pub model: Option<Model>,
    /// PEM file of root certificates to trust besides the public ones.
    pub root_certificates: Option<PathBuf>,
    /// How long the network may be silent.
    pub timeouts: Timeouts,
    /// How syncs compare the rows of the device with the server's by themselves: each unit once in
    /// [`CHECK_EVERY`], and repairing what differs, unless the app says otherwise. `None`: never.
    pub check: Option<CheckPolicy>,
    /// Where the store's key comes from; `None` for a store that is not encrypted. A store that
    /// is not encrypted yet is when it is first opened with a key. It needs the feature
    /// `encryption`.
    pub key: Option<KeySource>,
}

impl ClientOptions {
    /// Options for `user`'s store in `folder`, with everything else as remembered.
    pub fn new(folder: impl Into<PathBuf>, user: impl Into<String>) -> Self {
        Self {
            folder: folder.into(),
            user: user.into(),
            server: None,
            token: None,
            remember_token: false,
            model: None,
            root_certificates: None,
            timeouts: Timeouts::default(),
            check: Some(CheckPolicy {
                every_ms: i64::try_from(CHECK_EVERY.as_millis()).unwrap_or(i64::MAX),
                repair: true,
            }),
            key: None,
        }
    }

    /// With the server's address.
    #[must_use]
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.server = Some(address.into());
        self
    }

    /// With a token to sign in.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With the key of an encrypted store.
    #[must_use]
    pub fn key(mut self, source: KeySource) -> Self {
        self.key = Some(source);
        self
    }
}

/// What to synchronise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// The unit; all units in the model's order if `None`.
    pub unit: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// When to give up at the latest; what was done by then is kept. `None` goes on for as long
    /// as bytes arrive.
    pub deadline: Option<Duration>,
}

/// What to verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The unit; all units in the model's order if `None`.
    pub unit: Option<String>,
    /// Whether to repair what differs. What stood in its place stays readable:
    /// [`Store::uncaptured`].
    pub repair: bool,
    /// When to give up at the latest. `None` goes on for as long as bytes arrive.
    pub deadline: Option<Duration>,
}

/// One user's store with everything that synchronises it. Share it between threads in an
/// [`Arc`](std::sync::Arc).
pub struct Client {
    folder: Folder,
    user: String,
    store: Mutex<Store>,
    runner: Mutex<Runner>,
    control: Control,
    settings: Mutex<Settings>,
    observer: Observer,
}

/// What a sync needs besides the store.
#[derive(Clone)]
struct Settings {
    server: Option<Address>,
    token: Option<String>,
    roots: Option<PathBuf>,
    timeouts: Timeouts,
}

impl Client {
    /// Opens or makes the store of a user.
    ///
    /// # Errors
    /// The store cannot be read or made, the server's address may not be used (`plain-http`), or
    /// the token is somebody else's (`sign-in`). Nothing is remembered then. With a key also
    /// those of [`KeySource::key`] and [`Store::open_with`].
    pub fn open(options: ClientOptions) -> Result<Self, Error> {
        let folder = Folder::new(options.folder);
        let server = options.server.as_deref().map(Address::parse).transpose()?;
        if let Some(token) = &options.token {
            token::check_owner(token, &options.user)?;
        }
        let path = folder.database(&options.user)?;
        let key = options.key.as_ref().map(KeySource::key).transpose()?;
        folder.create()?;
        let (user, key, env) = (&*options.user, key.as_ref(), SystemEnvironment);
        let mut store = Store::open_with(&path, user, key, Box::new(env))?;
        let mut side = SyncStore::open_with(&path, user, key, Box::new(env))?;
        side.share_watches(&store);
        if let Some(model) = &options.model {
            store.install_first(model)?;
        }
        let server = match server {
            Some(server) => {
                side.set_server(server.as_str())?;
                Some(server)
            }
            None => side.server()?.as_deref().map(Address::parse).transpose()?,
        };
        let mut engine = Engine::new();
        engine.set_check(options.check);
        let token = match options.token {
            Some(token) => {
                if options.remember_token {
                    folder.remember_token(&options.user, &token)?;
                }
                Some(token)
            }
            None => folder.token(&options.user)?,
        };
        Ok(Self {
            observer: Observer::new(store.watches()),
            folder,
            user: options.user,
            store: Mutex::new(store),
            runner: Mutex::new(Runner::new(side, engine)),
            control: Control::default(),
            settings: Mutex::new(Settings {
                server,
                token,
                roots: options.root_certificates,
                timeouts: options.timeouts,
            }),
        })
    }

    /// Gives the store that `options` mean the key `new` in place of the one they name. No client
    /// may have it open; see [`Store::rekey`].
    ///
    /// # Errors
    /// Those of [`KeySource::key`] and [`Store::rekey`]; `key-missing` if the options name none.
    pub fn rekey(options: &ClientOptions, new: &KeySource) -> Result<(), Error> {
        let missing = || Error::new(Code::KEY_MISSING, "say which key the store has now");
        let old = options.key.as_ref().ok_or_else(missing)?.key()?;
        let path = Folder::new(&options.folder).database(&options.user)?;
        let env = Box::new(SystemEnvironment);
        Store::rekey(&path, &options.user, &old, &new.key()?, env)
    }

    /// Whose store this is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The folder that the store lies in.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The address of the server, if one is known.
    pub fn server(&self) -> Option<String> {
        let settings = lock(&self.settings);
        let server = settings.server.as_ref();
        server.map(|address| address.as_str().to_owned())
    }

    /// The app's side of the store. Another thread waits while this is held; a running sync does
    /// not.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Takes another token, for the next sync; `remember` keeps it in the folder.
    ///
    /// # Errors
    /// The token is somebody else's, or cannot be kept.
    pub fn set_token(&self, token: &str, remember: bool) -> Result<(), Error> {
        token::check_owner(token, &self.user)?;
        if remember {
            self.folder.remember_token(&self.user, token)?;
        }
        lock(&self.settings).token = Some(token.to_owned());
        Ok(())
    }

    /// Synchronises, and returns when it is over. What a sync did is kept however it ends, and
    /// the next one continues from there. A second call waits until the first is over.
    ///
    /// A report with [`SyncStatus::Failed`](crate::engine::SyncStatus) says what the network or
    /// the server did; an error says that this store could not. `unit` names what to receive;
    /// `None` stands for all units, in the model's order.
    ///
    /// # Errors
    /// No server is known, nobody is signed in, or the store cannot be read or written.
    pub fn sync(&self, unit: Option<&str>, direction: Direction) -> Result<Report, Error> {
        let options = SyncOptions {
            unit: unit.map(str::to_owned),
            direction,
            deadline: None,
        };
        self.sync_with(&options, &mut |_| {})
    }

    /// The same, with a deadline, and telling how far it has come.
    ///
    /// # Errors
    /// Those of [`Client::sync`].
    pub fn sync_with(
        &self,
        options: &SyncOptions,
        on_progress: &mut dyn FnMut(&Progress),
    ) -> Result<Report, Error> {
        let event = Event::Start {
            unit: options.unit.clone(),
            direction: options.direction,
        };
        self.run((event, options.deadline), on_progress)
    }

    /// Receives what is new, and compares all rows of this device with the server's, both at one
    /// snapshot of the server: the report's `verified` says what differed. Changes that wait to be
    /// sent are no difference, and stay.
    ///
    /// ```no_run
    /// # fn verify(client: &afield::native::Client) -> Result<(), afield::Error> {
    /// let report = client.verify(&afield::native::VerifyOptions::default())?;
    /// let is_equal = report.verified.is_some_and(|verified| verified.equal);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::sync`].
    pub fn verify(&self, options: &VerifyOptions) -> Result<Report, Error> {
        let event = Event::Verify {
            unit: options.unit.clone(),
            repair: options.repair,
        };
        self.run((event, options.deadline), &mut |_| {})
    }

    fn run(
        &self,
        what: (Event<'_>, Option<Duration>),
        on_progress: &mut dyn FnMut(&Progress),
    ) -> Result<Report, Error> {
        let mut runner = lock(&self.runner);
        let settings = lock(&self.settings).clone();
        runner.connect(&settings)?;
        sync::run(&mut runner, &self.control, what, on_progress)
    }

    /// Says that the network is gone, as far as the platform knows: entities with
    /// `edit = "online"` are read-only until a sync has reached the server again.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn network_lost(&self) -> Result<(), Error> {
        self.store().network_lost()
    }

    /// Ends the sync that is running, if any, as soon as possible. Nothing is lost; its report
    /// says `interrupted`.
    pub fn cancel(&self) {
        self.control.cancel();
    }

    /// Sends changes that a restore of the server's database took again, without asking. See
    /// [`SyncStore::resend_lost`].
    pub fn resend_lost(&self, resends: bool) {
        lock(&self.runner).resend_lost(resends);
    }

    /// Lets `resolver` decide the conflicts of `entity` by itself; `None` leaves one to a person.
    /// See [`SyncStore::set_resolver`].
    pub fn set_resolver(
        &self,
        entity: impl Into<String>,
        resolver: impl Fn(&ConflictInfo) -> Option<Resolution> + Send + 'static,
    ) {
        lock(&self.runner).set_resolver(entity.into(), resolver);
    }

    /// Watches what a query reads; see [`Store::watch`]. What other processes commit is noticed
    /// too, within a second.
    ///
    /// # Errors
    /// Those of [`Store::watch`], or no thread can be started.
    pub fn watch(&self, sql: &str) -> Result<Watch, Error> {
        let watch = self.store().watch(sql)?;
        self.observer.start().map_err(|error| {
            let message = format!("no thread to watch for other processes: {error}");
            Error::new(Code::INTERNAL, message)
        })?;
        Ok(watch)
    }
}

/// A lock that a panic elsewhere cannot keep from us: everything under these locks is whole
/// between two calls, because the file is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<std::sync::Arc<Client>>();
    }
}
