//! How many rows a download is to bring, told with its first page.
//!
//! Only what counting alone tells, of entities whose rows go to the user's devices all: nothing is
//! said of rows that are not his (P7). They are counted once, and no further than a limit (P9).

/// Rows up to which they are counted; of more nobody says how many there are.
const COUNTED_MAX: usize = 1_000_000;

/// What is known of the rows of a page's entities.
#[derive(Debug)]
pub(super) struct Estimate {
    /// Rows of those that start over; `None` if that is not known of all.
    rows: Option<usize>,
    /// Whether any starts over.
    begins: bool,
}

impl Estimate {
    pub(super) fn new() -> Self {
        Self {
            rows: Some(0),
            begins: false,
        }
    }

    /// So many rows of an entity that starts over are to be counted at most; nothing, if nobody
    /// will know in the end.
    pub(super) fn most(&self) -> Option<usize> {
        let counted = self.rows?;
        Some(COUNTED_MAX.saturating_sub(counted).saturating_add(1))
    }

    /// An entity starts over, and has so many rows, if that is known.
    pub(super) fn begins(&mut self, counted: Option<usize>) {
        self.begins = true;
        let all = self.rows.zip(counted);
        let all = all.map(|(rows, counted)| rows.saturating_add(counted));
        self.rows = all.filter(|all| *all <= COUNTED_MAX);
    }

    /// A download of an entity goes on that began in an earlier page.
    pub(super) fn goes_on(&mut self) {
        self.rows = None;
    }

    /// How many rows are to come behind a page that has `sent` so many.
    pub(super) fn remaining(&self, sent: usize) -> Option<u64> {
        let rows = self.rows.filter(|_| self.begins)?;
        u64::try_from(rows.saturating_sub(sent)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_only_if_it_is_known_of_all() {
        let mut estimate = Estimate::new();
        assert_eq!(estimate.remaining(3), None, "nothing begins");
        estimate.begins(Some(10));
        estimate.begins(Some(5));
        assert_eq!(estimate.remaining(3), Some(12));
        assert_eq!(estimate.remaining(20), Some(0));
        estimate.begins(None);
        assert_eq!((estimate.remaining(3), estimate.most()), (None, None));
    }

    #[test]
    fn what_goes_on_from_an_earlier_page_is_not_known() {
        let mut estimate = Estimate::new();
        estimate.begins(Some(10));
        estimate.goes_on();
        assert_eq!(estimate.remaining(3), None);
    }

    #[test]
    fn nothing_is_counted_beyond_the_limit() {
        let mut estimate = Estimate::new();
        assert_eq!(estimate.most(), Some(COUNTED_MAX + 1));
        estimate.begins(Some(COUNTED_MAX));
        assert_eq!(estimate.remaining(0), Some(1_000_000));
        assert_eq!(estimate.most(), Some(1), "whether there is one more");
        estimate.begins(Some(1));
        assert_eq!(estimate.remaining(0), None);
    }
}
