//! A device that chooses values and pulls, and compares what it has with plain SQL.

use std::collections::{BTreeMap, BTreeSet};

use afield_protocol::codec::Malformed;
use afield_protocol::{Cell, Chosen, Code, Frame, Held, Position, RowBlock, Value};

use super::super::Database;
use crate::storage::{Caller, PullRequest, PulledPage};

/// A row with the numbers of the values that brought it.
type Brought = (Vec<Value>, Vec<Option<i64>>);

/// A device of one user.
#[derive(Clone, Debug)]
pub struct ChoosingDevice {
    /// Whose it is.
    pub caller: Caller,
    /// What is chosen, by scope, exactly as it is sent.
    pub chosen: BTreeMap<String, Vec<Value>>,
    /// How many rows and gone identifiers came.
    pub delivered: usize,
    /// How many entities started over.
    pub resets: usize,
    /// How many values of scopes were told.
    pub told: usize,
    rows: BTreeMap<String, BTreeMap<i64, Brought>>,
    values: BTreeMap<String, BTreeSet<i64>>,
    positions: BTreeMap<String, Position>,
}

impl ChoosingDevice {
    /// A device of this user, on which nothing is chosen.
    pub fn of(user: &str) -> Self {
        Self {
            caller: Caller::user(user),
            chosen: BTreeMap::new(),
            delivered: 0,
            resets: 0,
            told: 0,
            rows: BTreeMap::new(),
            values: BTreeMap::new(),
            positions: BTreeMap::new(),
        }
    }

    /// With these projects chosen, and no others.
    #[must_use]
    pub fn choosing(mut self, projects: &[i64]) -> Self {
        self.choose(projects);
        self
    }

    /// Chooses these projects and no others.
    pub fn choose(&mut self, projects: &[i64]) {
        let values = projects.iter().map(|id| Value::Integer(*id)).collect();
        self.chosen.insert("projects".into(), values);
    }

    /// The identifiers of the rows that it has.
    pub fn ids(&self, entity: &str) -> Vec<i64> {
        let rows = self.rows.get(entity).into_iter().flatten();
        rows.map(|(id, _)| *id).collect()
    }

    /// What it asks for.
    pub fn request(&self, entities: &[&str], rows_max: usize) -> PullRequest {
        let position = |name: &&str| ((*name).to_owned(), self.positions.get(*name).cloned());
        let chosen = |(scope, values): (&String, &Vec<Value>)| Chosen {
            scope: scope.clone(),
            values: values.clone(),
        };
        PullRequest {
            now: 1_000,
            caller: self.caller.clone(),
            held: Vec::new(),
            chosen: self.chosen.iter().map(chosen).collect(),
            entities: entities.iter().map(position).collect(),
            rows_max,
            bytes_max: usize::MAX,
            compare: Default::default(),
        }
    }

    /// Pulls until a page is complete; then it must have exactly what plain SQL finds.
    pub fn pull(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) {
        for _ in 0..1_000 {
            if self.page(db, entities, rows_max).end.complete {
                return;
            }
        }
        panic!("the pull of {entities:?} never ends");
    }

    /// Pulls a page and applies it.
    pub fn page(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) -> PulledPage {
        let mut request = self.request(entities, rows_max);
        let page = match db.storage().pull(db.model(), &request) {
            Err(error) if error.code == Code::HELD_WANTED => {
                request.held = entities.iter().map(|name| self.held(name)).collect();
                db.storage().pull(db.model(), &request)
            }
            page => page,
        };
        let page = page.expect("the pull works");
        self.apply(db, &page);
        if page.end.complete {
            for entity in entities {
                assert_eq!(self.ids(entity), self.expected(db, entity), "{entity}");
            }
        }
        page
    }

    fn held(&self, entity: &str) -> Held {
        let values = self.values.get(entity).into_iter().flatten();
        Held {
            entity: entity.to_owned(),
            gained: values.copied().collect(),
            lost: Vec::new(),
        }
    }

    fn apply(&mut self, db: &dyn Database, page: &PulledPage) {
        let [Frame::Page(head), content @ .., Frame::PageEnd(end)] = page.frames.as_slice() else {
            panic!("a page begins with `page` and ends with `page-end`");
        };
        self.resets += head.reset.len();
        for entity in &head.reset {
            self.rows.remove(entity);
            self.values.remove(entity);
        }
        for frame in content {
            match frame {
                Frame::Rows(block) => {
                    let mine = self.expected(db, &block.entity);
                    for (id, brought) in rows_of(db, block) {
                        assert!(mine.contains(&id), "p7: {} {id} came", block.entity);
                        self.rows
                            .entry(block.entity.clone())
                            .or_default()
                            .insert(id, brought);
                        self.delivered += 1;
                    }
                }
                Frame::Gone { entity, keys } => {
                    let rows = self.rows.entry(entity.clone()).or_default();
                    for key in keys {
                        rows.remove(&number(&key[0]));
                        self.delivered += 1;
                    }
                }
                Frame::Held(held) => self.take(db, held),
                other => panic!("no part of a page: {other:?}"),
            }
        }
        self.positions.extend(end.to.iter().cloned());
    }

    fn take(&mut self, db: &dyn Database, held: &Held) {
        self.told += held.gained.len() + held.lost.len();
        let values = self.values.entry(held.entity.clone()).or_default();
        values.retain(|value| !held.lost.contains(value));
        values.extend(&held.gained);
        let widths = &db.model().entity(&held.entity).unwrap().local.scope;
        assert_eq!(widths.len(), 1, "each entity here has one way in");
        let rows = self.rows.entry(held.entity.clone()).or_default();
        rows.retain(|_, (_, numbers)| {
            let is_lost = |number: &Option<i64>| number.is_none_or(|it| held.lost.contains(&it));
            !numbers.iter().any(is_lost)
        });
    }

    /// The identifiers of the rows that it should have now, by plain SQL.
    fn expected(&self, db: &dyn Database, entity: &str) -> Vec<i64> {
        let user = &self.caller.user;
        let of = |scope: &str| self.chosen.get(scope).into_iter().flatten();
        let projects: Vec<String> = of("projects")
            .filter_map(|value| match value {
                Value::Integer(id) => Some(id.to_string()),
                _ => None,
            })
            .collect();
        // Not every database takes an empty list.
        let listed = |all: Vec<String>| match all.is_empty() {
            true => "NULL".to_owned(),
            false => all.join(", "),
        };
        let projects = format!(
            "project_id IN ({}) AND project_id IN \
             (SELECT project_id FROM project_member WHERE user_id = '{user}')",
            listed(projects)
        );
        let places: Vec<String> = of("places")
            .filter_map(|value| match value {
                Value::Text(id) => Some(format!("'{}'", id.replace('\'', "''"))),
                _ => None,
            })
            .collect();
        let condition = match entity {
            "visit" => projects,
            "remark" => format!("visit_id IN (SELECT id FROM visit WHERE {projects})"),
            "sheet" => format!("owner = '{user}' AND {projects}"),
            _ => format!(
                "lower(CAST(place_id AS TEXT)) IN ({}) AND place_id IN \
                 (SELECT place_id FROM place_member WHERE user_id = '{user}')",
                listed(places)
            ),
        };
        let sql = format!("SELECT id FROM {entity} WHERE {condition} ORDER BY id");
        let rows = db.query(&sql).into_iter();
        rows.map(|row| number(&row[0])).collect()
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("no number: {other:?}"),
    }
}

fn rows_of(db: &dyn Database, block: &RowBlock) -> Vec<(i64, Brought)> {
    let width = db
        .model()
        .entity(&block.entity)
        .unwrap()
        .local
        .attributes
        .len();
    let mut found = Vec::new();
    let read = block.for_each(|cells| {
        let mut row: Vec<Value> = cells.iter().map(|it| Cell::as_ref(it).to_value()).collect();
        let numbers = row.split_off(width);
        let value = |value: Value| match value {
            Value::Null => None,
            value => Some(number(&value)),
        };
        let numbers = numbers.into_iter().map(value).collect();
        found.push((number(&row[0]), (row, numbers)));
        Ok::<(), Malformed>(())
    });
    read.expect("the block reads");
    found
}
