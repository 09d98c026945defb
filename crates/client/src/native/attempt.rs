//! One sync of the queue: carried out, once more with another token, and what comes of it noted.

use std::time::Duration;

use super::environment::SystemEnvironment;
use super::hooks::Applied;
use super::sync::{self, Runner};
use super::worker::Shared;
use super::{Settings, lock, token};
use crate::engine::{Event, Report};
use crate::environment::Environment as _;
use crate::error::Error;
use crate::event::SyncEvent;
use crate::queue::{Purpose, Wanted};
use crate::retry::{Ending, FailureClass};

impl Shared {
    /// Tells what a sync says while it runs.
    fn told(&self, told: sync::Told<'_>, applied: &mut Vec<Applied>) {
        match told {
            sync::Told::Progress(progress) => {
                self.progress(progress);
                self.bus.tell(SyncEvent::Progress(progress.clone()));
            }
            sync::Told::UnitCompleted(unit, changed) => {
                let unit = unit.to_owned();
                self.bus
                    .tell(SyncEvent::UnitCompleted { unit: unit.clone() });
                applied.push(Applied { unit, changed });
            }
            sync::Told::Outcomes(outcomes) => self.bus.tell_outcomes(outcomes),
        }
    }

    /// Looks whether units are up to date, and tells where that is something else now.
    pub(super) fn look_at_units(&self) {
        // A store that cannot be read says so to whoever reads it.
        let Ok((mut units, freshness_ms, now_ms)) = lock(&self.runner).units() else {
            return;
        };
        let mut changed = Vec::new();
        let mut state = lock(&self.state);
        state.add_live(&mut units, (self.now(), now_ms));
        let mut stale_ms: Option<i64> = None;
        for unit in units {
            let is_up_to_date = unit.is_up_to_date(now_ms, freshness_ms);
            let fresh_for = unit.fresh_for(now_ms, freshness_ms);
            if let Some(left) = fresh_for.filter(|_| is_up_to_date) {
                stale_ms = Some(stale_ms.map_or(left + 1, |ms| ms.min(left + 1)));
            }
            let before = state.up_to_date.insert(unit.unit.clone(), is_up_to_date);
            if before.unwrap_or(false) != is_up_to_date {
                changed.push((unit.unit, is_up_to_date));
            }
        }
        state.stale_at = stale_ms.map(|ms| self.now().saturating_add(ms));
        drop(state);
        for (unit, is_up_to_date) in changed {
            self.bus.tell(SyncEvent::UpToDate {
                unit,
                is_up_to_date,
            });
        }
    }

    /// Notes what is to be tried again, and when. What a sync has seen of a network that was
    /// another one when it began (`since` so many changes) says nothing of this one.
    pub(super) fn note_end(&self, wanted: &Wanted, result: &Result<Report, Error>, since: u64) {
        // A store that cannot be read says so to whoever reads it.
        let alone = lock(&self.runner).backs_off_for().unwrap_or_default();
        let ending = ending(result);
        if let Ok(report) = result
            && ending != Ending::Cancelled
            && lock(&self.state).network.changes() == since
        {
            self.heard(report.has_answered);
        }
        let mut state = lock(&self.state);
        let was_needed = state.sign_in.is_needed();
        state.sign_in.ended(ending);
        let received = result.as_ref().map_or(&[][..], |report| &report.units);
        let now = self.now();
        state.live.ended(received, now);
        let is_needed = state.sign_in.is_needed();
        let at = (self.now(), random());
        state.schedule.ended(wanted, ending, alone, at);
        drop(state);
        if is_needed != was_needed {
            self.bus.tell(SyncEvent::SignIn { is_needed });
        }
    }

    /// Runs a sync; once more if its token is refused and there is another one.
    pub(super) fn synchronise(&self, wanted: &Wanted) -> Result<Report, Error> {
        let (result, token) = self.attempt(wanted);
        let is_refused = matches!(
            ending(&result),
            Ending::Failed {
                class: FailureClass::SignIn,
                ..
            }
        );
        if !is_refused || !self.sign_in_anew(token.as_deref())? {
            return result;
        }
        self.attempt(wanted).0
    }

    /// Whether there is a token now that `refused` was not: somebody gave one meanwhile, or the
    /// app's callback does.
    fn sign_in_anew(&self, refused: Option<&str>) -> Result<bool, Error> {
        let settings = lock(&self.settings).clone();
        if settings.token.as_deref() != refused {
            return Ok(true);
        }
        let Some(source) = &settings.token_source else {
            return Ok(false);
        };
        if !lock(&self.state).sign_in.may_ask() {
            return Ok(false);
        }
        // No lock is held: the app may ask the network, or whoever holds the device.
        let token = source.token(refused)?;
        lock(&self.state).sign_in.asked();
        let Some(token) = token.filter(|token| Some(token.as_str()) != refused) else {
            return Ok(false);
        };
        token::check_owner(&token, &settings.user)?;
        {
            let mut settings = lock(&self.settings);
            if settings.token_source.is_none() {
                // The user has logged out meanwhile.
                return Ok(false);
            }
            settings.keep_token(&token)?;
            settings.token = Some(token);
        }
        let now = self.now();
        lock(&self.state).live.try_again(now);
        Ok(true)
    }

    /// Runs a sync; gives the token that it ran with too.
    fn attempt(&self, wanted: &Wanted) -> (Result<Report, Error>, Option<String>) {
        let mut runner = lock(&self.runner);
        let settings = lock(&self.settings).clone();
        let result = self.attempt_with(&mut runner, &settings, wanted);
        (result, settings.token)
    }

    fn attempt_with(
        &self,
        runner: &mut Runner,
        settings: &Settings,
        wanted: &Wanted,
    ) -> Result<Report, Error> {
        runner.connect(settings)?;
        runner.leave_out(self.left_out());
        let unit = wanted.unit.clone();
        let event = match wanted.purpose {
            Purpose::Sync(direction) => Event::Start { unit, direction },
            Purpose::Verify { repair } => Event::Verify { unit, repair },
        };
        let deadline = wanted.deadline_ms.and_then(|ms| u64::try_from(ms).ok());
        let what = (event, deadline.map(Duration::from_millis));
        let mut applied = Vec::new();
        // What an earlier sync that did not go through has applied counts to its unit all the same.
        let result = sync::run(runner, &self.control, what, &mut |told| {
            self.told(told, &mut applied);
        });
        if let Ok(report) = &result
            && let ([unit], Some(_)) = (report.units.as_slice(), &wanted.unit)
        {
            let changed = runner.take_changed();
            applied.push(Applied {
                unit: unit.clone(),
                changed,
            });
        }
        applied.retain(|applied| !applied.changed.rows.is_empty());
        lock(&self.state).applied.append(&mut applied);
        result
    }
}

/// How a sync ended, as far as trying again is concerned.
fn ending(result: &Result<Report, Error>) -> Ending {
    let failed = |class, retry_after_ms| Ending::Failed {
        class,
        retry_after_ms,
    };
    match result {
        Ok(report) if report.is_cancelled => Ending::Cancelled,
        Ok(report) => match report.class {
            None => Ending::Done,
            Some(class) => failed(class, report.retry_after_ms),
        },
        Err(error) => failed(FailureClass::of(error.code()), None),
    }
}

/// What spreads devices that fail at the same moment.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    SystemEnvironment.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
