//! Synchronising in the background: now and then, and whenever the user asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use afield::Error;
use afield::engine::{Direction, Report};
use afield::native::Client;

/// Pause between two syncs that nobody asked for.
const EVERY: Duration = Duration::from_secs(5);

/// What the sync thread has to tell.
pub(crate) enum News {
    /// A sync has begun.
    Started,
    /// It is over.
    Ended(Box<Result<Report, Error>>),
}

/// The sync thread. It ends with the program; a sync that is cut off continues with the next one.
pub(crate) struct Syncer {
    ask: Sender<()>,
    news: Receiver<News>,
    offline: Arc<AtomicBool>,
}

impl Syncer {
    pub(crate) fn start(client: Arc<Client>) -> std::io::Result<Self> {
        let (ask, asked) = channel();
        let (tell, news) = channel();
        let offline = Arc::new(AtomicBool::new(false));
        let is_offline = offline.clone();
        thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                loop {
                    if !is_offline.load(Ordering::SeqCst) {
                        // Whoever listened has quit if these fail, and so does this thread below.
                        let _ = tell.send(News::Started);
                        let _ =
                            tell.send(News::Ended(Box::new(client.sync(None, Direction::Both))));
                    }
                    if asked.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            })?;
        Ok(Self { ask, news, offline })
    }

    pub(crate) fn news(&self) -> Vec<News> {
        self.news.try_iter().collect()
    }

    /// The next news.
    #[cfg(test)]
    pub(crate) fn wait(&self) -> News {
        let patience = Duration::from_secs(30);
        self.news.recv_timeout(patience).expect("a sync ends")
    }

    pub(crate) fn sync_now(&self) {
        // The thread lives as long as this does.
        let _ = self.ask.send(());
    }

    pub(crate) fn stay_offline(&self, offline: bool) {
        self.offline.store(offline, Ordering::SeqCst);
        self.sync_now();
    }
}
