//! How far a sync has come, as it is told.

use afield_protocol::PageEnd;

use super::report::{Phase, Progress, Report};
use crate::store::Begun;

/// What is remembered of what was told.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Rows that had been received when the unit at hand began.
    rows_before: u64,
    /// Rows of that unit which an earlier sync received, of a download that goes on.
    rows_earlier: u64,
    /// The largest part of the unit at hand that was told, in percent.
    percent: Option<u8>,
}

impl Course {
    /// The next unit begins.
    pub(super) fn next_unit(&mut self, report: &Report) {
        *self = Self {
            rows_before: report.pulled,
            ..Self::default()
        };
    }

    /// An earlier sync did not end the download of the unit at hand.
    pub(super) fn take_up(&mut self, begun: Begun) {
        self.rows_earlier = begun.rows;
    }

    /// How far the download of the unit at hand has come, if it has not ended.
    pub(super) fn begun(&self, report: &Report) -> Option<Begun> {
        let remaining = report.remaining.filter(|remaining| *remaining > 0)?;
        Some(Begun {
            rows: self.rows(report),
            remaining,
        })
    }

    /// Rows of the unit's download that are here.
    fn rows(&self, report: &Report) -> u64 {
        let now = report.pulled.saturating_sub(self.rows_before);
        match report.has_begun {
            true => now,
            false => now.saturating_add(self.rows_earlier),
        }
    }

    /// How far the unit at hand has come.
    pub(super) fn progress(
        &mut self,
        report: &Report,
        unit: Option<&String>,
        phase: Phase,
    ) -> Progress {
        let unit_rows = report.pulled.saturating_sub(self.rows_before);
        if let (Phase::Receiving, Some(remaining)) = (phase, report.remaining) {
            // An estimate may grow; what was told does not shrink.
            self.percent = self
                .percent
                .max(Some(percent(self.rows(report), remaining)));
        }
        Progress {
            unit: unit.cloned(),
            phase,
            rows: report.pulled,
            unit_rows,
            remaining: report.remaining,
            percent: self.percent,
            bytes: report.bytes_received,
            settled: report.outcomes.len() as u64,
        }
    }
}

/// How many rows are to come behind a page of so many. The server says it with the first page of a
/// download, as far as it knows; from then on what came since is less.
pub(super) fn to_come(before: Option<u64>, end: &PageEnd, rows: u64) -> Option<u64> {
    match (end.complete, end.remaining) {
        (true, said) => before.or(said).map(|_| 0),
        // Whatever the estimate, something is to come.
        (false, Some(said)) => Some(said.max(1)),
        (false, None) => Some(before?.saturating_sub(rows).max(1)),
    }
}

/// Of `rows` and so many that are still to come, the part that is here; all of it only if none is
/// to come.
fn percent(rows: u64, remaining: u64) -> u8 {
    let all = u128::from(rows) + u128::from(remaining);
    match remaining {
        0 => 100,
        _ => u8::try_from(u128::from(rows) * 100 / all).map_or(99, |part| part.min(99)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(course: &mut Course, pulled: u64, remaining: Option<u64>) -> (u64, Option<u8>) {
        let report = Report {
            pulled,
            remaining,
            ..Report::default()
        };
        let progress = course.progress(&report, None, Phase::Receiving);
        (progress.unit_rows, progress.percent)
    }

    #[test]
    fn the_part_never_shrinks_and_is_whole_only_in_the_end() {
        let mut course = Course::default();
        assert_eq!(
            told(&mut course, 10, None),
            (10, None),
            "nobody said how many"
        );
        assert_eq!(told(&mut course, 50, Some(50)), (50, Some(50)));
        assert_eq!(
            told(&mut course, 60, Some(540)),
            (60, Some(50)),
            "more came"
        );
        assert_eq!(told(&mut course, u64::MAX, Some(1)), (u64::MAX, Some(99)));
        assert_eq!(told(&mut course, u64::MAX, Some(u64::MAX)).1, Some(99));
        assert_eq!(told(&mut course, u64::MAX, Some(0)).1, Some(100));
    }

    #[test]
    fn what_is_to_come_is_said_once_and_becomes_less_until_nothing_is() {
        let page = |complete, remaining| PageEnd {
            to: Vec::new(),
            complete,
            remaining,
        };
        assert_eq!(to_come(None, &page(false, None), 10), None, "nobody said");
        assert_eq!(to_come(None, &page(true, None), 10), None);
        assert_eq!(to_come(None, &page(false, Some(90)), 10), Some(90));
        assert_eq!(to_come(Some(90), &page(false, None), 20), Some(70));
        assert_eq!(to_come(Some(70), &page(false, Some(300)), 10), Some(300));
        assert_eq!(
            to_come(Some(5), &page(false, None), 20),
            Some(1),
            "more came"
        );
        assert_eq!(to_come(None, &page(false, Some(0)), 10), Some(1));
        assert_eq!(to_come(Some(5), &page(true, None), 20), Some(0));
    }

    #[test]
    fn a_download_that_goes_on_is_told_from_where_it_was() {
        let mut course = Course::default();
        let begun = Begun {
            rows: 60,
            remaining: 40,
        };
        course.take_up(begun);
        let mut report = Report {
            remaining: Some(begun.remaining),
            ..Report::default()
        };
        assert_eq!(course.begun(&report), Some(begun));
        (report.pulled, report.remaining) = (10, Some(30));
        let progress = course.progress(&report, None, Phase::Receiving);
        assert_eq!((progress.unit_rows, progress.percent), (10, Some(70)));
        assert_eq!(course.begun(&report).map(|it| it.rows), Some(70));
        // It began anew: what was here before does not count.
        let mut course = Course::default();
        course.take_up(begun);
        report.has_begun = true;
        let progress = course.progress(&report, None, Phase::Receiving);
        assert_eq!(progress.percent, Some(25));
        report.remaining = Some(0);
        assert_eq!(course.begun(&report), None, "all is here");
    }

    #[test]
    fn each_unit_begins_at_nothing() {
        let mut course = Course::default();
        told(&mut course, 100, Some(0));
        course.next_unit(&Report {
            pulled: 100,
            ..Report::default()
        });
        assert_eq!(told(&mut course, 110, Some(90)), (10, Some(10)));
    }
}
