//! What a sync does about an answer that did not come, not whole, or not as hoped.

use afield_protocol::{Code, GroupId, limits, zoo};

use super::exchange::Exchange;
use super::report::Failure;
use super::{Command, Run, Verifying};
use crate::backoff;
use crate::error::Error;
use crate::store::{GROUP_PAUSE_MAX_MS, SyncStore};

/// Failures in a row without any progress after which a sync gives up; the next sync continues.
const ATTEMPTS: u32 = 4;

/// Groups failing alone, one after another, after which the server itself counts as failing.
const LONE_FAILURES: u32 = 5;

/// Times that a sync starts over because another one of the same store was faster, or because
/// the model changed under it.
pub(super) const RESTARTS: u32 = 5;

/// First pause after a failure; it doubles up to [`PAUSE_MAX_MS`].
const PAUSE_MS: i64 = 250;

/// Longest pause inside one sync.
const PAUSE_MAX_MS: i64 = 5_000;

/// First pause of a group that failed alone; it is four times as long each time, up to
/// [`GROUP_PAUSE_MAX_MS`].
const GROUP_PAUSE_MS: i64 = 5_000;

/// Answers in a row that want the values held before a sync gives up: the first request with the
/// list should have told the server all there is to know.
const HELD_WANTED: u32 = 3;

/// Times that a sync tells the server all that was settled before it gives up: a database may be
/// set back in the middle of a sync, but not again and again.
const HISTORY_WANTED: u32 = 3;

impl Run {
    /// Starts the exchange over, from positions or a model that others changed meanwhile.
    pub(super) fn restart(
        &mut self,
        store: &mut SyncStore,
        code: &Code,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        commands.push(Command::Abort);
        self.exchange = None;
        self.restarts += 1;
        if self.restarts > RESTARTS {
            let message = "the store or the server's model kept changing during the sync";
            return self.finish(store, Some((code.clone(), message.into())), commands);
        }
        if *code == Code::MODEL_CHANGED {
            self.model = None;
        }
        self.next(store, commands)
    }

    /// Sends the request again with the values of scopes whose rows the device has. Groups that
    /// had their outcomes are no longer among what it sends.
    pub(super) fn tell_held(
        &mut self,
        store: &mut SyncStore,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        commands.push(Command::Abort);
        self.exchange = None;
        self.held_wanted += 1;
        if self.held_wanted > HELD_WANTED {
            let message = "the server keeps asking which values of its scope this device has rows \
                           of; it was told each time";
            return self.finish(store, Some((Code::HELD_WANTED, message.into())), commands);
        }
        self.caps.held = true;
        self.next(store, commands)
    }

    /// Tells the server what was settled behind place `after` of the outbox: its database is not
    /// the one that this device last heard of.
    pub(super) fn offer(
        &mut self,
        store: &mut SyncStore,
        after: i64,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let Some(model) = &self.model else {
            return self.next(store, commands);
        };
        if after == 0 && self.offered >= HISTORY_WANTED {
            let message = "the server keeps asking what was settled; it was told each time";
            return self.finish(
                store,
                Some((Code::HISTORY_WANTED, message.into())),
                commands,
            );
        }
        let (exchange, body) = Exchange::offer(model, store.offer(after)?);
        self.report.bytes_sent += body.len() as u64;
        self.exchange = Some(exchange);
        commands.push(Command::Send { body });
        Ok(())
    }

    /// Decides what a failure means for this sync.
    pub(super) fn failed(
        &mut self,
        store: &mut SyncStore,
        failure: Failure,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let exchange = self.exchange.take();
        let is_due = matches!(self.verifying, Verifying::Due(_));
        if is_due && exchange.as_ref().is_some_and(|it| !it.asked.is_empty()) {
            // Whatever is wrong: the sync goes on without.
            (self.verifying, self.check) = (Verifying::Never, None);
            return self.next(store, commands);
        }
        if failure.code == Code::UPDATE_REQUIRED && !self.tried_newer {
            (self.tried_newer, self.model) = (true, None);
            return self.next(store, commands);
        }
        if let Some(exchange) = &exchange
            && self.goes_without(store, exchange, &failure)?
        {
            return self.next(store, commands);
        }
        let progressed = exchange
            .as_ref()
            .is_some_and(|exchange| exchange.progressed);
        if progressed && failure.is_passing() {
            self.attempts = 0;
            return self.next(store, commands);
        }
        let largest = exchange.as_ref().map_or(0, |exchange| exchange.largest);
        let groups: Vec<GroupId> = exchange.map_or_else(Vec::new, |exchange| {
            let part = exchange.part.map(|(group, _)| group);
            exchange.groups.into_iter().chain(part).collect()
        });
        let unsettled =
            !progressed && failure.may_be_a_groups_fault() && !zoo::planted("bad-group-blocks-all");
        let too_long = !progressed && failure.may_be_the_size();
        match groups.as_slice() {
            [_, _, ..] if unsettled => {
                self.suspects = groups.len();
                self.caps.groups = part_of(self.suspects);
                return self.next(store, commands);
            }
            [_, _, ..] if too_long => {
                self.caps.groups = groups.len() / 2;
                return self.next(store, commands);
            }
            [group] if !progressed && failure.is_a_group_too_large() => {
                // No later try could help it, and nothing else need wait.
                self.suspects = 0;
                store.park_too_large(*group, &failure.message)?;
                return self.next(store, commands);
            }
            [_] if (unsettled || too_long) && largest > limits::PART_BYTES_MIN => {
                self.caps.part = (largest / 2).max(limits::PART_BYTES_MIN);
                return self.next(store, commands);
            }
            [group] if unsettled && self.lone_failures < LONE_FAILURES => {
                self.lone_failures += 1;
                self.wait_alone(store, *group)?;
                return self.next(store, commands);
            }
            _ => {}
        }
        self.pause(store, failure, commands)
    }

    /// Whether the request goes again without what only comes along: a log is never the reason why
    /// a change waits, and a server of before understands nothing of decisions.
    fn goes_without(
        &mut self,
        store: &mut SyncStore,
        exchange: &Exchange,
        failure: &Failure,
    ) -> Result<bool, Error> {
        let is_malformed = failure.code == Code::MALFORMED;
        let may_be_it = failure.may_be_a_groups_fault() || failure.may_be_the_size();
        if exchange.carries_log() && may_be_it {
            self.caps.log = false;
            if is_malformed {
                store.log_refused()?;
            }
            return Ok(true);
        }
        if exchange.tells_of_refused() && is_malformed {
            store.inbox_refused()?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Waits a little for the same request once more, or gives up for now.
    fn pause(
        &mut self,
        store: &mut SyncStore,
        failure: Failure,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        self.attempts += 1;
        // Whoever is to wait for long waits between syncs, where others can run.
        let is_long = failure
            .retry_after_ms
            .is_some_and(|asked| asked > PAUSE_MAX_MS);
        if !failure.is_passing() || is_long || self.attempts >= ATTEMPTS {
            self.report.class = Some(failure.class());
            self.report.retry_after_ms = failure.retry_after_ms;
            return self.finish(store, Some((failure.code, failure.message)), commands);
        }
        let pause = jittered(store, PAUSE_MS, PAUSE_MAX_MS, self.attempts - 1);
        let ms = failure
            .retry_after_ms
            .map_or(pause, |asked| asked.max(pause));
        commands.push(Command::Wait { ms });
        Ok(())
    }

    /// Lets a group wait, longer each time, while the rest goes on.
    pub(super) fn wait_alone(
        &mut self,
        store: &mut SyncStore,
        group: GroupId,
    ) -> Result<(), Error> {
        self.suspects = 0;
        // Four times as long each time: what a server fails at is mended by a person.
        let attempts = store.attempts(group)?.saturating_mul(2);
        let pause = jittered(store, GROUP_PAUSE_MS, GROUP_PAUSE_MAX_MS, attempts);
        store.back_off(group, pause)?;
        self.report.backed_off += 1;
        Ok(())
    }
}

/// So many of the groups among which one makes the server fail are sent next: few attempts fail
/// before it is alone.
pub(super) fn part_of(suspects: usize) -> usize {
    (suspects / 8).max(1)
}

/// A pause before another attempt, by the store's randomness.
fn jittered(store: &mut SyncStore, first_ms: i64, max_ms: i64, attempts: u32) -> i64 {
    let mut random = [0; 8];
    store.fill(&mut random);
    let random = i64::from_le_bytes(random).unsigned_abs();
    backoff::pause(first_ms, max_ms, attempts, random)
}
