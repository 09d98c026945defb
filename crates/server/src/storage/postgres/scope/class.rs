//! What values are compared as: by the row's column, by each step of a path, and here.
//!
//! Two values are one if and only if their bytes are the same, in the binary format of the type
//! that stands for their class. So the sets of a pull, the marks, and the SQL of a push agree about
//! what is equal. What could not keep this promise has no class: numbers that round, text that is
//! equal under another spelling, and whatever compares by rules of its own.

use tokio_postgres::types::{Kind, Type as SqlType};

use super::super::cell::Wire;
use super::super::quoted::{qualified, quote};
use super::super::shape::Column;
use super::fill::Fill;

/// Values that are compared with each other, and with no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `smallint`, `integer`, `bigint`.
    Int,
    /// `numeric`: 1.0 is 1.00.
    Numeric,
    /// `text`, `varchar`, `name`: byte by byte.
    Text,
    /// `char(n)`: blanks at the end do not count.
    Char,
    /// The words of one type of the team's; its schema and name.
    Enum(String, String),
    Uuid,
    Bool,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Bytea,
}

/// A column whose values are compared.
#[derive(Clone, Debug)]
pub(in super::super) struct Compared {
    /// Its name, unquoted.
    pub name: String,
    pub(super) class: Class,
    /// How its text is ordered, as SQL behind a value; its index is of no use to another order.
    collate: String,
}

/// The order that text has of which nothing is said: it gives way to that of any column.
const NO_ORDER: &str = " COLLATE pg_catalog.\"default\"";

impl Class {
    /// The class of a column's values, or why they have none.
    fn of(column: &Column) -> Result<Self, String> {
        let name = column.type_name.as_str();
        if column.is_enum {
            return Ok(Self::Enum(column.type_schema.clone(), name.to_owned()));
        }
        let own = column.is_own_type().then(|| Self::named(name)).flatten();
        let class = own.ok_or_else(|| {
            format!("is of the type `{name}`, whose values cannot be compared exactly")
        })?;
        match column.is_deterministic {
            true => Ok(class),
            false => Err(
                "has a collation that is not deterministic: values could be equal in the database \
                 that are not for a device"
                    .to_owned(),
            ),
        }
    }

    /// The class of a type of PostgreSQL's own.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "int2" | "int4" | "int8" => Self::Int,
            "numeric" => Self::Numeric,
            "text" | "varchar" | "name" => Self::Text,
            "bpchar" => Self::Char,
            "uuid" => Self::Uuid,
            "bool" => Self::Bool,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "bytea" => Self::Bytea,
            _ => return None,
        })
    }

    /// The class of what a query finds.
    pub(super) fn of_type(found: &SqlType) -> Option<Self> {
        match found.kind() {
            Kind::Enum(_) => Some(Self::Enum(
                found.schema().to_owned(),
                found.name().to_owned(),
            )),
            _ if found.schema() == "pg_catalog" => Self::named(found.name()),
            _ => None,
        }
    }

    /// Whether values of the class `other` may be brought over: text is as good as `char(n)`.
    pub(super) fn takes(&self, other: &Self) -> bool {
        let is_text = |class: &Self| matches!(class, Self::Text | Self::Char);
        self == other || (is_text(self) && is_text(other))
    }

    /// The type that values have while they are compared.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Enum(schema, name) => qualified(schema, name),
            other => other.fill().sql.to_owned(),
        }
    }

    /// How a value is given from outside; words of an enum as text.
    pub(super) fn fill(&self) -> Fill {
        let (wire, sql) = match self {
            Self::Int => (Wire::Int8, "pg_catalog.int8"),
            Self::Numeric => (Wire::Numeric, "pg_catalog.numeric"),
            Self::Text | Self::Enum(..) => (Wire::Text, "pg_catalog.text"),
            Self::Char => (Wire::Text, "pg_catalog.bpchar"),
            Self::Uuid => (Wire::Uuid, "pg_catalog.uuid"),
            Self::Bool => (Wire::Bool, "pg_catalog.bool"),
            Self::Date => (Wire::Date, "pg_catalog.date"),
            Self::Time => (Wire::Time, "pg_catalog.time"),
            Self::Timestamp => (Wire::Timestamp, "pg_catalog.timestamp"),
            Self::Timestamptz => (Wire::Timestamptz, "pg_catalog.timestamptz"),
            Self::Bytea => (Wire::Bytea, "pg_catalog.bytea"),
        };
        Fill { wire, sql }
    }

    /// `value`, which `given` says how to give, as one of this class. A word that the enum does
    /// not have is null, and no error.
    pub(super) fn taken(&self, value: &str) -> String {
        match self {
            Self::Enum(..) => format!(
                "(SELECT w.word \
                 FROM pg_catalog.unnest(pg_catalog.enum_range(NULL::{})) AS w (word) \
                 WHERE (w.word)::pg_catalog.text OPERATOR(pg_catalog.=) {value})",
                self.sql()
            ),
            _ => value.to_owned(),
        }
    }

    /// `value` of the class as its own type, and text in no order that would hold against another.
    pub(super) fn plain(&self, value: &str) -> String {
        let order = match self {
            Self::Text | Self::Char => NO_ORDER,
            _ => "",
        };
        format!("({value})::{}{order}", self.sql())
    }

    /// The bytes by which `value` of the class is known.
    pub(super) fn identity(&self, value: &str) -> String {
        match self {
            Self::Numeric => format!("pg_catalog.trim_scale({value})"),
            // Of `char(n)` the blanks at the end are no part of its text.
            Self::Text | Self::Char | Self::Enum(..) => format!("({value})::pg_catalog.text"),
            other => format!("({value})::{}", other.sql()),
        }
    }

    /// For people.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Int => "integers".to_owned(),
            Self::Enum(_, name) => format!("words of `{name}`"),
            other => {
                let sql = other.sql();
                sql.trim_start_matches("pg_catalog.").to_owned()
            }
        }
    }
}

impl Compared {
    /// The column, or why its values cannot be compared.
    pub(super) fn of(column: &Column) -> Result<Self, String> {
        let class = Class::of(column)?;
        let is_text = matches!(class, Class::Text | Class::Char);
        let collate = match &column.collation {
            Some((schema, name)) if is_text => format!(" COLLATE {}", qualified(schema, name)),
            _ => String::new(),
        };
        Ok(Self {
            name: column.name.clone(),
            class,
            collate,
        })
    }

    /// The cell of `row`. PostgreSQL compares a domain over an enum with nothing else.
    pub(in super::super) fn cell(&self, row: &str) -> String {
        let cell = format!("{row}.{}", quote(&self.name));
        match self.class {
            Class::Enum(..) => format!("({cell})::{}", self.class.sql()),
            _ => cell,
        }
    }

    /// The bytes by which the value of `row` is known.
    pub(in super::super) fn identity(&self, row: &str) -> String {
        self.class.identity(&self.cell(row))
    }

    /// `value`, of a class that this one takes, as the index of the column finds it.
    pub(super) fn sought(&self, value: &str) -> String {
        match self.class {
            Class::Text | Class::Char => {
                format!("({value})::{}{}", self.class.sql(), self.collate)
            }
            _ => value.to_owned(),
        }
    }

    /// A parameter with the bytes of a held value, as the index of the column finds it.
    pub(in super::super) fn given(&self, hole: usize) -> String {
        self.held(&format!("${hole}::{}", self.given_type()))
    }

    /// The same of a value that has the type of such a parameter.
    pub(in super::super) fn held(&self, value: &str) -> String {
        self.sought(&self.class.taken(value))
    }

    /// The type of such a parameter.
    pub(in super::super) fn given_type(&self) -> &'static str {
        self.class.fill().sql
    }

    /// `value`, of the type of such a parameter, as the index of marks finds it: they hold the
    /// words of an enum as text, byte by byte.
    pub(in super::super) fn marked(&self, value: &str) -> String {
        match self.class {
            Class::Enum(..) => format!("({value})::pg_catalog.text COLLATE pg_catalog.\"C\""),
            _ => self.sought(value),
        }
    }

    /// The bytes by which a mark's `value` is known.
    pub(in super::super) fn mark_identity(&self, value: &str) -> String {
        self.class.identity(value)
    }
}
