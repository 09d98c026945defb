//! The values of a scope that a user holds, the numbers that devices know them by, and a memory of
//! which values stand behind a digest, so that devices seldom have to say it. The memory only saves
//! a round: whatever is missing there comes from the device.

mod now;
mod on_device;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use afield_protocol::{Chosen, Code, Held};

pub(super) use self::now::{Now, Numbering, digest};
pub(super) use self::on_device::{NUMBER_BYTES, OnDevice};
use super::{Caller, StorageError};

/// Bytes of lists that a server remembers: those of some ten thousand users with a hundred
/// values each.
pub(super) const LISTS_BYTES: usize = 8 * 1024 * 1024;

/// Who asks for rows, and what the app on his device chose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'r> {
    pub caller: &'r Caller,
    pub chosen: &'r [Chosen],
    /// Most values of one condition that are looked up; one more is read, to know that there is.
    pub values_max: usize,
}

impl Asking<'_> {
    /// What is said to who holds more values than are looked up.
    pub(super) fn too_many(&self, entity: &str) -> StorageError {
        let most = self.values_max;
        StorageError {
            code: Code::TOO_MANY_VALUES,
            message: format!("a user holds more than {most} values of the scope of `{entity}`"),
            is_retryable: false,
        }
    }
}

/// Where lists of values come from.
pub(super) struct Listed<'r> {
    pub lists: &'r Lists,
    pub asking: Asking<'r>,
    /// What the request says that the device has.
    pub said: &'r [Held],
}

/// What a list takes beside its numbers.
const OVERHEAD_BYTES: usize = 160;

/// Whose list: what a device said counts for its own user only, or a liar could make others miss
/// rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    entity: String,
    digest: u64,
    said_by: Option<String>,
}

/// Lists by entity and digest, the oldest forgotten first.
#[derive(Debug)]
pub(super) struct Lists {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<Key, Arc<[i64]>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Lists {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// The list with this digest: one that was computed, or one that a device of the user said.
    pub(super) fn find(&self, entity: &str, digest: u64, user: &str) -> Option<Arc<[i64]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let by = |said_by| {
            let entity = entity.to_owned();
            kept.lists.get(&Key {
                entity,
                digest,
                said_by,
            })
        };
        by(None).or_else(|| by(Some(user.to_owned()))).cloned()
    }

    /// Remembers a list; `said_by` unless it was computed here.
    pub(super) fn keep(
        &self,
        entity: &str,
        digest: u64,
        said_by: Option<&str>,
        list: impl FnOnce() -> Vec<i64>,
    ) {
        let key = Key {
            entity: entity.to_owned(),
            digest,
            said_by: said_by.map(str::to_owned),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes_max == 0 || kept.lists.contains_key(&key) {
            return;
        }
        let list: Arc<[i64]> = list().into();
        kept.bytes += bytes(&key, &list);
        kept.lists.insert(key.clone(), list);
        kept.order.push_back(key);
        while kept.bytes > self.bytes_max {
            let Some(oldest) = kept.order.pop_front() else {
                return;
            };
            if let Some(list) = kept.lists.remove(&oldest) {
                kept.bytes -= bytes(&oldest, &list);
            }
        }
    }
}

impl Listed<'_> {
    /// The values behind a digest; `None` if the request says others.
    pub(super) fn find<V>(
        &self,
        entity: &str,
        held: u64,
        now: &Now<V>,
    ) -> Result<Option<HashSet<i64>>, StorageError> {
        if let Some(said) = self.said.iter().find(|said| said.entity == entity) {
            let said: HashSet<i64> = said.gained.iter().copied().collect();
            let fits = digest(said.iter().copied()) == held;
            return Ok(fits.then_some(said));
        }
        if held == now.digest {
            return Ok(Some(now.all().collect()));
        }
        if held == digest([]) {
            return Ok(Some(HashSet::new()));
        }
        match self.lists.find(entity, held, &self.asking.caller.user) {
            Some(list) => Ok(Some(list.iter().copied().collect())),
            None => Err(StorageError {
                code: Code::HELD_WANTED,
                message: format!("say which values the device has rows of in `{entity}`"),
                is_retryable: false,
            }),
        }
    }
}

fn bytes(key: &Key, list: &[i64]) -> usize {
    let said_by = key.said_by.as_ref().map_or(0, String::len);
    OVERHEAD_BYTES + 2 * (key.entity.len() + said_by) + 8 * list.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_lists_are_bounded_and_the_oldest_goes_first() {
        let lists = Lists::new(3 * (OVERHEAD_BYTES + 2 + 80));
        for digest in 0..4 {
            lists.keep("t", digest, None, || vec![1; 10]);
        }
        assert!(lists.find("t", 0, "ada").is_none());
        assert!((1..4).all(|digest| lists.find("t", digest, "ada").is_some()));
        lists.keep("t", 9, None, || vec![1; 10_000]);
        assert!(lists.find("t", 9, "ada").is_none(), "larger than all of it");
        let none = Lists::new(0);
        none.keep("t", 1, None, || vec![1]);
        assert!(none.find("t", 1, "ada").is_none());
    }

    #[test]
    fn p7_what_a_device_says_counts_for_its_user_only() {
        let lists = Lists::new(LISTS_BYTES);
        lists.keep("t", 7, Some("eve"), || vec![666]);
        assert!(lists.find("t", 7, "ada").is_none());
        assert!(lists.find("u", 7, "eve").is_none());
        assert_eq!(lists.find("t", 7, "eve").unwrap().as_ref(), [666]);
        lists.keep("t", 7, None, || vec![1]);
        assert_eq!(lists.find("t", 7, "eve").unwrap().as_ref(), [1]);
    }
}
