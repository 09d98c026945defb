//! What the triggers check before a user's write: identifiers, types, read-only attributes, rules.
//!
//! They are triggers and not constraints, so that the connection which applies the server's rows
//! (with triggers off) cannot fail on them, and so that a cell which came from the server in a
//! shape of its own does not stand in the way of an update of another attribute.

use afield_protocol::{Attribute, Entity, Literal, Type, Value};

use super::rules;
use super::sql::quoted;
use super::tables::{identifier_hint, sql_literal};
use super::triggers::raise;

/// The checking statements for the bodies of two triggers.
pub(super) struct Checks {
    pub(super) insert: String,
    pub(super) update: String,
}

impl Checks {
    pub(super) fn of(entity: &Entity) -> Self {
        let (mut insert, mut update) = (String::new(), String::new());
        for attribute in entity.key() {
            insert += &missing(entity, attribute);
            insert += &mistyped(entity, attribute, "");
            update += &moved(entity, attribute);
            if attribute.read_only {
                insert += &unmade(entity, attribute);
            }
        }
        for attribute in entity.values() {
            let name = quoted(&attribute.name);
            if attribute.read_only {
                let default = attribute
                    .default
                    .as_ref()
                    .map_or(Value::Null, Literal::value);
                let default = sql_literal(&default);
                insert += &locked(entity, attribute, &format!("NEW.{name} IS NOT {default}"));
                update += &locked(entity, attribute, &format!("NEW.{name} IS NOT OLD.{name}"));
            } else {
                let changes = format!("NEW.{name} IS NOT OLD.{name} AND ");
                insert += &mistyped(entity, attribute, "");
                insert += &rules::refusals(entity, attribute, &unless_there(entity, &name));
                update += &mistyped(entity, attribute, &changes);
                update += &rules::refusals(entity, attribute, &changes);
            }
        }
        Self { insert, update }
    }
}

/// Unless the row has this value already: an INSERT may be about to replace or update it.
fn unless_there(entity: &Entity, name: &str) -> String {
    let mut same = format!("t.{name} IS NEW.{name}");
    for key in entity.key() {
        let key = quoted(&key.name);
        same += &format!(" AND t.{key} = NEW.{key}");
    }
    let table = quoted(&entity.name);
    format!("NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {same}) AND ")
}

fn missing(entity: &Entity, attribute: &Attribute) -> String {
    let message = format!(
        "{}.{} is the identifier and needs {}",
        entity.name,
        attribute.name,
        identifier_hint(entity)
    );
    let refuse = raise("identifier-missing", &attribute.name, &message);
    format!(
        "SELECT {refuse} WHERE NEW.{} IS NULL;",
        quoted(&attribute.name)
    )
}

fn moved(entity: &Entity, attribute: &Attribute) -> String {
    let name = quoted(&attribute.name);
    let message = format!(
        "{}.{} is the identifier and cannot be changed; delete the row and create another",
        entity.name, attribute.name
    );
    let refuse = raise("identifier-changed", &attribute.name, &message);
    format!("SELECT {refuse} WHERE NEW.{name} IS NOT OLD.{name};")
}

/// Rows whose identifier is read-only are made by others; an `INSERT OR REPLACE` of one that is
/// there is an update.
fn unmade(entity: &Entity, attribute: &Attribute) -> String {
    let same = |key: &Attribute| {
        let name = quoted(&key.name);
        format!("known.{name} = NEW.{name}")
    };
    let same: Vec<String> = entity.key().iter().map(same).collect();
    let when = format!(
        "NOT EXISTS (SELECT 1 FROM {} AS known WHERE {})",
        quoted(&entity.name),
        same.join(" AND ")
    );
    locked(entity, attribute, &when)
}

fn locked(entity: &Entity, attribute: &Attribute, when: &str) -> String {
    let what = match attribute.lookup {
        true => "is a lookup: it comes from the server, and is read-only on the device",
        false => "is read-only on the device",
    };
    let message = format!("{}.{} {what}", entity.name, attribute.name);
    let refuse = raise("read-only", &attribute.name, &message);
    format!("SELECT {refuse} WHERE {when};")
}

fn mistyped(entity: &Entity, attribute: &Attribute, when: &str) -> String {
    let value = format!("NEW.{}", quoted(&attribute.name));
    let kind = attribute.kind;
    let message = format!(
        "{}.{} expects {}",
        entity.name,
        attribute.name,
        kind.expected()
    );
    let refuse = raise("type-mismatch", &attribute.name, &message);
    let fits = fits(kind, &value);
    format!("SELECT {refuse} WHERE {when}{value} IS NOT NULL AND NOT ({fits});")
}

/// SQL that is true where `value`, which is not null, is canonical for `kind`. It agrees with
/// `Type::accepts`, but for JSON nested so deep that the server refuses it.
///
/// LENGTH and GLOB see text only up to a NUL, so every text is checked for one first.
fn fits(kind: Type, value: &str) -> String {
    let text = format!("typeof({value}) = 'text' AND instr({value}, char(0)) = 0");
    match kind {
        Type::Text => text,
        Type::Integer => format!("typeof({value}) = 'integer'"),
        Type::Boolean => format!("typeof({value}) = 'integer' AND {value} IN (0, 1)"),
        Type::Real => format!("typeof({value}) IN ('real', 'integer') OR {value} = 'NaN'"),
        Type::Bytes => format!("typeof({value}) = 'blob'"),
        Type::Json => format!("{text} AND json_valid({value})"),
        Type::Uuid => format!("{text} AND {value} GLOB '{}'", uuid_glob()),
        Type::Date => format!("{text} AND {}", date(value)),
        Type::Time => format!("{text} AND {}", time(value)),
        Type::Datetime => format!("{text} AND length({value}) = 26 AND {}", datetime(value)),
        Type::Instant => format!(
            "{text} AND length({value}) = 27 AND substr({value}, 27) = 'Z' AND {}",
            datetime(&format!("substr({value}, 1, 26)"))
        ),
        Type::Decimal => format!("{text} AND {}", decimal(value)),
    }
}

fn date(value: &str) -> String {
    format!("length({value}) = 10 AND {value} > '0001' AND date({value}) IS {value}")
}

fn time(value: &str) -> String {
    let digits = "[0-9]".repeat(6);
    format!("{value} GLOB '[0-2][0-9]:[0-5][0-9]:[0-5][0-9].{digits}' AND {value} < '24'")
}

fn datetime(value: &str) -> String {
    format!(
        "substr({value}, 11, 1) = 'T' AND {} AND {}",
        date(&format!("substr({value}, 1, 10)")),
        time(&format!("substr({value}, 12)"))
    )
}

fn decimal(value: &str) -> String {
    let digits = format!("ltrim({value}, '-')");
    format!(
        "{value} NOT GLOB '?*-*' AND {digits} NOT GLOB '*[^0-9.]*' AND {digits} NOT GLOB '*.*.*' \
         AND {digits} GLOB '[0-9]*' AND {digits} GLOB '*[0-9]' AND {digits} NOT GLOB '0[0-9]*' \
         AND ({value} GLOB '[0-9]*' OR {value} GLOB '*[1-9]*')"
    )
}

fn uuid_glob() -> String {
    let groups = [8, 4, 4, 4, 12].map(|digits| "[0-9a-f]".repeat(digits));
    groups.join("-")
}
