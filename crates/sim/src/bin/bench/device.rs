//! A device's store, opened by the bench itself as an app would.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use afield::protocol::{Attributes, Value};
use afield::{Environment, Store};

use super::served::Served;

/// The user of the benches.
pub(crate) const USER: &str = "bench";

/// The clock and randomness enough for a bench.
struct Bench(fastrand::Rng);

impl Environment for Bench {
    #[expect(clippy::disallowed_methods, reason = "a bench is a driver")]
    fn now_ms(&mut self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// The clock of the wall, for what people wait for.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Where the device of `served` keeps its store.
pub(crate) fn database(served: &Served) -> PathBuf {
    served.folder().join("store").join(format!("{USER}.afield"))
}

/// Opens a store.
pub(crate) fn open(path: &Path) -> Result<Store, Box<dyn Error>> {
    Ok(Store::open(
        path,
        USER,
        Box::new(Bench(fastrand::Rng::new())),
    )?)
}

/// Bytes of all files of a folder.
pub(crate) fn bytes_of(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// One attribute to set.
pub(crate) fn set(name: &str, value: impl Into<Value>) -> Attributes {
    [(name.to_owned(), value.into())].into()
}

/// The time below which so many of 100 are.
pub(crate) fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or(Duration::MAX)
}
