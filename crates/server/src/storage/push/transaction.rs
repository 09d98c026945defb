//! What a push asks of a database: one transaction, its tables, and their rows.

use afield_protocol::{
    Attributes, Change, Checkpoint, Group, GroupId, Identifier, Key, Type, Value, Verdict,
};

use super::ledger::Entry;
use super::numbers::Temporary;
use crate::resolved::{DeletedWhen, Scope, ServerEntity};
use crate::storage::StorageError;
use crate::storage::inbox::Noted;

/// One transaction in which changes are applied, and every question that their rules ask.
///
/// Nothing is kept between two questions unless the answer is sure to be the same: rows, grants and
/// memberships that were written earlier in the transaction count, and so does what a trigger of
/// the team's did. Who asks, the *caller*, is part of the transaction.
///
/// Every method fails with a [`StorageError`] where the database failed in a way that no change is
/// to blame for.
pub(in crate::storage) trait Transaction {
    /// An entity over its table.
    type Table: Table;
    /// Where a row is.
    type Place: Place;

    /// Whether references to rows that a later change of the group creates are looked at only when
    /// all of its changes are there.
    const DEFERS_REFERENCES: bool;

    /// How many groups at most are decided before any of them is written; `None`: every change is
    /// written when it is decided.
    const AHEAD_MAX: Option<usize> = None;

    /// Reads what deciding about these groups needs, and writes nothing from now on. False if they
    /// cannot be decided so.
    fn look_ahead(&self, _groups: &[Group]) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Writes what was decided since. False if the database made anything else of it than was
    /// thought when it was decided, or refused it.
    fn write_ahead(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Ends looking ahead, with what was written or without a trace of it. Whether it ended because
    /// something could not be decided without writing.
    fn end_ahead(&self, _is_kept: bool) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// The entity of this name.
    fn table(&self, entity: &str) -> Option<&Self::Table>;

    /// The server's time, in seconds since 1970.
    fn now(&self) -> i64;

    /// Most changes of one group.
    fn group_changes_max(&self) -> usize;

    /// What the ledger knows of one of the caller's groups.
    fn entry(&self, group: GroupId) -> Result<Option<Entry>, StorageError>;

    /// Whether one of these groups of the caller took effect.
    fn took_effect(&self, groups: &[GroupId]) -> Result<bool, StorageError>;

    /// Notes what became of a group, and if it took effect that those folded into it did.
    fn record(&self, group: &Group, verdicts: &[Verdict]) -> Result<(), StorageError>;

    /// Notes a group that was refused, for people to decide about; once.
    fn note(&self, group: GroupId, noted: Noted) -> Result<(), StorageError>;

    /// Notes that a group of the caller stands in the place of refused ones: nobody need decide
    /// about them any more.
    fn sent_again(&self, group: GroupId, refused: &[GroupId]) -> Result<(), StorageError>;

    /// Whether the ledger may have forgotten a group that was made behind this checkpoint.
    fn may_be_forgotten(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError>;

    /// The number that a row was given when one of these groups of the caller, or one that has
    /// absorbed it, created the row.
    fn given(&self, groups: &[GroupId], row: &Temporary) -> Result<Option<i64>, StorageError>;

    /// Keeps the numbers that the creates of a group gave.
    fn keep_numbers(&self, group: GroupId, made: &[(Temporary, i64)]) -> Result<(), StorageError>;

    /// The number that the table would give to its next row, or to the one behind that which got
    /// `before` just now and is not there yet.
    fn next_number(&self, table: &Self::Table, before: Option<i64>) -> Result<i64, StorageError>;

    /// The row with this canonical key, whoever's it is.
    fn find(
        &self,
        table: &Self::Table,
        key: &[Value],
        to: Purpose,
    ) -> Result<Option<FoundRow<Self::Place>>, StorageError>;

    /// The row with this canonical key, if it is in the caller's scope.
    fn find_mine(
        &self,
        table: &Self::Table,
        key: &[Value],
        to: Purpose,
    ) -> Result<Option<FoundRow<Self::Place>>, StorageError>;

    /// The row with this canonical key, if its place is one that `is_known` says yes to.
    fn find_known(
        &self,
        table: &Self::Table,
        key: &[Value],
        is_known: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<FoundRow<Self::Place>>, StorageError>;

    /// A row that was found or written before, as it is now.
    fn find_again(
        &self,
        table: &Self::Table,
        place: &Self::Place,
    ) -> Result<Option<FoundRow<Self::Place>>, StorageError>;

    /// Whether a row in the caller's scope may be changed and deleted by him.
    fn may_write(&self, table: &Self::Table, place: &Self::Place) -> Result<bool, StorageError>;

    /// Whether the caller may leave a row as it is now, having written it.
    fn may_become(&self, table: &Self::Table, place: &Self::Place) -> Result<bool, StorageError>;

    /// Whether the caller could leave a row behind that has the values of a change which the
    /// database refused for a reference; asked only where it looks at references at once. `row` is
    /// the row as it is, if there is one.
    fn could_become(
        &self,
        _table: &Self::Table,
        _row: Option<&FoundRow<Self::Place>>,
        _change: &Change,
        _set: &Attributes,
    ) -> Result<bool, StorageError> {
        Ok(true)
    }

    /// The refusal of a change of which the columns would make something else. What the row has
    /// already is not written.
    fn unkept(
        &self,
        table: &Self::Table,
        change: &Change,
        row: Option<&FoundRow<Self::Place>>,
        set: &Attributes,
    ) -> Result<Option<Verdict>, StorageError>;

    /// Makes a row. Nobody's row is replaced by it.
    fn create(
        &self,
        table: &Self::Table,
        change: &Change,
        set: &Attributes,
    ) -> Result<Written<Self::Place>, StorageError>;

    /// Writes the values of a change to a row, and a cell beside them. A cell whose canonical form
    /// does not change is not written.
    fn update(
        &self,
        table: &Self::Table,
        row: &FoundRow<Self::Place>,
        set: &Attributes,
        beside: Option<Beside<'_>>,
    ) -> Result<Written<Self::Place>, StorageError>;

    /// Removes a row.
    fn delete(
        &self,
        table: &Self::Table,
        row: &FoundRow<Self::Place>,
    ) -> Result<Written<Self::Place>, StorageError>;

    /// Begins something that can be taken back.
    fn begin(&self, what: Step) -> Result<(), StorageError>;

    /// Takes back everything since it began; it has begun anew.
    fn take_back(&self, what: Step) -> Result<(), StorageError>;

    /// Ends it; what it did stands.
    fn keep(&self, what: Step) -> Result<(), StorageError>;

    /// Whether the whole transaction was taken back by a trigger of the team's.
    fn is_undone(&self) -> bool;

    /// Looks at everything that the database would look at only when the transaction ends. The
    /// change to blame, and its refusal, if that is possible to say now.
    fn look_now(&self, changes: &[Change]) -> Result<Option<(usize, Verdict)>, StorageError>;

    /// Ends the transaction.
    fn commit(&self) -> Result<Commit, StorageError>;

    /// After [`Commit::BrokenReference`]: the change to blame, and its refusal. No temporary
    /// identifier is left in `changes`.
    fn culprit(&self, changes: &[Change]) -> Result<(usize, Verdict), StorageError>;
}

/// What a row is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Purpose {
    /// To know whether it is there.
    Know,
    /// To decide about a change of it: nobody else changes it until the transaction ends.
    Change,
}

/// What can be taken back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Step {
    /// All changes of a group.
    Group,
    /// One change, inside its group.
    Change,
}

impl Step {
    /// The name of its savepoint.
    pub(in crate::storage) fn savepoint(self) -> &'static str {
        match self {
            Self::Group => "afield_group",
            Self::Change => "afield_change",
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Commit {
    /// Everything is on the disk.
    Durable,
    /// A reference points nowhere; the transaction is still open.
    BrokenReference,
}

/// Where a row is: by what it is found again, and told from others.
pub(in crate::storage) trait Place: Clone {
    /// The key as it is stored, as bytes.
    fn bytes(&self) -> Vec<u8>;
}

/// A row as the table has it.
#[derive(Clone, Debug)]
pub(in crate::storage) struct FoundRow<P> {
    /// Where it is.
    pub place: P,
    /// Canonical values of all attributes that are no lookups, those of the identifier first.
    pub values: Vec<Value>,
    /// Whether it counts as deleted.
    pub is_deleted: bool,
}

/// What a statement came to.
pub(in crate::storage) enum Written<P> {
    /// It was carried out, and this is the row now, if it is still there.
    Row(Option<FoundRow<P>>),
    /// A trigger stopped it without an error.
    Nothing,
    /// A delete behind which the row does not count as deleted.
    Kept,
    /// The database refuses what the change would write.
    Refused(Verdict),
}

/// A cell to write that is no value of the change.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Beside<'a> {
    /// Its column, unquoted.
    pub column: &'a str,
    /// Its value, in canonical form.
    pub value: &'a Value,
}

/// How rows of a table count as deleted.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Deleting<'a> {
    /// The column that decides, unquoted.
    pub column: &'a str,
    /// Its attribute, if it is one.
    pub attribute: Option<usize>,
    /// Its type.
    pub kind: Type,
    /// What it holds then.
    pub when: &'a DeletedWhen,
    /// What it gets when the row comes back.
    pub revived: &'a Value,
}

/// An entity over its table, as far as the rules ask.
pub(in crate::storage) trait Table {
    /// The entity.
    fn entity(&self) -> &ServerEntity;

    /// The entity whose server-made identifiers an attribute holds.
    fn numbered_by(&self, attribute: usize) -> Option<&str>;

    /// Names of the attributes that are sent as differences.
    fn counters(&self) -> &[String];

    /// How its rows count as deleted; `None` if none does.
    fn deletion(&self) -> Option<Deleting<'_>>;

    /// A decimal with the zeros at its end that the column gives it; `None` for anything else.
    fn spelled(&self, attribute: usize, value: &Value) -> Option<Value>;

    /// Whether a push must ask for the row that a reference names: the database does not, or not
    /// whether it is the caller's.
    fn asks_reference(&self, reference: usize) -> bool;

    /// How many attributes its identifier has.
    fn key_width(&self) -> usize {
        self.entity().local.key_width
    }

    /// Whether the server makes the identifiers of its rows.
    fn is_numbered(&self) -> bool {
        self.entity().local.identifier == Identifier::Server
    }

    /// Whether what a change of this entity may do depends on whose row it is, or becomes.
    fn has_rights(&self) -> bool {
        let entity = self.entity();
        let is_asked = |rule: &Option<Scope>| rule.as_ref().is_some_and(|it| !it.is_everyone());
        !entity.scope.is_everyone() || is_asked(&entity.write) || is_asked(&entity.write_to)
    }

    /// Whether a row that a change wrote may be outside its author's scope.
    fn may_leave(&self) -> bool {
        let entity = self.entity();
        !entity.scope.is_everyone() && entity.write_to.is_some()
    }

    /// The identifier of a found row.
    fn key<P>(&self, row: &FoundRow<P>) -> Key {
        let values = row.values.iter().take(self.key_width());
        values.cloned().collect()
    }

    /// The attributes of a found row without its identifier and its lookups: what changes speak of.
    fn attributes<P>(&self, row: &FoundRow<P>) -> Attributes {
        let named = self.entity().local.attributes.iter().zip(&row.values);
        named
            .skip(self.key_width())
            .map(|(attribute, value)| (attribute.name.clone(), value.clone()))
            .collect()
    }

    /// One of them.
    fn value<'r, P>(&self, row: &'r FoundRow<P>, name: &str) -> Option<&'r Value> {
        let attributes = self.entity().local.attributes.iter();
        let mut named = attributes.zip(&row.values).skip(self.key_width());
        named.find_map(|(attribute, value)| (attribute.name == name).then_some(value))
    }
}
