//! Columns of the team's tables in statements: how they are read, and what they are compared with.

use afield_protocol::{Type, Value};

use super::cell::{Form, Param, Stored, Wire};
use super::error::lasting;
use super::kinds::MarkColumn;
use super::quoted::{qualified, quote};
use super::shape::{Column, Shape};
use crate::resolved::ServerColumn;
use crate::storage::StorageError;

/// A column that statements read.
#[derive(Clone, Debug)]
pub(super) struct ReadColumn {
    /// Its name in SQL.
    pub name: String,
    /// How its cells travel.
    pub form: Form,
    /// The type below its domains, in SQL.
    pub sql_type: String,
    /// `COLLATE …`, or nothing.
    collate: String,
    /// The schema of its operators, if that is not PostgreSQL's own.
    operators: Option<String>,
    is_enum: bool,
}

impl ReadColumn {
    /// The column of an attribute.
    pub(super) fn of(shape: &Shape, column: &ServerColumn) -> Result<Self, StorageError> {
        Ok(Self::new(shape.column(&column.name)?, column.kind))
    }

    pub(super) fn new(column: &Column, kind: Type) -> Self {
        let wire = match column.is_own_type() || column.is_enum || column.is_string() {
            true => Wire::of(&column.type_name, column.is_enum),
            false => Wire::Other,
        };
        Self {
            name: quote(&column.name),
            form: Form { kind, wire },
            sql_type: qualified(&column.type_schema, &column.type_name),
            collate: match &column.collation {
                Some((schema, name)) => format!(" COLLATE {}", qualified(schema, name)),
                None => String::new(),
            },
            operators: (!column.is_own_type() && !column.is_enum)
                .then(|| quote(&column.type_schema)),
            is_enum: column.is_enum,
        }
    }

    /// What a statement says to read it of `row`.
    pub(super) fn read(&self, row: &str) -> String {
        let name = &self.name;
        match self.form.wire {
            Wire::Other => format!("{row}.{name}::pg_catalog.text"),
            _ => format!("{row}.{name}"),
        }
    }

    /// An operator between values of its type.
    pub(super) fn operator(&self, sign: &str) -> String {
        match &self.operators {
            Some(schema) => format!("OPERATOR({schema}.{sign})"),
            None => format!("OPERATOR(pg_catalog.{sign})"),
        }
    }

    /// That its value in `row` equals a parameter, which travels in its form.
    pub(super) fn is_parameter(&self, row: &str, hole: usize) -> String {
        let (name, equals) = (&self.name, self.operator("="));
        match (self.is_enum, self.form.wire) {
            // A label that the type does not have equals nothing, and fails nothing.
            (true, _) => format!(
                "{row}.{name} {equals} (SELECT e FROM unnest(enum_range(NULL::{})) e \
                 WHERE e::text = ${hole}::text)",
                self.sql_type
            ),
            (_, Wire::Other) => format!("{row}.{name}::text = ${hole}::text"),
            _ => format!("{row}.{name} {equals} ${hole}"),
        }
    }

    /// That its value in `row` equals one of a column that is referred to, or refers to it.
    pub(super) fn is_same(&self, row: &str, other: &str) -> String {
        let (name, equals, collate) = (&self.name, self.operator("="), &self.collate);
        format!("{row}.{name} {equals} {other}{collate}")
    }

    /// That its value in `row` equals what a mark has of it.
    pub(super) fn is_marked(&self, row: &str, mark: &MarkColumn, cell: &str) -> String {
        let (name, equals, collate) = (&self.name, self.operator("="), &self.collate);
        // Whole numbers of all sizes are compared as they are: one that fits no more is no error.
        match mark.sql_type == "pg_catalog.int8" {
            true => format!("{row}.{name} {equals} {cell}"),
            false => format!("{row}.{name} {equals} {cell}::{}{collate}", self.sql_type),
        }
    }

    /// Whether values of both are compared exactly, and by the same rule from either side.
    pub(super) fn can_be_compared(&self, other: &Self) -> bool {
        let is_whole =
            |column: &Self| matches!(column.form.wire, Wire::Int2 | Wire::Int4 | Wire::Int8);
        let is_text = |column: &Self| {
            ["text", "varchar"]
                .iter()
                .any(|name| column.sql_type == qualified("pg_catalog", name))
        };
        let is_same = self.sql_type == other.sql_type || (is_text(self) && is_text(other));
        (is_whole(self) && is_whole(other)) || (is_same && self.collate == other.collate)
    }

    /// What to send for a canonical value. `None`: no column of its type holds it.
    pub(super) fn parameter(&self, value: &Value) -> Option<Param> {
        // PostgreSQL has no text with this sign in it.
        if matches!(value, Value::Text(text) if text.contains('\0')) {
            return None;
        }
        self.form.write(value).ok()
    }

    /// A cell as it was read, as a parameter where such a cell is expected.
    pub(super) fn stored(&self, cell: &[u8]) -> Param {
        Param::stored(Some(cell.to_vec()), self.form.wire == Wire::Other)
    }
}

/// A column of a key: of the row and of its marks.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    pub column: ReadColumn,
    pub mark: MarkColumn,
    /// How the mark's cells travel.
    pub mark_form: Form,
}

impl KeyColumn {
    pub(super) fn of(
        shape: &Shape,
        at: usize,
        column: &ServerColumn,
    ) -> Result<Self, StorageError> {
        let found = shape.column(&column.name)?;
        let mark = MarkColumn::key(at, found).map_err(lasting)?;
        let read = ReadColumn::new(found, column.kind);
        let wire = match mark.sql_type.as_str() {
            "pg_catalog.int8" => Wire::Int8,
            "pg_catalog.text" => Wire::Text,
            _ => read.form.wire,
        };
        let mark_form = Form {
            kind: column.kind,
            wire,
        };
        Ok(Self {
            column: read,
            mark,
            mark_form,
        })
    }

    /// What a statement says to read it of a mark.
    pub(super) fn read_mark(&self, mark: &str) -> String {
        let name = &self.mark.name;
        match self.mark_form.wire {
            Wire::Other => format!("{mark}.{name}::pg_catalog.text"),
            _ => format!("{mark}.{name}"),
        }
    }

    /// A mark's cell as it was read, as a parameter.
    pub(super) fn stored_mark(&self, cell: &[u8]) -> Param {
        Param::stored(Some(cell.to_vec()), self.mark_form.wire == Wire::Other)
    }

    /// The canonical value of a mark's cell.
    pub(super) fn canonical(&self, cell: &[u8]) -> Result<Value, StorageError> {
        let value = self.mark_form.read(Stored(Some(cell)));
        let value = value.map_err(|error| lasting(error.to_string()))?;
        Ok(value.as_ref().to_value())
    }
}

/// That the cells of `row` come behind others in the order of these columns. The parameters are
/// numbered from `hole` on, column by column.
pub(super) fn behind(columns: &[&ReadColumn], row: &str, hole: usize) -> String {
    let is_own = |column: &&&ReadColumn| column.operators.is_none();
    if columns.iter().all(|column| is_own(&column)) {
        let names: Vec<String> = columns
            .iter()
            .map(|c| format!("{row}.{}", c.name))
            .collect();
        let holes: Vec<String> = (hole..hole + columns.len())
            .map(|at| format!("${at}"))
            .collect();
        let greater = "OPERATOR(pg_catalog.>)";
        return match columns.len() {
            1 => format!("{} {greater} {}", names.concat(), holes.concat()),
            _ => format!("({}) {greater} ({})", names.join(", "), holes.join(", ")),
        };
    }
    // Operators of several schemas do not compare rows as wholes.
    let Some((first, rest)) = columns.split_first() else {
        return "false".to_owned();
    };
    let greater = format!("{row}.{} {} ${hole}", first.name, first.operator(">"));
    if rest.is_empty() {
        return greater;
    }
    let equal = format!("{row}.{} {} ${hole}", first.name, first.operator("="));
    format!(
        "({greater} OR ({equal} AND {}))",
        behind(rest, row, hole + 1)
    )
}
