//! "Who wins", written down for two devices: what each did to a row that both had seen, and how
//! the change of the one that is synchronised second ends.
//!
//! The three ends of an order stand for `last-write-wins`, `detect-conflicts` by record, and
//! `detect-conflicts` by attribute. Rows are `[a, b, n]`; `n` is a counter. What the table says of
//! scopes (`key-taken`, `forbidden`) is in `storage::conformance::rights`; what it says of
//! `unknown-before` comes with retention.

/// A row as `[a, b, n]`, or none. 0 stands for null.
pub(super) type Row = Option<[i64; 3]>;

/// What a device does, in one transaction.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Deed {
    /// Nothing.
    Idle,
    /// Updates the row.
    Set(&'static str),
    /// Deletes it.
    Delete,
    /// Creates it: columns and values.
    Create(&'static str, &'static str),
    /// Deletes and creates it, which is an update.
    Replace(&'static str, &'static str),
}

/// What else a device does.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum With {
    /// Nothing.
    Nothing,
    /// In the same transaction it updates another row, which nobody else touches.
    Mate,
    /// In a later transaction it makes a leaf that refers to the row.
    Leaf,
    /// When the conflict is open it sets `b = 7`.
    Edit,
    /// Nothing; the server has the row `[8, 8, 8]`, which counts as deleted.
    Deleted,
}

/// How the second one's change ends.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// It made none; this row is what it gets.
    Unchanged(Row),
    /// Applied, and this row is everywhere.
    Applied(Row),
    /// The same, and the ledger keeps these values, which its user never saw.
    Overwrote(Row, &'static [(&'static str, i64)]),
    /// A person decides.
    Conflict(Clash),
    /// Refused.
    Rejected(Refusal),
}

/// An open conflict.
#[derive(Clone, Copy)]
pub(super) struct Clash {
    pub(super) code: &'static str,
    /// What its user sees meanwhile, and everybody if he insists.
    pub(super) mine: Row,
    /// What everybody else sees.
    pub(super) theirs: Row,
    /// Where both differ.
    pub(super) attributes: &'static [&'static str],
}

/// A refused change.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    /// What its user sees until he decides.
    pub(super) mine: Row,
    /// What everybody else sees, and everybody once he gives up.
    pub(super) theirs: Row,
    /// What everybody sees once `shelf` is 1 in it; nothing helps if there is none.
    pub(super) mended: Row,
}

/// A line of the table.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// The row that both have seen.
    pub(super) seen: Row,
    pub(super) a: Deed,
    pub(super) b: Deed,
    pub(super) with: With,
    /// How B's change ends, if A was first.
    pub(super) b_second: [End; 3],
    /// How A's change ends, if B was first; empty where that says nothing new.
    pub(super) a_second: &'static [End],
}

use Deed::{Create, Delete, Idle, Replace, Set};
use End::{Applied, Overwrote, Unchanged};

const SEEN: Row = row(1, 1, 10);

const NULL: i64 = 0;

const fn row(a: i64, b: i64, n: i64) -> Row {
    Some([a, b, n])
}

/// The row was changed: theirs, mine, where they differ.
const fn changed(theirs: Row, mine: Row, attributes: &'static [&'static str]) -> End {
    End::Conflict(Clash {
        code: "row-changed",
        mine,
        theirs,
        attributes,
    })
}

/// The identifier is taken: theirs, mine, where they differ.
const fn exists(theirs: Row, mine: Row, attributes: &'static [&'static str]) -> End {
    End::Conflict(Clash {
        code: "key-exists",
        mine,
        theirs,
        attributes,
    })
}

const GONE: End = End::Rejected(Refusal {
    code: "gone",
    mine: None,
    theirs: None,
    mended: None,
});

/// A reference to nothing: theirs, mine, and what it becomes once it refers to something.
const fn reference(theirs: Row, mine: Row) -> End {
    End::Rejected(Refusal {
        code: "reference",
        mine,
        theirs,
        mended: mine,
    })
}

/// A line whose first half is alone.
const ALONE: Line = Line {
    name: "",
    seen: SEEN,
    a: Idle,
    b: Idle,
    with: With::Nothing,
    b_second: [Unchanged(SEEN); 3],
    a_second: &[],
};

/// Every line.
pub(super) const LINES: &[Line] = &[
    Line {
        name: "update | unchanged",
        a: Set("a = 2"),
        b: Idle,
        b_second: [Unchanged(row(2, 1, 10)); 3],
        a_second: &[Applied(row(2, 1, 10)); 3],
        ..ALONE
    },
    Line {
        name: "update | other attributes updated",
        a: Set("a = 2"),
        b: Set("b = 9"),
        b_second: [
            Applied(row(2, 9, 10)),
            changed(row(2, 1, 10), row(2, 9, 10), &["b"]),
            Applied(row(2, 9, 10)),
        ],
        a_second: &[
            Applied(row(2, 9, 10)),
            changed(row(1, 9, 10), row(2, 9, 10), &["a"]),
            Applied(row(2, 9, 10)),
        ],
        ..ALONE
    },
    Line {
        name: "update | same attribute updated",
        a: Set("a = 2"),
        b: Set("a = 9"),
        b_second: [
            Overwrote(row(9, 1, 10), &[("a", 2)]),
            changed(row(2, 1, 10), row(9, 1, 10), &["a"]),
            changed(row(2, 1, 10), row(9, 1, 10), &["a"]),
        ],
        a_second: &[
            Overwrote(row(2, 1, 10), &[("a", 9)]),
            changed(row(9, 1, 10), row(2, 1, 10), &["a"]),
            changed(row(9, 1, 10), row(2, 1, 10), &["a"]),
        ],
        ..ALONE
    },
    Line {
        name: "update of two | one of them updated",
        a: Set("a = 2, b = 2"),
        b: Set("b = 9"),
        b_second: [
            Overwrote(row(2, 9, 10), &[("b", 2)]),
            changed(row(2, 2, 10), row(2, 9, 10), &["b"]),
            changed(row(2, 2, 10), row(2, 9, 10), &["b"]),
        ],
        a_second: &[
            Overwrote(row(2, 2, 10), &[("b", 9)]),
            changed(row(1, 9, 10), row(2, 2, 10), &["a", "b"]),
            changed(row(1, 9, 10), row(2, 2, 10), &["a", "b"]),
        ],
        ..ALONE
    },
    Line {
        name: "update | updated to the same value",
        a: Set("a = 2"),
        b: Set("a = 2"),
        b_second: [Applied(row(2, 1, 10)); 3],
        a_second: &[Applied(row(2, 1, 10)); 3],
        ..ALONE
    },
    Line {
        name: "update of two | one of them updated to the same value",
        a: Set("a = 2, b = 2"),
        b: Set("a = 2"),
        b_second: [Applied(row(2, 2, 10)); 3],
        a_second: &[
            Applied(row(2, 2, 10)),
            changed(row(2, 1, 10), row(2, 2, 10), &["b"]),
            Applied(row(2, 2, 10)),
        ],
        ..ALONE
    },
    Line {
        name: "update | deleted; delete | updated",
        a: Set("a = 2"),
        b: Delete,
        b_second: [
            Overwrote(None, &[("a", 2)]),
            changed(row(2, 1, 10), None, &["a"]),
            changed(row(2, 1, 10), None, &["a"]),
        ],
        a_second: &[GONE; 3],
        ..ALONE
    },
    Line {
        name: "update to null | other attributes updated",
        a: Set("a = NULL"),
        b: Set("b = 9"),
        b_second: [
            Applied(row(NULL, 9, 10)),
            changed(row(NULL, 1, 10), row(NULL, 9, 10), &["b"]),
            Applied(row(NULL, 9, 10)),
        ],
        a_second: &[
            Applied(row(NULL, 9, 10)),
            changed(row(1, 9, 10), row(NULL, 9, 10), &["a"]),
            Applied(row(NULL, 9, 10)),
        ],
        ..ALONE
    },
    Line {
        name: "update of a counter | updated",
        a: Set("n = n + 3"),
        b: Set("n = n + 5"),
        b_second: [Applied(row(1, 1, 18)); 3],
        a_second: &[Applied(row(1, 1, 18)); 3],
        ..ALONE
    },
    Line {
        name: "update of a counter | another attribute updated",
        a: Set("n = n + 3"),
        b: Set("a = 2"),
        b_second: [Applied(row(2, 1, 13)); 3],
        a_second: &[
            Applied(row(2, 1, 13)),
            changed(row(2, 1, 10), row(2, 1, 13), &["n"]),
            Applied(row(2, 1, 13)),
        ],
        ..ALONE
    },
    Line {
        name: "update of a counter and more | counter updated",
        a: Set("n = n + 3, a = 2"),
        b: Set("n = n + 5"),
        b_second: [
            Applied(row(2, 1, 18)),
            changed(row(2, 1, 13), row(2, 1, 18), &["n"]),
            Applied(row(2, 1, 18)),
        ],
        a_second: &[Applied(row(2, 1, 18)); 3],
        ..ALONE
    },
    Line {
        name: "update of a counter and more | the same updated",
        a: Set("n = n + 3, a = 2"),
        b: Set("n = n + 5, a = 9"),
        b_second: [
            Overwrote(row(9, 1, 18), &[("a", 2)]),
            changed(row(2, 1, 13), row(9, 1, 18), &["a", "n"]),
            changed(row(2, 1, 13), row(9, 1, 18), &["a", "n"]),
        ],
        a_second: &[
            Overwrote(row(2, 1, 18), &[("a", 9)]),
            changed(row(9, 1, 15), row(2, 1, 18), &["a", "n"]),
            changed(row(9, 1, 15), row(2, 1, 18), &["a", "n"]),
        ],
        ..ALONE
    },
    Line {
        name: "update of a counter | deleted; delete | counter updated",
        a: Set("n = n + 3"),
        b: Delete,
        b_second: [
            Overwrote(None, &[("n", 13)]),
            changed(row(1, 1, 13), None, &["n"]),
            changed(row(1, 1, 13), None, &["n"]),
        ],
        a_second: &[GONE; 3],
        ..ALONE
    },
    Line {
        name: "delete | unchanged",
        a: Delete,
        b: Idle,
        b_second: [Unchanged(None); 3],
        a_second: &[Applied(None); 3],
        ..ALONE
    },
    Line {
        name: "delete | deleted",
        a: Delete,
        b: Delete,
        b_second: [Applied(None); 3],
        a_second: &[Applied(None); 3],
        ..ALONE
    },
    Line {
        name: "create | no such key",
        seen: None,
        a: Create("a, b, n", "1, 5, 10"),
        b: Idle,
        b_second: [Unchanged(row(1, 5, 10)); 3],
        a_second: &[Applied(row(1, 5, 10)); 3],
        ..ALONE
    },
    Line {
        name: "create | created with equal values",
        seen: None,
        a: Create("a, b, n", "3, 4, 10"),
        b: Create("a, b, n", "3, 4, 10"),
        b_second: [Applied(row(3, 4, 10)); 3],
        a_second: &[Applied(row(3, 4, 10)); 3],
        ..ALONE
    },
    Line {
        name: "create | created with other values",
        seen: None,
        a: Create("a, b, n", "2, 1, 10"),
        b: Create("a, b, n", "9, 1, 10"),
        b_second: [exists(row(2, 1, 10), row(9, 1, 10), &["a"]); 3],
        a_second: &[exists(row(9, 1, 10), row(2, 1, 10), &["a"]); 3],
        ..ALONE
    },
    Line {
        name: "delete and create | updated",
        a: Replace("a, b, n", "2, 1, 10"),
        b: Set("b = 9"),
        b_second: [
            Applied(row(2, 9, 10)),
            changed(row(2, 1, 10), row(2, 9, 10), &["b"]),
            Applied(row(2, 9, 10)),
        ],
        a_second: &[
            Applied(row(2, 9, 10)),
            changed(row(1, 9, 10), row(2, 9, 10), &["a"]),
            Applied(row(2, 9, 10)),
        ],
        ..ALONE
    },
    Line {
        name: "update, reference to nothing | unchanged",
        a: Idle,
        b: Set("a = 2, shelf = 999"),
        b_second: [reference(SEEN, row(2, 1, 10)); 3],
        ..ALONE
    },
    Line {
        name: "create, reference to nothing | no such key",
        seen: None,
        a: Idle,
        b: Create("a, b, n, shelf", "2, 1, 10, 999"),
        b_second: [reference(None, row(2, 1, 10)); 3],
        ..ALONE
    },
    Line {
        name: "create, reference to nothing, its leaf waits",
        seen: None,
        a: Idle,
        b: Create("a, b, n, shelf", "2, 1, 10, 999"),
        with: With::Leaf,
        b_second: [reference(None, row(2, 1, 10)); 3],
        ..ALONE
    },
    Line {
        name: "create | created with other values, its leaf waits",
        seen: None,
        a: Create("a, b, n", "2, 1, 10"),
        b: Create("a, b, n", "9, 1, 10"),
        with: With::Leaf,
        b_second: [exists(row(2, 1, 10), row(9, 1, 10), &["a"]); 3],
        a_second: &[exists(row(9, 1, 10), row(2, 1, 10), &["a"]); 3],
    },
    Line {
        name: "update with another row's | same attribute updated",
        a: Set("a = 2"),
        b: Set("a = 9"),
        with: With::Mate,
        b_second: [
            Overwrote(row(9, 1, 10), &[("a", 2)]),
            changed(row(2, 1, 10), row(9, 1, 10), &["a"]),
            changed(row(2, 1, 10), row(9, 1, 10), &["a"]),
        ],
        a_second: &[
            Overwrote(row(2, 1, 10), &[("a", 9)]),
            changed(row(9, 1, 10), row(2, 1, 10), &["a"]),
            changed(row(9, 1, 10), row(2, 1, 10), &["a"]),
        ],
        ..ALONE
    },
    Line {
        name: "update with another row's | deleted; delete with another row's | updated",
        a: Set("a = 2"),
        b: Delete,
        with: With::Mate,
        b_second: [
            Overwrote(None, &[("a", 2)]),
            changed(row(2, 1, 10), None, &["a"]),
            changed(row(2, 1, 10), None, &["a"]),
        ],
        a_second: &[GONE; 3],
        ..ALONE
    },
    Line {
        name: "update with another row's, reference to nothing | unchanged",
        a: Idle,
        b: Set("a = 2, shelf = 999"),
        with: With::Mate,
        b_second: [reference(SEEN, row(2, 1, 10)); 3],
        ..ALONE
    },
    Line {
        name: "update | same attribute updated, edited once more",
        a: Set("a = 2"),
        b: Set("a = 9"),
        with: With::Edit,
        b_second: [
            Overwrote(row(9, 1, 10), &[("a", 2)]),
            changed(row(2, 1, 10), row(9, 7, 10), &["a", "b"]),
            changed(row(2, 1, 10), row(9, 7, 10), &["a", "b"]),
        ],
        a_second: &[
            Overwrote(row(2, 1, 10), &[("a", 9)]),
            changed(row(9, 1, 10), row(2, 7, 10), &["a", "b"]),
            changed(row(9, 1, 10), row(2, 7, 10), &["a", "b"]),
        ],
        ..ALONE
    },
    Line {
        name: "create | soft-deleted",
        seen: None,
        a: Create("a, b, n", "1, 5, 10"),
        b: Idle,
        with: With::Deleted,
        b_second: [Unchanged(row(1, 5, 10)); 3],
        a_second: &[Applied(row(1, 5, 10)); 3],
    },
    Line {
        name: "create with one value | soft-deleted",
        seen: None,
        a: Create("a", "2"),
        b: Idle,
        with: With::Deleted,
        b_second: [Unchanged(row(2, 8, 8)); 3],
        a_second: &[Applied(row(2, 8, 8)); 3],
    },
    Line {
        name: "create | soft-deleted, created with equal values",
        seen: None,
        a: Create("a, b, n", "3, 4, 10"),
        b: Create("a, b, n", "3, 4, 10"),
        with: With::Deleted,
        b_second: [Applied(row(3, 4, 10)); 3],
        a_second: &[Applied(row(3, 4, 10)); 3],
    },
    Line {
        name: "create | soft-deleted, created with other values",
        seen: None,
        a: Create("a, b, n", "2, 1, 10"),
        b: Create("a, b, n", "9, 1, 10"),
        with: With::Deleted,
        b_second: [exists(row(2, 1, 10), row(9, 1, 10), &["a"]); 3],
        a_second: &[exists(row(9, 1, 10), row(2, 1, 10), &["a"]); 3],
    },
];
