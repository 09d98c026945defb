//! What the functions of a capture do: the marks of a statement, of one row, of a truncation.

use super::super::kinds::MarkColumn;
use super::super::quoted::quote;
use super::{Capture, Kind};

impl Capture {
    pub(super) fn statement_body(&self) -> String {
        let (old, new) = (self.rows("afield_old", ""), self.rows("afield_new", ""));
        let both = self.upsert(&match (self.kind, self.is_unique) {
            (Kind::Table, _) => format!("{old}\n    UNION\n    {new}"),
            (_, true) => self.changed_by_key(),
            (_, false) => self.changed_by_form(),
        });
        // The same twice, so that few rows and many have a plan each: one that was made for many
        // fills tables of their size for a single row too.
        let is_small =
            "(SELECT pg_catalog.count(*) < 100 FROM (SELECT FROM afield_new LIMIT 100) l)";
        format!(
            "\nBEGIN\n  IF TG_OP = 'INSERT' THEN\n{}  ELSIF TG_OP = 'DELETE' THEN\n{}  \
             ELSIF {is_small} THEN\n{both}  ELSE\n{both}  END IF;\n  RETURN NULL;\nEND\n",
            self.upsert(&new),
            self.upsert(&old),
        )
    }

    /// The cells of marks of the rows of a transition table.
    fn rows(&self, table: &str, condition: &str) -> String {
        if self.kind == Kind::Table {
            return format!(
                "SELECT pg_catalog.pg_current_xact_id() WHERE EXISTS (SELECT FROM {table})"
            );
        }
        let distinct = if self.is_unique { "" } else { "DISTINCT " };
        format!(
            "SELECT {distinct}{} FROM {table} r\n    WHERE {}{condition}",
            self.cells("r"),
            self.is_marked("r")
        )
    }

    /// The marks of an update: of each row that was there before and is not in the same form after,
    /// and the other way round.
    fn changed_by_form(&self) -> String {
        let left = self.rows("afield_old", &self.is_nowhere("afield_new"));
        let came = self.rows("afield_new", &self.is_nowhere("afield_old"));
        format!("{left}\n    UNION\n    {came}")
    }

    /// That a row of `r` does not stand in the same form in `table`.
    fn is_nowhere(&self, table: &str) -> String {
        format!(
            "\n      AND NOT EXISTS (SELECT FROM {table} z WHERE {}\n        AND {})",
            self.has_same_key(),
            self.is_same("z", "r"),
        )
    }

    fn has_same_key(&self) -> String {
        let same = |column: &MarkColumn| format!("{} = {}", column.cell("z"), column.cell("r"));
        let key: Vec<String> = self.key.iter().map(same).collect();
        key.join(" AND ")
    }

    /// The same where a key names one row before and one after: these are brought together once.
    fn changed_by_key(&self) -> String {
        let changed = format!(
            "FROM (SELECT * FROM afield_old z WHERE {}) z\n    \
             FULL JOIN (SELECT * FROM afield_new r WHERE {}) r\n      ON {}\n    WHERE NOT ({})",
            self.has_key("z"),
            self.has_key("r"),
            self.has_same_key(),
            self.is_same("z", "r"),
        );
        let rows = |columns: &str, from: &str| {
            format!(
                "SELECT {} FROM (SELECT {columns} {from}) r\n    WHERE {}",
                self.cells("r"),
                self.is_marked("r")
            )
        };
        // A column of the key may be the scope's too.
        let mut names: Vec<&str> = self.columns().map(|column| column.of.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let each = |column: &dyn Fn(usize, &str) -> String| {
            let columns = names.iter().enumerate();
            let columns = columns.map(|(at, name)| column(at + 1, &quote(name)));
            columns.collect::<Vec<_>>().join(", ")
        };
        if self.scope.is_empty() {
            // Whichever side is there has the key.
            let key = each(&|_, name| format!("coalesce(z.{name}, r.{name}) AS {name}"));
            return rows(&key, &changed);
        }
        let before = each(&|at, name| format!("z.{name} AS before{at}"));
        let after = each(&|at, name| format!("r.{name} AS after{at}"));
        let left = each(&|at, name| format!("before{at} AS {name}"));
        let came = each(&|at, name| format!("after{at} AS {name}"));
        format!(
            "WITH changed AS MATERIALIZED (\n    SELECT {before}, {after} {changed})\n    \
             {}\n    UNION\n    {}",
            rows(&left, "FROM changed"),
            rows(&came, "FROM changed"),
        )
    }

    fn is_same(&self, one: &str, other: &str) -> String {
        let row = |alias: &str| {
            let cells = (self.watched.iter()).map(|name| format!("{alias}.{}", quote(name)));
            // As one value: `ROW(…) *= ROW(…)` would be taken apart into columns.
            let cells = cells.collect::<Vec<_>>().join(", ");
            format!("ROW({cells})::pg_catalog.record")
        };
        format!("{} OPERATOR(pg_catalog.*=) {}", row(one), row(other))
    }

    fn cells(&self, row: &str) -> String {
        let cells: Vec<String> = self.columns().map(|column| column.cell(row)).collect();
        cells.join(", ")
    }

    /// That a row has a key, and a value that anybody could hold.
    fn is_marked(&self, row: &str) -> String {
        let scopes: Vec<String> = (self.scope.iter())
            .map(|column| column.is_there(row))
            .collect();
        match scopes.is_empty() {
            true => self.has_key(row),
            false => format!("{} AND ({})", self.has_key(row), scopes.join(" OR ")),
        }
    }

    fn has_key(&self, row: &str) -> String {
        let key: Vec<String> = self.key.iter().map(|column| column.is_there(row)).collect();
        key.join(" AND ")
    }

    fn upsert(&self, select: &str) -> String {
        let mark = self.mark();
        if self.kind == Kind::Table {
            return format!(
                "    INSERT INTO {mark} (xid)\n    {select}\n    ON CONFLICT (xid) DO NOTHING;\n"
            );
        }
        let columns: Vec<&str> = self.columns().map(|column| column.name.as_str()).collect();
        let columns = columns.join(", ");
        format!(
            "    INSERT INTO {mark} AS m ({columns}, xid)\n    \
             SELECT q.*, pg_catalog.pg_current_xact_id() FROM (\n    {select}\n    \
             ) q ({columns})\n    ON CONFLICT ({}) DO UPDATE SET xid = excluded.xid \
             WHERE m.xid <> excluded.xid;\n",
            self.conflict()
        )
    }

    pub(super) fn row_body(&self) -> String {
        if self.kind == Kind::Table {
            let mark = self.upsert("VALUES (pg_catalog.pg_current_xact_id())");
            return format!("\nBEGIN\n{mark}  RETURN NULL;\nEND\n");
        }
        // The row as a whole: a plan that was made for one of its columns would refuse the column
        // with another type.
        let one = |row: &str| {
            let select = format!(
                "SELECT {} FROM (SELECT ({row}).*) r\n    WHERE {}",
                self.cells("r"),
                self.is_marked("r")
            );
            self.upsert(&select)
        };
        let unchanged = format!(
            "  IF TG_OP = 'UPDATE' THEN\n    IF {} THEN\n      RETURN NULL;\n    END IF;\n  \
             END IF;\n",
            self.is_same("NEW", "OLD")
        );
        let old = format!("  IF TG_OP <> 'INSERT' THEN\n{}  END IF;\n", one("OLD"));
        let new = format!("  IF TG_OP <> 'DELETE' THEN\n{}  END IF;\n", one("NEW"));
        format!("\nBEGIN\n{unchanged}{old}{new}  RETURN NULL;\nEND\n")
    }

    pub(super) fn truncate_body(&self) -> String {
        let note = match self.kind {
            Kind::Table => self.upsert("VALUES (pg_catalog.pg_current_xact_id())"),
            _ => format!(
                "    INSERT INTO afield.reset (capture, why) VALUES ({}, 'truncated');\n",
                self.id
            ),
        };
        format!("\nBEGIN\n{note}  RETURN NULL;\nEND\n")
    }
}
