//! Rows that are not everyone's: whose they are, what the team says of that, and the values in
//! them.
//!
//! ```text
//! shop   whose district the user is a member of
//! task   its owner's; and of those in whose crew's team it is, who hold the district of its shop
//!
//! member (user, district), crew (user, team): the team's own tables, which no device gets and
//! no trigger of ours captures
//! ```

use afield_protocol::Value;
use afield_server::resolved::{Condition, Holds, Hop, NamedScope, Scope};

use crate::{app, jobs};

/// Users whose rights the team may change: as many as there are devices at first.
pub(crate) const USERS: u32 = 3;

/// Districts, of which a shop is in one.
pub(crate) const DISTRICTS: u32 = 4;

/// Teams, of which a task is one's.
pub(crate) const TEAMS: u32 = 3;

/// Shops at first; tasks refer to these, and to one more that is not there.
const SHOPS: u32 = 6;

/// Tasks at first.
const TASKS: u32 = 10;

/// What begins and ends a text in these entities: no other bytes of a file look like one.
const MARK: char = '~';

/// The place in this list of an entity whose rows are not everyone's.
pub(crate) fn place(entity: usize) -> Option<usize> {
    app::SCOPED.iter().position(|scoped| *scoped == entity)
}

/// Whether an entity's rows are everyone's.
pub(crate) fn is_everyones(entity: usize) -> bool {
    place(entity).is_none() && entity != app::SHIFT
}

/// A user's name.
pub(crate) fn user(n: usize) -> String {
    format!("user{n}")
}

/// Whose rows of an entity are.
pub(crate) fn scope(entity: usize) -> Scope {
    let held = |column: &str, path: Vec<Hop>, scope: &str| Condition {
        column: column.to_owned(),
        path,
        holds: Holds::Scope(scope.to_owned()),
    };
    let owner = Condition {
        column: "owner".to_owned(),
        path: Vec::new(),
        holds: Holds::User,
    };
    let shop = Hop {
        table: "shop".to_owned(),
        key: "id".to_owned(),
        column: "district_id".to_owned(),
    };
    match entity {
        app::SHOP => Scope::Ways(vec![vec![held("district_id", Vec::new(), "districts")]]),
        app::SHIFT => Scope::Ways(vec![vec![owner]]),
        app::TASK => Scope::Ways(vec![
            vec![owner],
            vec![
                held("shop_id", vec![shop], "districts"),
                held("team", Vec::new(), "teams"),
            ],
        ]),
        app::PROJECT | app::JOB => jobs::ways(entity),
        _ => Scope::Everyone,
    }
}

/// What users hold.
pub(crate) fn named() -> Vec<NamedScope> {
    let named = |name: &str, query: &str| NamedScope {
        name: name.to_owned(),
        query: query.to_owned(),
        chosen: None,
    };
    vec![
        named(
            "districts",
            "SELECT district FROM member WHERE user = :user",
        ),
        named("teams", "SELECT team FROM crew WHERE user = :user"),
    ]
}

/// The oracle's own word on it: the condition, over a row of the entity's table, that it is the
/// user's whose name is parameter 1.
pub(crate) fn is_mine(entity: usize) -> &'static str {
    match entity {
        app::SHOP => {
            "EXISTS (SELECT 1 FROM member AS m \
             WHERE m.user = ?1 AND m.district = shop.district_id)"
        }
        app::TASK => {
            "task.owner = ?1 OR EXISTS (SELECT 1 FROM shop AS s \
             JOIN member AS m ON m.district = s.district_id AND m.user = ?1 \
             JOIN crew AS c ON c.user = ?1 \
             WHERE s.id = task.shop_id AND c.team = task.team)"
        }
        app::PROJECT => jobs::PROJECT_IS_MINE,
        app::JOB => jobs::JOB_IS_MINE,
        _ => "1",
    }
}

/// The team's tables that say who holds what.
pub(crate) fn schema() -> String {
    "CREATE TABLE member (user TEXT, district INTEGER, PRIMARY KEY (user, district)) \
     WITHOUT ROWID;\n\
     CREATE TABLE crew (user TEXT, team INTEGER, PRIMARY KEY (user, team)) WITHOUT ROWID;\n\
     CREATE INDEX shop_district ON shop (district_id);\n\
     CREATE INDEX task_owner ON task (owner);\n\
     CREATE INDEX task_shop ON task (shop_id);\n\
     CREATE INDEX task_team ON task (team);\n"
        .to_owned()
}

/// What a world with such rows begins with.
pub(crate) fn beginnings() -> String {
    let mut sql = "INSERT INTO member VALUES ('user0', 1), ('user0', 2), ('user1', 2), \
                   ('user1', 3), ('user2', 3);\n\
                   INSERT INTO crew VALUES ('user0', 1), ('user0', 2), ('user1', 1), \
                   ('user2', 2), ('user2', 3);\n"
        .to_owned();
    for id in 1..=SHOPS {
        let (district, name) = (id % DISTRICTS + 1, text(&format!("b{id}")));
        sql += &format!("INSERT INTO shop VALUES ({id}, {district}, '{name}', NULL);\n");
    }
    for id in 1..=TASKS {
        let (shop, team, owner) = (id % SHOPS + 1, id % TEAMS + 1, id % USERS);
        let (key, note) = (app::uuid(id), text(&format!("c{id}")));
        sql += &format!(
            "INSERT INTO task VALUES ('{key}', {shop}, {team}, 'user{owner}', '{note}', {id});\n"
        );
    }
    sql
}

/// The value that a number stands for: texts are unique, and marked so that they are found in the
/// bytes of a file.
pub(crate) fn value(attribute: &str, n: u32) -> Value {
    // Edits make each number of eight.
    let n_of_edit = n / 8;
    match attribute {
        "district" => Value::Integer((n_of_edit % DISTRICTS + 1).into()),
        "shop" => Value::Integer((n_of_edit % (SHOPS + 1) + 1).into()),
        "team" => Value::Integer((n_of_edit % TEAMS + 1).into()),
        "owner" => Value::Text(user((n_of_edit % USERS) as usize)),
        "count" => Value::Integer(n.into()),
        _ => Value::Text(text(&n.to_string())),
    }
}

/// A text that is found in the bytes of a file.
pub(crate) fn text(word: &str) -> String {
    format!("{MARK}s{word}{MARK}")
}

/// Such a text, if a value is one.
pub(crate) fn marked(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) if text.starts_with(MARK) => Some(text),
        _ => None,
    }
}

/// All such texts in some bytes.
pub(crate) fn texts(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let mark = u8::try_from(MARK).unwrap_or_default();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let begins = rest.windows(2).position(|two| two == [mark, b's'])?;
            let from = &rest[begins..];
            let word = &from[2..];
            let length = word
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count();
            rest = &word[length..];
            if length > 0 && rest.first() == Some(&mark) {
                rest = &rest[1..];
                return std::str::from_utf8(&from[..length + 3]).ok();
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_bytes() {
        let bytes = b"\x00~s12~\xff~s~~~sb3~~s4 ~s5~";
        let found: Vec<&str> = texts(bytes).collect();
        assert_eq!(found, ["~s12~", "~sb3~", "~s5~"]);
        let value = value("note", 17);
        assert_eq!(marked(&value), Some("~s17~"));
    }
}
