//! The bug zoo: faults planted on purpose, and points at which a process may die.
//!
//! Without the feature `zoo` both functions are constants that the compiler removes. With it, the
//! simulator switches a fault on, or lets the n-th crash point strike, for its own thread: a
//! simulation that does not find the planted faults proves nothing.

/// A crash that the simulator asked for; whoever gets it gives up at once, as a dead process
/// would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("simulated crash at {0}")]
pub struct Crash(pub &'static str);

/// Whether the fault `name` is planted in this thread.
#[cfg(not(feature = "zoo"))]
#[inline(always)]
pub fn planted(_name: &'static str) -> bool {
    false
}

/// A point at which the process may die.
///
/// # Errors
/// The simulator lets it die here.
#[cfg(not(feature = "zoo"))]
#[inline(always)]
pub fn crash_point(_name: &'static str) -> Result<(), Crash> {
    Ok(())
}

/// Says that a store committed; `is_durable` tells whether the commit survives a power cut.
#[cfg(not(feature = "zoo"))]
#[inline(always)]
pub fn committed(_is_durable: impl FnOnce() -> bool) {}

#[cfg(feature = "zoo")]
pub use switched::{
    committed, crash_after, crash_point, crash_points_left, on_commit, plant, planted,
};

#[cfg(feature = "zoo")]
mod switched {
    use std::cell::{Cell, RefCell};

    use super::Crash;

    thread_local! {
        static PLANTED: RefCell<Option<String>> = const { RefCell::new(None) };
        static COUNTDOWN: Cell<Option<u32>> = const { Cell::new(None) };
        static ON_COMMIT: RefCell<Option<CommitHook>> = const { RefCell::new(None) };
    }

    /// Told of each commit whether it is durable.
    pub(super) type CommitHook = Box<dyn FnMut(bool)>;

    /// Calls `hook` after each commit of a store in this thread, or nothing.
    pub fn on_commit(hook: Option<CommitHook>) {
        ON_COMMIT.set(hook);
    }

    /// Says that a store committed; `is_durable` tells whether the commit survives a power cut.
    pub fn committed(is_durable: impl FnOnce() -> bool) {
        ON_COMMIT.with_borrow_mut(|hook| {
            if let Some(hook) = hook {
                hook(is_durable());
            }
        });
    }

    /// Plants the fault `name` in this thread, or none.
    pub fn plant(name: Option<&str>) {
        PLANTED.with_borrow_mut(|planted| *planted = name.map(str::to_owned));
    }

    /// Whether the fault `name` is planted in this thread.
    pub fn planted(name: &'static str) -> bool {
        PLANTED.with_borrow(|planted| planted.as_deref() == Some(name))
    }

    /// Lets this thread's n-th crash point from now strike (0 is the next), or none.
    pub fn crash_after(points: Option<u32>) {
        COUNTDOWN.set(points);
    }

    /// How many crash points pass before one strikes; none if none will, or one just did.
    pub fn crash_points_left() -> Option<u32> {
        COUNTDOWN.get()
    }

    /// A point at which the process may die.
    ///
    /// # Errors
    /// The simulator lets it die here.
    pub fn crash_point(name: &'static str) -> Result<(), Crash> {
        match COUNTDOWN.get() {
            Some(0) => {
                COUNTDOWN.set(None);
                Err(Crash(name))
            }
            Some(left) => {
                COUNTDOWN.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
