//! Places for syncs: so many at once, a few that wait for a moment, and a share for each user.
//!
//! A place is taken once the request is there, and given back when the answer is through or given
//! up: whoever sends slowly holds none, and whoever reads slowly holds one of his own share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::HttpLimits;
use super::problem::Refusal;

/// All places of a server.
pub(super) struct Places {
    all: Arc<Semaphore>,
    waiting: Semaphore,
    users: Arc<Users>,
}

/// How many places each user has; those who have none are not in it.
#[derive(Default)]
struct Users(Mutex<HashMap<String, usize>>);

/// A sync's place, until it is dropped.
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_user: OfUser,
}

/// A place of a user's share.
struct OfUser {
    users: Arc<Users>,
    user: String,
}

impl Places {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.syncs_max)),
            waiting: Semaphore::new(limits.syncs_waiting),
            users: Arc::default(),
        }
    }

    /// Whether a request would be turned away now: then it need not be read.
    pub(super) fn are_taken(&self) -> bool {
        self.all.available_permits() == 0 && self.waiting.available_permits() == 0
    }

    /// Takes a place, or waits for one among the few who do.
    pub(super) async fn take(&self, user: &str, limits: &HttpLimits) -> Result<Place, Refusal> {
        let of_user = OfUser::take(&self.users, user, limits.syncs_of_user)?;
        let of_all = match Arc::clone(&self.all).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                let _turn = self.waiting.try_acquire().map_err(|_| Refusal::busy())?;
                let free = Arc::clone(&self.all).acquire_owned();
                let free = tokio::time::timeout(limits.sync_wait, free).await;
                free.map_err(|_| Refusal::busy())?
                    .map_err(|_| Refusal::busy())?
            }
        };
        Ok(Place {
            _of_all: of_all,
            _of_user: of_user,
        })
    }
}

impl OfUser {
    fn take(users: &Arc<Users>, user: &str, most: usize) -> Result<Self, Refusal> {
        let mut held = users.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(user.to_owned()).or_default();
        if *count >= most {
            return Err(Refusal::too_often(
                format!("{most} syncs of this user are running, which is as many as may"),
                super::problem::RETRY_AFTER_S,
            ));
        }
        *count += 1;
        drop(held);
        Ok(Self {
            users: Arc::clone(users),
            user: user.to_owned(),
        })
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        let mut held = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(std::mem::take(&mut self.user)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p9_a_user_has_his_share_and_leaves_nothing_behind() {
        let limits = HttpLimits {
            syncs_max: 3,
            syncs_of_user: 2,
            syncs_waiting: 0,
            ..HttpLimits::default()
        };
        let places = Places::new(&limits);
        let first = places.take("eve", &limits).await.unwrap();
        let second = places.take("eve", &limits).await.unwrap();
        let third = places.take("eve", &limits).await;
        assert_eq!(third.err().unwrap().status, 429);
        assert!(!places.are_taken());
        let other = places.take("ann", &limits).await.unwrap();
        assert!(places.are_taken());
        assert_eq!(places.take("bob", &limits).await.err().unwrap().status, 503);
        drop((first, second));
        places.take("eve", &limits).await.unwrap();
        drop(other);
        assert!(places.users.0.lock().unwrap().is_empty());
    }
}
