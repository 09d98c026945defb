//! SQL about a caller, and what its parameters stand for: whatever a token or a device says is
//! bound, and never becomes SQL.

use afield_protocol::{Chosen, Type};
use tokio_postgres::types::ToSql;

use super::super::cell::Param;
use super::fill::Fill;
use crate::storage::Caller;
use crate::storage::lists::Asking;

/// A statement, or a piece of one, with what its parameters are filled with.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Asks {
    /// The SQL; a condition of a row where it is a piece.
    pub sql: String,
    /// What must stand behind the statement's `WITH`, one after another: there the columns of the
    /// row are out of the reach of a team's query.
    pub with: Vec<String>,
    parameters: Vec<Parameter>,
}

/// What a parameter is filled with.
#[derive(Clone, Debug, PartialEq)]
enum Parameter {
    /// What the token says of the user.
    Token(Token, Fill),
    /// The values of a scope that the device chose, as an array.
    Chosen(String, Type, Fill),
}

/// A part of a token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    User,
    Claim(String),
}

/// A bound value.
pub(in super::super) type Bound = Box<dyn ToSql + Sync + Send>;

impl Token {
    /// The bytes of what it says, as a value of a type.
    pub(super) fn says(&self, caller: &Caller, fill: &Fill) -> Option<Vec<u8>> {
        match self {
            Self::User => fill.text(&caller.user),
            Self::Claim(name) => fill.json(caller.claims.get(name)?),
        }
    }
}

impl Asks {
    /// `rest`, of which this is a condition, with the `WITH` that it needs.
    pub(in super::super) fn statement(&self, rest: &str) -> String {
        match self.with.is_empty() {
            true => rest.to_owned(),
            false => format!("WITH {} {rest}", self.with.join(", ")),
        }
    }

    /// How many parameters it has.
    pub(in super::super) fn width(&self) -> usize {
        self.parameters.len()
    }

    /// What the parameters are, from the first that was left free on.
    pub(in super::super) fn bound(&self, asking: Asking<'_>) -> Vec<Bound> {
        let all = self.parameters.iter();
        all.map(|parameter| parameter.bound(asking)).collect()
    }
}

impl Parameter {
    fn bound(&self, asking: Asking<'_>) -> Bound {
        match self {
            Self::Token(token, fill) => {
                Box::new(Param::stored(token.says(asking.caller, fill), false))
            }
            Self::Chosen(scope, kind, fill) => {
                let of_it = |chosen: &&Chosen| chosen.scope == *scope;
                let values = asking.chosen.iter().filter(of_it).flat_map(|it| &it.values);
                // In another form it is nothing that a device has from here.
                let values = values.filter(|value| kind.accepts(value.as_ref()));
                let bytes = values.filter_map(|value| fill.value(*kind, value));
                let all: Vec<Param> = bytes
                    .map(|bytes| Param::stored(Some(bytes), false))
                    .collect();
                Box::new(all)
            }
        }
    }
}

/// The parameters of a statement while it is written.
#[derive(Debug)]
pub(super) struct Holes {
    /// The number of the first one.
    first: usize,
    parameters: Vec<Parameter>,
}

impl Holes {
    /// From the parameter of this number on.
    pub(super) fn from(first: usize) -> Self {
        Self {
            first,
            parameters: Vec::new(),
        }
    }

    /// A parameter for a part of the token, of a type.
    pub(super) fn token(&mut self, token: Token, fill: Fill) -> String {
        let number = self.number(Parameter::Token(token, fill));
        format!("(${number}::{})", fill.sql)
    }

    /// A parameter for an array of what the device chose.
    pub(super) fn chosen(&mut self, scope: &str, kind: Type, fill: Fill) -> String {
        let number = self.number(Parameter::Chosen(scope.to_owned(), kind, fill));
        format!("(${number}::{}[])", fill.sql)
    }

    fn number(&mut self, parameter: Parameter) -> usize {
        let known = self.parameters.iter().position(|it| *it == parameter);
        let at = known.unwrap_or_else(|| {
            self.parameters.push(parameter);
            self.parameters.len() - 1
        });
        self.first + at
    }

    /// A statement with them.
    pub(super) fn asks(self, sql: String, with: Vec<String>) -> Asks {
        Asks {
            sql,
            with,
            parameters: self.parameters,
        }
    }
}
