//! The driver for desktop and mobile: blocking HTTP, threads, the system's clock and randomness.
//!
//! ```text
//!   app threads ──► Client::store ──► Store ───────┐
//!   any thread  ──► Client::sync, Client::trigger                │
//!                        │                                       ▼
//!                        ▼ queue                              one file
//!                  a thread that syncs ──► Engine ──► SyncStore ─┘  ▲
//!                        │    ▲                                     │
//!                        ▼    │ answers                             │
//!                  a thread for each request     a thread that watches for other processes
//! ```
//!
//! A sync never holds the app's [`Store`]: the app writes and reads while it runs, and waits at
//! most for the short transactions that store what arrived.

mod address;
mod attempt;
mod environment;
mod events;
mod files;
mod folder;
mod hooks;
mod http;
mod key_source;
mod live;
mod network;
mod options;
mod packed;
mod problem;
mod session;
mod sign_in;
mod sync;
mod tls;
mod token;
mod watch;
mod worker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use afield_protocol::{Code, Level, SyncConfig};

use self::address::Address;
use self::sync::Runner;
use self::watch::Observer;
use self::worker::{Shared, Told};
use crate::engine::{Direction, Engine, Progress, Report};
use crate::error::Error;
use crate::network::{NetworkInfo, NetworkStatus, NetworkType};
use crate::queue::{Asked, Wanted};
use crate::schedule::Reason;
use crate::store::{ConflictInfo, Resolution, Status, Store, SyncStore, Watch};

pub use environment::SystemEnvironment;
pub use events::EventStream;
pub use folder::Folder;
pub use hooks::Applied;
pub use http::Timeouts;
pub use key_source::{KeyCallback, KeySource};
pub use options::{CHECK_EVERY, ClientOptions, SyncOptions, VerifyOptions};
pub use sign_in::TokenSource;
pub use token::token_user;
pub use worker::Finished;

/// One user's store with everything that synchronises it. Share it between threads in an
/// [`Arc`].
pub struct Client {
    folder: Folder,
    user: String,
    store: Mutex<Store>,
    shared: Arc<Shared>,
    observer: Observer,
}

/// What a sync needs besides the store.
#[derive(Clone)]
struct Settings {
    user: String,
    server: Option<Address>,
    token: Option<String>,
    token_source: Option<TokenSource>,
    /// Where tokens are kept, if they are.
    kept_in: Option<Folder>,
    roots: Option<PathBuf>,
    timeouts: Timeouts,
}

impl Settings {
    /// Keeps a token where tokens are kept.
    fn keep_token(&self, token: &str) -> Result<(), Error> {
        match &self.kept_in {
            Some(folder) => folder.remember_token(&self.user, token),
            None => Ok(()),
        }
    }
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
        let has_signed_in = options.token.is_some();
        if has_signed_in {
            store.sign_in()?;
        } else if store.is_signed_out()? {
            let message = format!(
                "{} has logged out here: sign in, with a token",
                options.user
            );
            return Err(Error::new(Code::SIGN_IN, message));
        }
        let token = match options.token {
            Some(token) => {
                if options.remember_token {
                    folder.remember_token(&options.user, &token)?;
                }
                Some(token)
            }
            None => folder.token(&options.user)?,
        };
        let settings = Settings {
            user: options.user.clone(),
            server,
            token,
            token_source: options.token_source,
            kept_in: options.remember_token.then(|| folder.clone()),
            roots: options.root_certificates,
            timeouts: options.timeouts,
        };
        let shared = Arc::new(Shared::new(Runner::new(side, engine), settings));
        if has_signed_in {
            shared.has_signed_in();
        }
        Ok(Self {
            observer: Observer::new(store.watches()),
            folder,
            user: options.user,
            store: Mutex::new(store),
            shared,
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
        let settings = lock(&self.shared.settings);
        let server = settings.server.as_ref();
        server.map(|address| address.as_str().to_owned())
    }

    /// The app's side of the store. Another thread waits while this is held; a running sync does
    /// not.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Takes another token, for the next sync; `remember` keeps it in the folder. What failed for
    /// want of it is tried again at once, if syncs begin by themselves.
    ///
    /// # Errors
    /// The token is somebody else's, or cannot be kept.
    pub fn set_token(&self, token: &str, remember: bool) -> Result<(), Error> {
        token::check_owner(token, &self.user)?;
        if remember {
            self.folder.remember_token(&self.user, token)?;
        }
        self.shared.signed_in(token.to_owned());
        Ok(())
    }

    /// Adds an entry to the log of the device; see [`Store::log`]. It begins no sync.
    ///
    /// # Errors
    /// The store cannot be written; nothing else is touched by that.
    pub fn log(&self, level: Level, module: &str, message: &str) -> Result<(), Error> {
        self.store().log(level, module, message)
    }

    /// Whether the server refuses the token at hand, or there is none, and the app's callback has
    /// no other: a person must sign in. What is written meanwhile is kept, and sent afterwards.
    pub fn needs_sign_in(&self) -> bool {
        self.shared.needs_sign_in()
    }

    /// Where the device stands, as [`Store::status`](crate::Store::status) says, and in its units
    /// what a live stream adds to that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let mut status = self.store().status()?;
        self.shared.add_live(&mut status.units);
        Ok(status)
    }

    /// In how long the next sync begins by itself if nothing else happens, and why. `None` if none
    /// will.
    pub fn next_sync(&self) -> Option<(Duration, Reason)> {
        self.shared.next()
    }

    /// Asks for a sync and returns at once: it runs when those that wait already are over, on a
    /// thread of this client's. An equal one that has not begun counts for both.
    ///
    /// With `discard_pending` all that wait are dropped, so that this one is next; the one that
    /// runs goes on. What is dropped is the wish to synchronise, never a change.
    ///
    /// ```no_run
    /// # fn save(client: &afield::native::Client) -> Result<(), afield::Error> {
    /// use afield::native::SyncOptions;
    /// let work = SyncOptions { unit: Some("work".into()), ..SyncOptions::default() };
    /// let asked = client.trigger(&work, false)?;
    /// # let _ = asked.is_joined;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The system gives no thread. What the network, the server or the store did is told to those
    /// who asked to be: [`Client::on_finished`].
    pub fn trigger(&self, options: &SyncOptions, discard_pending: bool) -> Result<Asked, Error> {
        self.shared.trigger(options.wanted(), discard_pending)
    }

    /// From now on the client synchronises all units by itself, as the model's configuration says:
    /// a while after each write, whichever process made it; when the app says that it came to the
    /// front ([`Client::resumed`]); after an interval; and what failed again, after a pause that
    /// doubles. Gives the configuration, which [`Client::configure`] changes.
    ///
    /// ```no_run
    /// # fn begin(client: &afield::native::Client) -> Result<(), afield::Error> {
    /// let config = client.start()?;
    /// client.configure(afield::protocol::SyncConfig { interval_ms: Some(900_000), ..config })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store cannot be read, or the system gives no thread.
    pub fn start(&self) -> Result<SyncConfig, Error> {
        let config = self.model_sync_config()?;
        self.configure(config)?;
        Ok(config)
    }

    /// The configuration that the model names; the default if the store has no model yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn model_sync_config(&self) -> Result<SyncConfig, Error> {
        let model = lock(&self.shared.runner).model()?;
        Ok(model.map(|model| model.sync).unwrap_or_default())
    }

    /// The same with a configuration of the app's own. It holds until the next one, whatever models
    /// come, and begins at once.
    ///
    /// # Errors
    /// As [`Client::start`], or a time is out of its range.
    pub fn configure(&self, config: SyncConfig) -> Result<(), Error> {
        config.check()?;
        let shared = Arc::downgrade(&self.shared);
        self.store().on_writes(Arc::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.may_have_written();
            }
        }))?;
        self.watch_others()?;
        self.shared.configure(config)
    }

    /// No sync begins by itself any more, until [`Client::start`].
    pub fn stop(&self) {
        self.shared.unconfigure();
    }

    /// The configuration by which syncs begin by themselves; `None` if none does.
    pub fn sync_config(&self) -> Option<SyncConfig> {
        self.shared.config()
    }

    /// The app came to the front.
    pub fn resumed(&self) {
        self.shared.shown(true);
    }

    /// The app went to the back: no sync begins by itself until it comes to the front.
    pub fn suspended(&self) {
        self.shared.shown(false);
    }

    /// Drops the syncs that wait; gives how many. The one that runs goes on, and no change is lost.
    pub fn discard_pending(&self) -> usize {
        self.shared.discard()
    }

    /// How many syncs wait, and whether one runs.
    pub fn queued(&self) -> (usize, bool) {
        self.shared.queued()
    }

    /// Tells `handler` of each sync that is over, on the thread that runs them: the next one waits
    /// until it returns. It may [`Client::trigger`] another one, which then waits behind what is
    /// waiting, and five seconds where a handler asks each time; [`Client::sync`] would wait for
    /// itself, and fails with `in-handler`.
    pub fn on_finished(&self, handler: impl Fn(&Finished<'_>) + Send + Sync + 'static) {
        self.shared.on_finished(Arc::new(handler));
    }

    /// Synchronises, and returns when it is over. What a sync did is kept however it ends, and
    /// the next one continues from there. It waits until the syncs before it are over; one that
    /// waits already and does the same counts for both.
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
        self.run(options.wanted(), on_progress)
    }

    /// Synchronises all units within `budget`, waiting for its turn included, and ends in time: for
    /// the time that a platform gives an app in the background. Changes go first, so that as much
    /// of what the user did is sent as there is time for; what arrived is kept, and the next sync
    /// goes on from there. The report says `timeout` where there was not time enough.
    ///
    /// ```no_run
    /// # fn background(client: &afield::native::Client) -> Result<(), afield::Error> {
    /// let report = client.sync_for(std::time::Duration::from_secs(25))?;
    /// # let _ = report; Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::sync`], and `timeout` if others had their turn all the time.
    pub fn sync_for(&self, budget: Duration) -> Result<Report, Error> {
        self.shared.sync_for(budget)
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
        self.run(options.wanted(), &mut |_| {})
    }

    fn run(&self, wanted: Wanted, on_progress: &mut dyn FnMut(&Progress)) -> Result<Report, Error> {
        let told = self.shared.begin(wanted)?;
        loop {
            match told.recv() {
                Ok(Told::Progress(progress)) => on_progress(&progress),
                Ok(Told::Over(result)) => return result,
                Ok(Told::Discarded) => {
                    let message = "it was discarded before it began; no change is lost";
                    return Err(Error::new(Code::DISCARDED, message));
                }
                Err(_) => {
                    let message = "the client was closed before it began";
                    return Err(Error::new(Code::INTERRUPTED, message));
                }
            }
        }
    }

    /// What is known of the network.
    pub fn network(&self) -> NetworkStatus {
        self.shared.network()
    }

    /// The platform says what network there is, each time that it changes: one call for all that
    /// depends on it. Another network has the server probed; without one nothing begins by itself,
    /// and entities with `edit = "online"` are read-only until the server has answered again.
    ///
    /// ```no_run
    /// # fn changed(client: &afield::native::Client) -> Result<(), afield::Error> {
    /// use afield::network::{NetworkInfo, NetworkType};
    /// client.set_network(NetworkInfo::of(NetworkType::Wifi))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn set_network(&self, info: NetworkInfo) -> Result<(), Error> {
        self.shared.set_network(info);
        match info.kind {
            NetworkType::None => self.store().network_lost(),
            _ => Ok(()),
        }
    }

    /// Asks the server whether it is there, and waits for the answer: it has to give back what
    /// nobody else knows, so that a page which asks for a password is not taken for it.
    ///
    /// # Errors
    /// The store cannot be read or written, or the root certificates cannot be read.
    pub fn probe(&self) -> Result<bool, Error> {
        self.shared.probe()
    }

    /// Whether syncs of all units leave `unit` out on a metered network: its rows wait for another
    /// one, and its changes are sent anyway. A sync that names the unit receives it on any network.
    pub fn set_unmetered_only(&self, unit: impl Into<String>, is_on: bool) {
        self.shared.set_unmetered_only(unit.into(), is_on);
    }

    /// Ends the sync that is running, if any, as soon as possible. Nothing is lost; its report
    /// says `interrupted`.
    pub fn cancel(&self) {
        self.shared.control.cancel();
    }

    /// Sends changes that a restore of the server's database took again, without asking. See
    /// [`SyncStore::resend_lost`].
    pub fn resend_lost(&self, resends: bool) {
        lock(&self.shared.runner).resend_lost(resends);
    }

    /// Lets `resolver` decide the conflicts of `entity` by itself; `None` leaves one to a person.
    /// See [`SyncStore::set_resolver`].
    pub fn set_resolver(
        &self,
        entity: impl Into<String>,
        resolver: impl Fn(&ConflictInfo) -> Option<Resolution> + Send + 'static,
    ) {
        lock(&self.shared.runner).set_resolver(entity.into(), resolver);
    }

    /// Watches what a query reads; see [`Store::watch`]. What other processes commit is noticed
    /// too, within a second.
    ///
    /// # Errors
    /// Those of [`Store::watch`], or no thread can be started.
    pub fn watch(&self, sql: &str) -> Result<Watch, Error> {
        let watch = self.store().watch(sql)?;
        self.watch_others()?;
        Ok(watch)
    }

    fn watch_others(&self) -> Result<(), Error> {
        self.observer.start().map_err(|error| {
            let message = format!("no thread to watch for other processes: {error}");
            Error::new(Code::INTERNAL, message)
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop();
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
        shared::<Arc<Client>>();
    }
}
