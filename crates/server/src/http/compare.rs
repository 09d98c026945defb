//! What a device may ask to compare in one request.

use afield_protocol::limits::VERIFY_ROWS_MAX;
use afield_protocol::{Fetch, Hello, Verify};

use super::problem::Refusal;
use super::request::malformed;

/// Each question costs a pass over the caller's rows of the entity: two for each entity, no more.
pub(super) fn check_verify(
    ask: &Verify,
    hello: Option<&Hello>,
    known: &[Verify],
) -> Result<(), Refusal> {
    check_pulled(&ask.entity, hello)?;
    let is_list = |ask: &Verify| !ask.buckets.is_empty();
    let same = |known: &Verify| known.entity == ask.entity && is_list(known) == is_list(ask);
    if known.iter().any(same) {
        return Err(malformed(
            "an entity is to be verified twice in the same way",
        ));
    }
    let buckets = 1_u32 << ask.depth;
    if ask.buckets.iter().any(|bucket| *bucket >= buckets) {
        return Err(malformed("a bucket beyond the last"));
    }
    Ok(())
}

/// Each row costs a look into an index.
pub(super) fn check_fetch(
    ask: &Fetch,
    hello: Option<&Hello>,
    known: &[Fetch],
) -> Result<(), Refusal> {
    check_pulled(&ask.entity, hello)?;
    if known.iter().any(|known| known.entity == ask.entity) {
        return Err(malformed("rows of an entity are fetched twice"));
    }
    let keys: usize = known.iter().chain([ask]).map(|ask| ask.keys.len()).sum();
    if keys > VERIFY_ROWS_MAX {
        let message = format!("a request fetches {VERIFY_ROWS_MAX} rows at most");
        return Err(malformed(message));
    }
    Ok(())
}

/// An entity is compared in the page that pulls it, or not at all.
fn check_pulled(entity: &str, hello: Option<&Hello>) -> Result<(), Refusal> {
    let mut pulled = hello.iter().flat_map(|hello| &hello.pull);
    match pulled.any(|(name, _)| name == entity) {
        true => Ok(()),
        false => Err(malformed("only entities of `pull` can be compared")),
    }
}
