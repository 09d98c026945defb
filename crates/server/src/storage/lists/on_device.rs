//! The values whose rows a device has, and what a page changes of them.

use std::collections::HashSet;

use afield_protocol::{Frame, Held};

use super::{Listed, Now, digest};

/// Bytes that a value takes on the wire at most.
pub(in super::super) const NUMBER_BYTES: usize = 9;

/// The values whose rows a device has while its page is made.
#[derive(Debug, Default)]
pub(in super::super) struct OnDevice {
    numbers: HashSet<i64>,
    gained: Vec<i64>,
    lost: Vec<i64>,
}

impl OnDevice {
    /// What it said, or is known to have.
    pub(in super::super) fn of(numbers: HashSet<i64>) -> Self {
        Self {
            numbers,
            ..Self::default()
        }
    }

    pub(in super::super) fn numbers(&self) -> &HashSet<i64> {
        &self.numbers
    }

    pub(in super::super) fn contains(&self, number: i64) -> bool {
        self.numbers.contains(&number)
    }

    pub(in super::super) fn digest(&self) -> u64 {
        digest(self.numbers.iter().copied())
    }

    /// The value's rows are all on the page or were on those before.
    pub(in super::super) fn gain(&mut self, number: i64) {
        self.numbers.insert(number);
        self.gained.push(number);
    }

    /// Takes these for there, and tells nobody.
    pub(in super::super) fn take_for_there(&mut self, numbers: impl Iterator<Item = i64>) {
        self.numbers.extend(numbers);
    }

    /// Drops all but these, and with them `begun`, of which only a part has come, if it is none of
    /// `now`. Whether that is dropped.
    pub(in super::super) fn let_go<V>(
        &mut self,
        held: &HashSet<i64>,
        now: &Now<V>,
        begun: Option<(usize, i64)>,
    ) -> bool {
        self.lost = self.numbers.difference(held).copied().collect();
        self.lost.sort_unstable();
        self.numbers.retain(|number| held.contains(number));
        let gone = begun.filter(|(condition, number)| now.value(*condition, *number).is_none());
        self.lost.extend(gone.map(|(_, number)| number));
        gone.is_some()
    }

    /// Whether values are missing whose rows the device should have.
    pub(in super::super) fn is_missing_any<V>(&self, now: &Now<V>) -> bool {
        now.all().any(|number| !self.contains(number))
    }

    /// The values whose rows the device lacks, in the order of their scans: the one that is being
    /// scanned, then those of the last condition first, since there is nothing to scan as long as
    /// a way's other conditions hold nothing.
    pub(in super::super) fn missing<V>(
        &self,
        now: &Now<V>,
        conditions: usize,
        begun: Option<(usize, i64)>,
    ) -> Vec<(usize, i64)> {
        let all = (0..conditions).rev().flat_map(|condition| {
            let values = now.values(condition).iter();
            values.map(move |(number, _)| (condition, *number))
        });
        let missing = all.filter(|value| !self.contains(value.1) && Some(*value) != begun);
        begun.into_iter().chain(missing).collect()
    }

    /// What changed in the values, if anything did.
    pub(in super::super) fn told(&self, entity: &str) -> Option<Frame> {
        let is_nothing = self.gained.is_empty() && self.lost.is_empty();
        (!is_nothing).then(|| {
            Frame::Held(Held {
                entity: entity.to_owned(),
                gained: self.gained.clone(),
                lost: self.lost.clone(),
            })
        })
    }

    /// All of them after this page, which are remembered for the device's next one.
    pub(in super::super) fn held<V>(
        &self,
        entity: &str,
        now: &Now<V>,
        listed: &Listed<'_>,
    ) -> Held {
        let held = self.digest();
        let mut numbers: Vec<i64> = self.numbers.iter().copied().collect();
        numbers.sort_unstable();
        let by = (held != now.digest).then_some(listed.asking.caller.user.as_str());
        listed.lists.keep(entity, held, by, || numbers.clone());
        Held {
            entity: entity.to_owned(),
            gained: numbers,
            lost: Vec::new(),
        }
    }
}
