//! Looking for what other processes commit.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::lock;
use crate::store::Watches;

/// How often to look. A watch promises to fire within a second.
const EVERY: Duration = Duration::from_millis(300);

/// A thread that looks, from the first watch on until the client is dropped.
pub(super) struct Observer {
    watches: Watches,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Observer {
    pub(super) fn new(watches: Watches) -> Self {
        Self {
            watches,
            stop: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    /// Starts the thread if it does not run.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_some() {
            return Ok(());
        }
        let (watches, stop) = (self.watches.clone(), self.stop.clone());
        let look = move || {
            let (stopped, woken) = &*stop;
            let mut guard = lock(stopped);
            while !*guard {
                guard = match woken.wait_timeout(guard, EVERY) {
                    Ok((guard, _)) => guard,
                    Err(poisoned) => poisoned.into_inner().0,
                };
                watches.look();
            }
        };
        *thread = Some(
            thread::Builder::new()
                .name("afield watch".to_owned())
                .spawn(look)?,
        );
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let (stopped, woken) = &*self.stop;
        *lock(stopped) = true;
        woken.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic in it has been reported by its own thread.
            let _ = thread.join();
        }
    }
}
