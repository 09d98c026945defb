//! A team's database, drawn at random: tables with keys of every kind, references between them,
//! columns that decide whose a row is, and what users are members of.

use fastrand::Rng;

use crate::plan::Style;
use crate::text::{literal, quoted};

/// Those who may ask.
pub(crate) const USERS: [&str; 3] = ["u1", "u2", "u3"];

/// The column with the text that tells one state of one row from all others.
pub(crate) const MARK: &str = "mark";

/// A column whose values say nothing about whose a row is.
pub(crate) const NUMBER: &str = "n";

/// A unique column that is no key.
pub(crate) const CODE: &str = "code";

/// A column that may say that a row counts as deleted.
pub(crate) const OFF: &str = "off";

/// A column with a time.
pub(crate) const DUE: &str = "due";

/// How that column is declared.
const TIMES: [&str; 3] = ["DATE", "DATETIME", "TIMESTAMPTZ"];

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) tables: Vec<Table>,
    pub(crate) members: Vec<Member>,
}

/// How rows are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A number that whoever inserts gives.
    Integer,
    /// A number that the database gives.
    Numbered,
    Text,
    Uuid,
    /// A text and a number.
    Pair,
    /// A reference and a number: rows of a parent.
    Part,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) key: Key,
    without_rowid: bool,
    pub(crate) foreign: Vec<Foreign>,
    /// The columns that may decide whose a row is.
    pub(crate) deciding: Vec<Domain>,
    pub(crate) has_code: bool,
    pub(crate) off: Option<Off>,
    /// The type of the column with a time.
    pub(crate) due: Option<&'static str>,
    is_indexed: bool,
}

/// How rows say that they count as deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Off {
    True,
    Nine,
    Text,
    /// By any value, in a column of this type.
    Filled(&'static str),
}

impl Off {
    fn declared(self) -> &'static str {
        match self {
            Self::True => "BOOLEAN",
            Self::Nine => "INTEGER",
            Self::Text => "TEXT",
            Self::Filled(kind) => kind,
        }
    }

    /// A value, of a row that counts as deleted or of another.
    pub(crate) fn value(self, is_off: bool, now: i64) -> String {
        let value = match (self, is_off) {
            (Self::True, true) => "1",
            (Self::True, false) => "0",
            (Self::Nine, true) => "9",
            (Self::Nine, false) => "3",
            (Self::Text, true) => "'gone'",
            (Self::Text, false) => "'there'",
            (Self::Filled(kind), true) => return time(kind, now),
            (Self::Filled(_), false) => "NULL",
        };
        value.to_owned()
    }
}

/// A time in SQL, as a column of this type has it.
pub(crate) fn time(kind: &str, seconds: i64) -> String {
    let format = match kind {
        "DATE" => "%Y-%m-%d",
        "TIMESTAMPTZ" => "%Y-%m-%dT%H:%M:%S.000000Z",
        _ => "%Y-%m-%dT%H:%M:%S.000000",
    };
    format!("strftime('{format}', {seconds}, 'unixepoch')")
}

/// A reference to another table's key.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    pub(crate) columns: Vec<String>,
    pub(crate) target: usize,
    pub(crate) nullable: bool,
    pub(crate) action: &'static str,
    is_deferred: bool,
}

/// What values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Owner,
    Area,
    Zone,
    /// Keys of a table.
    KeyOf(usize),
}

/// `[scope.NAME]`: what a user holds, as tables say it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) domain: Domain,
    pub(crate) source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// User and value in one table.
    Direct,
    /// The same, with a switch.
    Switched,
    /// The same, but for values that are blocked for everybody.
    Blocked,
    /// Users in groups, groups with values.
    Grouped,
    /// Values by what the token claims.
    Claimed,
    /// Values of the rows of a table that the user owns.
    Owned(usize),
    /// The keys of a table that refers to itself: what the user is given, and all below.
    Tree(usize, usize),
}

impl Domain {
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Area => "area",
            Self::Zone => "zone",
            Self::KeyOf(_) => unreachable!("keys have columns of their own"),
        }
    }

    pub(crate) fn declared(self, schema: &Schema) -> &'static str {
        match self {
            Self::Owner | Self::Zone => "TEXT",
            Self::Area => "INTEGER",
            Self::KeyOf(table) => schema.tables[table].key.declared(),
        }
    }

    /// A value in SQL, if it is none of keys.
    pub(crate) fn value(self, rng: &mut Rng) -> String {
        match self {
            Self::Owner => literal(USERS[rng.usize(..USERS.len())]),
            Self::Area => rng.u8(1..5).to_string(),
            Self::Zone => literal(&format!("z{}", rng.u8(1..5))),
            Self::KeyOf(_) => "NULL".to_owned(),
        }
    }
}

impl Key {
    /// The type of the column, where it is one.
    fn declared(self) -> &'static str {
        match self {
            Self::Integer | Self::Numbered => "INTEGER",
            Self::Text | Self::Pair | Self::Part => "TEXT",
            Self::Uuid => "UUID",
        }
    }

    pub(crate) fn is_single(self) -> bool {
        !matches!(self, Self::Pair | Self::Part)
    }
}

impl Table {
    pub(crate) fn key_columns(&self) -> Vec<String> {
        match self.key {
            Key::Pair => vec!["k".into(), "nr".into()],
            Key::Part => vec![self.foreign[0].columns[0].clone(), "nr".into()],
            _ => vec!["id".into()],
        }
    }

    /// Indexes of what refers, of what decides, and of the time.
    fn create_indexes(&self) -> String {
        let foreign = self.foreign.iter().map(|foreign| &*foreign.columns[0]);
        let deciding = self.deciding.iter().map(|domain| domain.column());
        let columns = foreign.chain(deciding).chain(self.due.map(|_| DUE));
        let create = |(at, column): (usize, &str)| {
            let index = quoted(&format!("{} by {at}", self.name));
            let (name, column) = (quoted(&self.name), quoted(column));
            format!("\nCREATE INDEX {index} ON {name} ({column});")
        };
        columns.enumerate().map(create).collect()
    }

    /// Every column that is not in the key.
    pub(crate) fn other_columns(&self) -> Vec<String> {
        let key = self.key_columns();
        let foreign = self.foreign.iter().flat_map(|foreign| &foreign.columns);
        let deciding = self.deciding.iter().map(|domain| domain.column().into());
        let mut all: Vec<String> = foreign.cloned().chain(deciding).collect();
        all.retain(|column| !key.contains(column));
        all.extend([MARK.into(), NUMBER.into()]);
        if self.has_code {
            all.push(CODE.into());
        }
        all.extend(self.off.map(|_| OFF.into()));
        all.extend(self.due.map(|_| DUE.into()));
        all
    }
}

impl Schema {
    /// Draws one.
    pub(crate) fn draw(style: Style, rng: &mut Rng) -> Self {
        let mut schema = Self {
            tables: Vec::new(),
            members: Vec::new(),
        };
        let mut names = ["site", "Order", "visit note", "group", "wörk", "item"];
        rng.shuffle(&mut names);
        let reference = ["to", "to the"][rng.usize(..2)];
        for name in &names[..rng.usize(2..=5)] {
            let mut table = schema.table(name, reference, rng);
            if style == Style::Times {
                let due = table.due.unwrap_or(TIMES[rng.usize(..3)]);
                table.due = Some(due);
            }
            schema.tables.push(table);
        }
        for at in 0..rng.usize(1..=3) {
            let member = schema.member(at, rng);
            schema.members.push(member);
        }
        schema
    }

    fn table(&self, name: &str, reference: &str, rng: &mut Rng) -> Table {
        let keys = [Key::Integer, Key::Numbered, Key::Text, Key::Uuid, Key::Pair];
        let mut key = keys[rng.usize(..keys.len())];
        let mut foreign = Vec::new();
        let here = self.tables.len();
        for at in 0..rng.usize(0..=2) {
            if here > 0 {
                foreign.push(self.foreign(&format!("{reference}{at}"), rng.usize(..here), rng));
            }
        }
        if key.is_single() && rng.u8(..4) == 0 {
            foreign.push(Foreign {
                columns: vec![format!("{reference} self")],
                target: here,
                nullable: true,
                action: "",
                is_deferred: rng.bool(),
            });
        }
        if let Some(first) = foreign.first_mut()
            && first.columns.len() == 1
            && first.target != here
            && rng.u8(..5) == 0
        {
            key = Key::Part;
            first.nullable = false;
            if first.action == "ON DELETE SET NULL" {
                first.action = "";
            }
            foreign.retain(|foreign| foreign.target != here);
        }
        let mut deciding = vec![Domain::Owner, Domain::Area, Domain::Zone];
        rng.shuffle(&mut deciding);
        deciding.truncate(rng.usize(0..=3).max(1));
        Table {
            name: name.to_owned(),
            key,
            without_rowid: key != Key::Numbered && rng.u8(..4) == 0,
            foreign,
            deciding,
            has_code: rng.u8(..3) == 0,
            off: (rng.u8(..3) == 0).then(|| {
                let filled = ["TEXT", "DATE", "DATETIME", "TIMESTAMPTZ"][rng.usize(..4)];
                [Off::True, Off::Nine, Off::Text, Off::Filled(filled)][rng.usize(..4)]
            }),
            due: (rng.u8(..3) == 0).then(|| TIMES[rng.usize(..3)]),
            is_indexed: rng.bool(),
        }
    }

    fn foreign(&self, name: &str, target: usize, rng: &mut Rng) -> Foreign {
        let columns = match self.tables[target].key.is_single() {
            true => vec![name.to_owned()],
            false => vec![name.to_owned(), format!("{name} nr")],
        };
        let nullable = rng.u8(..3) > 0;
        let mut actions = vec!["", "", "ON DELETE CASCADE", "ON UPDATE CASCADE"];
        if nullable {
            actions.push("ON DELETE SET NULL");
        }
        Foreign {
            columns,
            target,
            nullable,
            action: actions[rng.usize(..actions.len())],
            is_deferred: rng.u8(..4) == 0,
        }
    }

    fn member(&self, at: usize, rng: &mut Rng) -> Member {
        let mut domain = [Domain::Area, Domain::Zone][rng.usize(..2)];
        let table = rng.usize(..self.tables.len());
        if self.tables[table].key.is_single() && rng.u8(..3) == 0 {
            domain = Domain::KeyOf(table);
        }
        let mut sources = vec![
            Source::Direct,
            Source::Direct,
            Source::Switched,
            Source::Blocked,
            Source::Grouped,
            Source::Grouped,
            Source::Claimed,
        ];
        for (place, owned) in self.tables.iter().enumerate() {
            let has_value = match domain {
                Domain::KeyOf(table) => table == place,
                domain => owned.deciding.contains(&domain),
            };
            if has_value && owned.deciding.contains(&Domain::Owner) {
                sources.push(Source::Owned(place));
            }
        }
        if let Domain::KeyOf(table) = domain {
            let own = |foreign: &Foreign| foreign.target == table;
            let tree = self.tables[table].foreign.iter().position(own);
            sources.extend(tree.map(|foreign| Source::Tree(table, foreign)));
        }
        Member {
            name: format!("s{at}"),
            domain,
            source: sources[rng.usize(..sources.len())],
        }
    }

    /// The types of a table's key.
    fn key_types(&self, table: &Table) -> Vec<&'static str> {
        match table.key {
            Key::Pair => vec!["TEXT", "INTEGER"],
            Key::Part => {
                let parent = &self.tables[table.foreign[0].target];
                vec![parent.key.declared(), "INTEGER"]
            }
            key => vec![key.declared()],
        }
    }

    /// The statements that make it.
    pub(crate) fn create(&self) -> String {
        let tables = self.tables.iter().map(|table| self.create_table(table));
        let members = self.members.iter().map(|member| self.create_member(member));
        tables.chain(members).collect::<Vec<_>>().join("\n")
    }

    fn create_table(&self, table: &Table) -> String {
        let key = table.key_columns();
        let mut lines = Vec::new();
        if table.key == Key::Numbered {
            lines.push("id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned());
        } else {
            for (name, kind) in key.iter().zip(self.key_types(table)) {
                lines.push(format!("{} {kind} NOT NULL", quoted(name)));
            }
        }
        for foreign in &table.foreign {
            let types = self.key_types(&self.tables[foreign.target]);
            for (name, kind) in foreign.columns.iter().zip(types) {
                let null = if foreign.nullable { "" } else { " NOT NULL" };
                if !key.contains(name) {
                    lines.push(format!("{} {kind}{null}", quoted(name)));
                }
            }
        }
        for domain in &table.deciding {
            lines.push(format!("{} {}", domain.column(), domain.declared(self)));
        }
        lines.push(format!("{MARK} TEXT"));
        lines.push(format!("{NUMBER} INTEGER DEFAULT 0"));
        if table.has_code {
            lines.push(format!("{CODE} INTEGER UNIQUE"));
        }
        let off = table.off.map(|off| format!("{OFF} {}", off.declared()));
        let due = table.due.map(|kind| format!("{DUE} {kind}"));
        lines.extend(off.into_iter().chain(due));
        if table.key != Key::Numbered {
            lines.push(format!("PRIMARY KEY ({})", listed(&key)));
        }
        for foreign in &table.foreign {
            let target = &self.tables[foreign.target];
            let deferred = match foreign.is_deferred {
                true => " DEFERRABLE INITIALLY DEFERRED",
                false => "",
            };
            lines.push(format!(
                "FOREIGN KEY ({}) REFERENCES {} ({}) {}{deferred}",
                listed(&foreign.columns),
                quoted(&target.name),
                listed(&target.key_columns()),
                foreign.action
            ));
        }
        let end = if table.without_rowid {
            " WITHOUT ROWID"
        } else {
            ""
        };
        let name = quoted(&table.name);
        let sql = format!("CREATE TABLE {name} ({}){end};", lines.join(", "));
        match table.is_indexed {
            true => sql + &table.create_indexes(),
            false => sql,
        }
    }

    fn create_member(&self, member: &Member) -> String {
        let (name, kind) = (&member.name, member.domain.declared(self));
        match member.source {
            Source::Direct | Source::Tree(..) => {
                format!("CREATE TABLE m{name} (user_id TEXT, v {kind});")
            }
            Source::Switched => {
                format!("CREATE TABLE m{name} (user_id TEXT, v {kind}, active INTEGER);")
            }
            Source::Blocked => format!(
                "CREATE TABLE m{name} (user_id TEXT, v {kind});\nCREATE TABLE x{name} (v {kind});"
            ),
            Source::Grouped => format!(
                "CREATE TABLE m{name} (user_id TEXT, grp INTEGER);\n\
                 CREATE TABLE g{name} (grp INTEGER, v {kind});"
            ),
            Source::Claimed => format!("CREATE TABLE m{name} (zone TEXT, v {kind});"),
            Source::Owned(_) => String::new(),
        }
    }
}

/// Names, quoted, with commas between.
pub(crate) fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}
