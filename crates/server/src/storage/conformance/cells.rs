//! Who wins: every cell of the table, first sent and sent again after a lost answer.

use afield_protocol::{Attributes, Change, Code, Op, Theirs, Value, Verdict, VerdictKind};

use super::Database;
use super::pushes::{change, group, push, set};

/// The entities of the three rules: last-write-wins, detect-conflicts by record, by attribute.
const ENTITIES: [&str; 3] = ["paper", "card", "slip"];

/// A line of the table.
struct Line {
    /// What it is about.
    name: &'static str,
    op: Op,
    /// What the device sets.
    set: &'static [(&'static str, i64)],
    /// What another program did to the row meanwhile.
    meanwhile: Meanwhile,
    /// How it ends under each rule.
    ends: [End; 3],
}

/// What happened on the server since the device saw the row.
#[derive(Clone, Copy)]
enum Meanwhile {
    Nothing,
    Set(&'static str),
    Gone,
}

/// How a cell ends.
#[derive(Clone, Copy)]
enum End {
    /// The row is as the device wants it, with these attributes.
    Row(&'static [(&'static str, i64)]),
    /// As before, and these values that nobody on the device saw are told.
    Overwrote(
        &'static [(&'static str, i64)],
        &'static [(&'static str, i64)],
    ),
    /// No row is left.
    NoRow,
    /// No row is left, and these values that nobody on the device saw are told.
    NoRowOverwrote(&'static [(&'static str, i64)]),
    /// A conflict with this code.
    Conflict(&'static str),
    /// Refused with this code.
    Rejected(&'static str),
}

use End::{Conflict, NoRow, NoRowOverwrote, Overwrote, Rejected, Row};
use Meanwhile::{Gone, Nothing, Set};

/// The row as the device saw it.
const SEEN: [(&str, i64); 3] = [("a", 1), ("b", 1), ("n", 10)];

const CHANGED: End = Conflict("row-changed");
const EXISTS: End = Conflict("key-exists");

/// Every line that this version builds: what speaks of scopes and of soft deletes comes with them.
const LINES: &[Line] = &[
    Line {
        name: "update, unchanged",
        op: Op::Update,
        set: &[("a", 2)],
        meanwhile: Nothing,
        ends: [Row(&[("a", 2), ("b", 1)]); 3],
    },
    Line {
        name: "update, other attributes changed",
        op: Op::Update,
        set: &[("a", 2)],
        meanwhile: Set("b = 9"),
        ends: [
            Row(&[("a", 2), ("b", 9)]),
            CHANGED,
            Row(&[("a", 2), ("b", 9)]),
        ],
    },
    Line {
        name: "update, same attribute changed",
        op: Op::Update,
        set: &[("a", 2)],
        meanwhile: Set("a = 9"),
        ends: [
            Overwrote(&[("a", 2), ("b", 1)], &[("a", 9)]),
            CHANGED,
            CHANGED,
        ],
    },
    Line {
        name: "update of two, one of them changed",
        op: Op::Update,
        set: &[("a", 2), ("b", 2)],
        meanwhile: Set("b = 9"),
        ends: [
            Overwrote(&[("a", 2), ("b", 2)], &[("b", 9)]),
            CHANGED,
            CHANGED,
        ],
    },
    Line {
        name: "update, changed to the same values",
        op: Op::Update,
        set: &[("a", 2)],
        meanwhile: Set("a = 2"),
        ends: [Row(&[("a", 2), ("b", 1)]); 3],
    },
    Line {
        name: "update, gone",
        op: Op::Update,
        set: &[("a", 2)],
        meanwhile: Gone,
        ends: [Rejected("gone"); 3],
    },
    Line {
        name: "update of a counter, unchanged",
        op: Op::Update,
        set: &[("n", 13)],
        meanwhile: Nothing,
        ends: [Row(&[("n", 13)]); 3],
    },
    Line {
        name: "update of a counter, counter changed",
        op: Op::Update,
        set: &[("n", 13)],
        meanwhile: Set("n = 20"),
        ends: [Row(&[("n", 23), ("a", 1)]); 3],
    },
    Line {
        name: "update of a counter and more, counter changed",
        op: Op::Update,
        set: &[("n", 13), ("a", 2)],
        meanwhile: Set("n = 20"),
        ends: [Row(&[("n", 23), ("a", 2)]); 3],
    },
    Line {
        name: "update of a counter, gone",
        op: Op::Update,
        set: &[("n", 13)],
        meanwhile: Gone,
        ends: [Rejected("gone"); 3],
    },
    Line {
        name: "delete, unchanged",
        op: Op::Delete,
        set: &[],
        meanwhile: Nothing,
        ends: [NoRow; 3],
    },
    Line {
        name: "delete, changed",
        op: Op::Delete,
        set: &[],
        meanwhile: Set("a = 9"),
        ends: [NoRowOverwrote(&[("a", 9)]), CHANGED, CHANGED],
    },
    Line {
        name: "delete, gone",
        op: Op::Delete,
        set: &[],
        meanwhile: Gone,
        ends: [NoRow; 3],
    },
    Line {
        name: "create, no such key",
        op: Op::Create,
        set: &[("a", 1), ("b", 5)],
        meanwhile: Gone,
        ends: [Row(&[("a", 1), ("b", 5)]); 3],
    },
    Line {
        name: "create, key exists, equal values",
        op: Op::Create,
        set: &[("a", 1), ("b", 1)],
        meanwhile: Nothing,
        ends: [Row(&[("a", 1), ("b", 1), ("n", 10)]); 3],
    },
    Line {
        name: "create, key exists, other values",
        op: Op::Create,
        set: &[("a", 2)],
        meanwhile: Nothing,
        ends: [EXISTS; 3],
    },
    Line {
        name: "create, reference to a row that is not there",
        op: Op::Create,
        set: &[("order_no", 999)],
        meanwhile: Gone,
        ends: [Rejected("reference"); 3],
    },
    Line {
        name: "update, reference to a row that is not there",
        op: Op::Update,
        set: &[("order_no", 999)],
        meanwhile: Nothing,
        ends: [Rejected("reference"); 3],
    },
];

/// Every line under every rule. Then the answer is lost, another program writes, and the group
/// comes again: it gets the same answer and touches nothing.
pub fn p2_p6_every_cell_of_who_wins(db: &mut dyn Database) {
    let mut id = 0;
    for line in LINES {
        for (entity, end) in ENTITIES.into_iter().zip(line.ends) {
            id += 1;
            Cell {
                db,
                line,
                entity,
                id,
            }
            .check(end);
        }
    }
}

struct Cell<'a> {
    db: &'a dyn Database,
    line: &'a Line,
    entity: &'static str,
    /// Of the row and of the group.
    id: u8,
}

impl Cell<'_> {
    fn check(&self, end: End) {
        let place = format!("{}, {}", self.line.name, self.entity);
        self.begin();
        let group = group(self.id, vec![self.change()]);
        let before = self.row();
        let outcome = push(self.db, std::slice::from_ref(&group)).remove(0);
        let verdict = &outcome.verdicts[0];
        self.check_end(verdict, end, before.as_ref(), &place);
        // Somebody else goes on with the row, or with another one under its key.
        let (entity, id) = (self.entity, self.id);
        self.db
            .execute(&format!("DELETE FROM {entity} WHERE id = {id}"));
        self.db.execute(&format!(
            "INSERT INTO {entity} (id, a, n) VALUES ({id}, 77, 77)"
        ));
        let theirs = self.row();
        let again = push(self.db, std::slice::from_ref(&group)).remove(0);
        assert_eq!(again, outcome, "{place}: the repeat is answered otherwise");
        assert_eq!(self.row(), theirs, "{place}: the repeat took effect");
    }

    fn begin(&self) {
        let (entity, id) = (self.entity, self.id);
        let run = |sql: &str| self.db.execute(sql);
        run(&format!(
            "INSERT INTO {entity} (id, a, b, n) VALUES ({id}, 1, 1, 10)"
        ));
        match self.line.meanwhile {
            Nothing => {}
            Set(values) => run(&format!("UPDATE {entity} SET {values} WHERE id = {id}")),
            Gone => run(&format!("DELETE FROM {entity} WHERE id = {id}")),
        }
    }

    fn change(&self) -> Change {
        let values = attributes(self.line.set);
        let key = vec![Value::from(i64::from(self.id))];
        let mut made = change(self.line.op, self.entity, key, &[]);
        made.set = values;
        if self.line.op != Op::Create {
            made.base = attributes(&SEEN);
            made.base.insert("order_no".into(), Value::Null);
        }
        made
    }

    /// The row as the server has it.
    fn row(&self) -> Option<Attributes> {
        let (entity, id) = (self.entity, self.id);
        let sql = format!("SELECT a, b, n, order_no FROM {entity} WHERE id = {id}");
        let row = self.db.query(&sql).pop()?;
        let names = ["a", "b", "n", "order_no"];
        Some(names.map(str::to_owned).into_iter().zip(row).collect())
    }

    fn check_end(&self, verdict: &Verdict, end: End, before: Option<&Attributes>, place: &str) {
        let (kind, code, overwritten) = match &end {
            Row(_) | NoRow => (VerdictKind::Applied, None, &[][..]),
            Overwrote(_, values) | NoRowOverwrote(values) => (VerdictKind::Applied, None, *values),
            Conflict(code) => (VerdictKind::Conflict, Some(*code), &[][..]),
            Rejected(code) => (VerdictKind::Rejected, Some(*code), &[][..]),
        };
        assert_eq!(
            (verdict.kind, verdict.code.as_ref().map(Code::as_str)),
            (kind, code),
            "{place}: {verdict:?}"
        );
        assert_eq!(verdict.overwritten, attributes(overwritten), "{place}");
        assert!(
            verdict.key.is_none() && verdict.values.is_empty(),
            "{place}: {verdict:?}"
        );
        let theirs = before.cloned().map(Theirs::Row);
        let told = verdict.theirs.clone();
        assert_eq!(
            told,
            theirs.filter(|_| kind == VerdictKind::Conflict),
            "{place}"
        );
        match end {
            Row(values) | Overwrote(values, _) => {
                let row = self.row().unwrap_or_else(|| panic!("{place}: no row"));
                for (name, value) in attributes(values) {
                    assert_eq!(row.get(&name), Some(&value), "{place}: {name}");
                }
            }
            NoRow | NoRowOverwrote(_) => assert_eq!(self.row(), None, "{place}"),
            Conflict(_) | Rejected(_) => assert_eq!(self.row().as_ref(), before, "{place}"),
        }
    }
}

fn attributes(values: &[(&str, i64)]) -> Attributes {
    let values: Vec<(&str, Value)> = values.iter().map(|(n, v)| (*n, (*v).into())).collect();
    set(&values)
}
