//! Looks against transactions that commit in another order than they began, and against a capture
//! with a hole.

use afield_protocol::Value;
use afield_server::storage::Caller;
use afield_server::storage::conformance::Database;
use afield_server::storage::live::{
    HeldEntity, Look, Moment, Touched, TouchedHeld, TouchedRows, Watched,
};
use postgres::Client;

use crate::postgres_database::PostgresDatabase;

/// Who looks for the rows of one entity under one value of its first scope column.
struct Looking<'d> {
    db: &'d PostgresDatabase,
    at: usize,
    watched: Watched,
    moment: Option<Moment>,
}

impl<'d> Looking<'d> {
    /// Under what ada holds.
    fn of(db: &'d PostgresDatabase, entity: &str) -> Self {
        let all = &db.model().entities;
        let at = all.iter().position(|it| it.local.name == entity).unwrap();
        let look = db
            .storage()
            .look(db.model(), None, &Watched::default(), &mut |_| {
                vec![Caller::user("ada")]
            });
        let Look { held, moment, .. } = look.unwrap();
        let held = held.into_iter().next().unwrap().unwrap();
        let mut watched = Watched::default();
        watched.entities.resize(all.len(), Vec::new());
        if let HeldEntity::Ways { conditions, .. } = &held.entities[at] {
            let first = &conditions[0];
            watched.entities[at].push((first.column, first.values.clone()));
        }
        Self {
            db,
            at,
            watched,
            moment: Some(moment),
        }
    }

    fn look(&mut self) -> Touched {
        let (storage, model) = (self.db.storage(), self.db.model());
        let look = storage.look(model, self.moment.as_ref(), &self.watched, &mut |_| {
            Vec::new()
        });
        let look = look.unwrap();
        self.moment = Some(look.moment);
        look.touched
    }

    fn rows(&mut self) -> TouchedRows {
        let touched = self.look();
        let of_entity = touched.entities.into_iter().nth(self.at);
        of_entity.map(|it| it.rows).unwrap_or_default()
    }
}

fn run(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap();
}

/// A transaction that began first and commits last is found when it commits, and so is one whose
/// mark another one has written over.
#[test]
fn p5_what_commits_late_is_found_when_it_does() {
    let db = PostgresDatabase::alone();
    db.execute(
        "INSERT INTO own_task (id, owner, words) VALUES
           (1, 'ada', 'a'), (2, 'ada', 'b'), (3, 'bob', 'c');
         INSERT INTO company VALUES ('A', 'Adler', 1)",
    );
    for (entity, first, second) in [
        (
            "own_task",
            "UPDATE own_task SET words = words || 'x' WHERE id = 1",
            "UPDATE own_task SET words = 'y' WHERE id = 2",
        ),
        (
            "company",
            "UPDATE company SET rank = rank + 1 WHERE code = 'A'",
            "INSERT INTO company VALUES ('B', 'Bauer', 1) \
             ON CONFLICT (code) DO UPDATE SET rank = 2",
        ),
    ] {
        let mut looking = Looking::of(&db, entity);
        let (mut slow, mut quick) = (db.database.connect(), db.database.connect());
        run(&mut slow, &format!("BEGIN; {first}"));
        assert_eq!(looking.rows(), TouchedRows::None, "nothing is committed");
        run(&mut quick, second);
        assert_ne!(looking.rows(), TouchedRows::None);
        assert_eq!(looking.rows(), TouchedRows::None);
        run(&mut slow, "SAVEPOINT s");
        run(&mut quick, "UPDATE own_task SET words = 'z' WHERE id = 3");
        looking.look();
        run(&mut slow, "RELEASE s; COMMIT");
        assert_ne!(looking.rows(), TouchedRows::None, "{entity}: it is late");
        assert!(!looking.look().is_anything, "told twice");
        run(&mut slow, &format!("BEGIN; {first}; ROLLBACK"));
        assert_eq!(looking.rows(), TouchedRows::None, "nothing came of it");
    }
}

/// Whether one transaction or several wrote to what says who holds what.
#[test]
fn p5_writers_of_memberships_are_counted() {
    let db = PostgresDatabase::new();
    let mut looking = Looking::of(&db, "area_task");
    let at = looking.at;
    let mut held = || {
        let touched = looking.look();
        touched
            .entities
            .get(at)
            .map_or(TouchedHeld::No, |it| it.held)
    };
    assert_eq!(held(), TouchedHeld::No);
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1); INSERT INTO region_member VALUES ('ada', 2)",
    );
    assert_eq!(held(), TouchedHeld::Once);
    db.execute("DELETE FROM region_member WHERE region_id = 1");
    db.execute("INSERT INTO region_member VALUES ('ada', 1)");
    assert_eq!(held(), TouchedHeld::Several);
    db.execute("UPDATE own_task SET words = 'x'");
    assert_eq!(held(), TouchedHeld::No);
}

/// What is emptied at once leaves no marks of rows, but a reset.
#[test]
fn p5_a_truncation_is_found() {
    let db = PostgresDatabase::new();
    db.execute("INSERT INTO own_task (id, owner) VALUES (1, 'ada')");
    let mut looking = Looking::of(&db, "own_task");
    db.execute("TRUNCATE own_task");
    assert_eq!(looking.rows(), TouchedRows::Any);
    let left = db.query("SELECT count(*) FROM own_task");
    assert_eq!(left, [[Value::Integer(0)]]);
    assert_eq!(looking.rows(), TouchedRows::None);
}
