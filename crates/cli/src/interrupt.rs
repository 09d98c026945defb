//! Ctrl-C: the first one ends what runs, a second one the program. Everything that was answered is
//! stored, so neither loses anything.

use std::thread;

use crate::failure;

/// Has the first Ctrl-C do `first`. Where it cannot be listened for, it ends the program.
pub(crate) fn on_interrupt(first: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let listens =
            |runtime: &tokio::runtime::Runtime| runtime.block_on(tokio::signal::ctrl_c()).is_ok();
        let Ok(runtime) = runtime else {
            // What `first` holds is not to be dropped before the program ends.
            loop {
                thread::park();
            }
        };
        if listens(&runtime) {
            first();
            if listens(&runtime) {
                std::process::exit(failure::REFUSED.into());
            }
        }
    });
}
