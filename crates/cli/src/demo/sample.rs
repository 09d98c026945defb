//! The sample database: about 20,000 rows, the same ones every time.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

/// The model file: every sync pattern occurs in it.
pub(super) const MODEL: &str = include_str!("sample.toml");

/// Rows of each table. Together with contacts and violations, which depend on chance, about
/// 20,000.
const BUSINESSES: usize = 2_500;
const INSPECTIONS: usize = 6_500;
const INSPECTORS: i64 = 36;

/// The seed of everything that looks random here.
const SEED: u64 = 0x0af1_e1d0;

const DISTRICTS: [(&str, &str); 8] = [
    ("C1", "Old Town"),
    ("C2", "Harbour"),
    ("E1", "Eastgate"),
    ("N1", "North Hill"),
    ("N2", "Mill Lane"),
    ("S1", "South Bank"),
    ("S2", "Orchard"),
    ("W1", "Westfield"),
];

/// Who works where. Ann and Ben share the Harbour.
const MEMBERS: [(&str, &str); 6] = [
    ("ann", "C1"),
    ("ann", "C2"),
    ("ben", "C2"),
    ("ben", "E1"),
    ("cara", "N1"),
    ("cara", "N2"),
];

const FIRST_NAMES: [&str; 24] = [
    "Ada", "Amir", "Anna", "Ben", "Carla", "Chen", "David", "Elif", "Emma", "Farid", "Grace",
    "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Maria", "Nils", "Olga", "Priya", "Rosa", "Sven",
    "Tariq", "Yuki",
];

const LAST_NAMES: [&str; 24] = [
    "Adler", "Bauer", "Costa", "Diallo", "Evans", "Fischer", "Garcia", "Haddad", "Ivanova",
    "Jensen", "Kaya", "Lopez", "Meyer", "Novak", "Okafor", "Petrov", "Quinn", "Rossi", "Sato",
    "Tran", "Ueda", "Vogel", "Weber", "Young",
];

const STREETS: [&str; 16] = [
    "Bridge Street",
    "Canal Road",
    "Church Lane",
    "Station Square",
    "Garden Street",
    "High Street",
    "King's Road",
    "Lime Street",
    "Market Place",
    "Mill Lane",
    "North Road",
    "Park Avenue",
    "Quay Street",
    "School Lane",
    "Victoria Road",
    "Water Street",
];

const KINDS: [&str; 8] = [
    "bakery",
    "butcher",
    "café",
    "canteen",
    "grocery",
    "kiosk",
    "pizzeria",
    "restaurant",
];

const ADJECTIVES: [&str; 12] = [
    "Blue", "Golden", "Green", "Happy", "Little", "Lucky", "Old", "Royal", "Silver", "Sunny",
    "White", "Wild",
];

const NOUNS: [&str; 12] = [
    "Anchor", "Bear", "Corner", "Crown", "Dragon", "Fork", "Garden", "Lantern", "Oven", "Rose",
    "Spoon", "Star",
];

const VIOLATIONS: [(&str, &str, &str); 10] = [
    ("T01", "critical", "Cold food kept above 7 °C."),
    ("T02", "major", "No thermometer in the cold room."),
    ("H01", "critical", "No warm water at the hand basin."),
    ("H02", "minor", "No paper towels at the hand basin."),
    ("C01", "major", "Grease on the extractor hood."),
    ("C02", "minor", "Crumbs behind the counter."),
    ("P01", "critical", "Traces of mice in the store room."),
    ("P02", "minor", "Fly screen torn."),
    ("D01", "minor", "Cleaning plan not filled in."),
    ("D02", "major", "No record of allergen training."),
];

const NOTES: [&str; 8] = [
    "Kitchen clean, staff friendly. Cold chain documented.",
    "Owner not present; shown around by the cook.",
    "Second visit after complaint. Store room in better order than last time.",
    "Renovation in the back room, to be looked at again when finished.",
    "Busy at noon, better come in the morning.",
    "Entrance through the yard, ring twice.",
    "All points of the last inspection settled.",
    "Temperature list complete, cleaning plan missing for two weeks.",
];

/// Makes the sample database at `path`, which must not exist.
pub(crate) fn make(path: &Path) -> rusqlite::Result<u64> {
    let mut db = Connection::open(path)?;
    let transaction = db.transaction()?;
    transaction.execute_batch(include_str!("sample.sql"))?;
    let mut rows = Filler {
        db: &transaction,
        random: fastrand::Rng::with_seed(SEED),
        rows: 0,
    };
    rows.districts()?;
    rows.inspectors()?;
    let businesses = rows.businesses()?;
    rows.inspections(&businesses)?;
    let count = rows.rows;
    transaction.commit()?;
    Ok(count)
}

struct Filler<'a> {
    db: &'a Transaction<'a>,
    random: fastrand::Rng,
    rows: u64,
}

impl Filler<'_> {
    fn insert(&mut self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.rows += 1;
        self.db.prepare_cached(sql)?.execute(values).map(|_| ())
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.usize(..from.len())]
    }

    fn person(&mut self) -> String {
        format!("{} {}", self.pick(&FIRST_NAMES), self.pick(&LAST_NAMES))
    }

    fn phone(&mut self) -> String {
        format!(
            "0{} {:06}",
            self.random.u32(20..90),
            self.random.u32(100_000..999_999)
        )
    }

    fn uuid(&mut self) -> String {
        let hex = format!("{:032x}", self.random.u128(..));
        let (a, b, c, d) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20]);
        format!("{a}-{b}-4{c}-8{d}-{}", &hex[20..])
    }

    fn date(&mut self, years: std::ops::Range<u32>) -> String {
        let (month, day) = (self.random.u32(1..13), self.random.u32(1..29));
        format!("{}-{month:02}-{day:02}", self.random.u32(years))
    }

    fn districts(&mut self) -> rusqlite::Result<()> {
        for (code, name) in DISTRICTS {
            self.insert("INSERT INTO district VALUES (?1, ?2)", [code, name])?;
        }
        for (login, district) in MEMBERS {
            let sql = "INSERT INTO district_member VALUES (?1, ?2)";
            self.insert(sql, [login, district])?;
        }
        Ok(())
    }

    fn inspectors(&mut self) -> rusqlite::Result<()> {
        for number in 0..INSPECTORS {
            let (name, phone) = (self.person(), self.phone());
            let district = self.pick(&DISTRICTS).0;
            let sql = "INSERT INTO inspector VALUES (?1, ?2, ?3, ?4)";
            self.insert(sql, params![1_001 + number, name, district, phone])?;
        }
        Ok(())
    }

    fn businesses(&mut self) -> rusqlite::Result<Vec<String>> {
        let mut ids = Vec::with_capacity(BUSINESSES);
        for _ in 0..BUSINESSES {
            let id = self.uuid();
            let kind = self.pick(&KINDS);
            let name = format!("{} {} {kind}", self.pick(&ADJECTIVES), self.pick(&NOUNS));
            let street = format!("{} {}", self.pick(&STREETS), self.random.u32(1..140));
            let district = self.pick(&DISTRICTS).0;
            let (latitude, longitude) = (self.random.f64() / 8.0, self.random.f64() / 8.0);
            let seats = self.random.i64(0..120);
            let licensed = self.date(1998..2026);
            let sql =
                "INSERT INTO business VALUES (?1, ?2, ?3, ?4, 'Fieldport', ?5, ?6, ?7, ?8, ?9, 1)";
            self.insert(
                sql,
                params![
                    id,
                    name,
                    kind,
                    street,
                    district,
                    54.25 + latitude,
                    9.75 + longitude,
                    seats,
                    licensed
                ],
            )?;
            for _ in 0..self.random.u32(1..3) {
                self.contact(&id)?;
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn contact(&mut self, business: &str) -> rusqlite::Result<()> {
        let (id, name, phone) = (self.uuid(), self.person(), self.phone());
        let role = self.pick(&["owner", "manager", "cook", "deputy"]);
        let email = format!("{}@example.org", name.to_lowercase().replace(' ', "."));
        let sql = "INSERT INTO contact VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.insert(sql, params![id, business, name, role, phone, email])
    }

    fn inspections(&mut self, businesses: &[String]) -> rusqlite::Result<()> {
        for _ in 0..INSPECTIONS {
            let id = self.uuid();
            let business = &businesses[self.random.usize(..businesses.len())];
            let inspector = 1_001 + self.random.i64(0..INSPECTORS);
            let kind = self.pick(&["routine", "complaint", "follow-up", "opening"]);
            let planned = self.date(2024..2028);
            let is_done = planned.as_str() < "2026-11";
            let findings = if is_done { self.random.i64(0..4) } else { 0 };
            let result = match findings {
                0 => "pass",
                1 | 2 => "pass with conditions",
                _ => "fail",
            };
            let finished = format!(
                "{planned} {:02}:{:02}:00",
                self.random.u32(8..17),
                self.random.u32(0..60)
            );
            let notes = is_done.then_some(self.pick(&NOTES));
            let sql = "INSERT INTO inspection VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            self.insert(
                sql,
                params![
                    id,
                    business,
                    inspector,
                    kind,
                    planned,
                    is_done.then_some(finished),
                    is_done.then_some(result),
                    is_done.then_some(100 - 12 * findings),
                    notes,
                ],
            )?;
            for number in 1..=findings {
                let (code, severity, comment) = self.pick(&VIOLATIONS);
                let fixed = self.random.bool();
                let sql = "INSERT INTO violation VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                self.insert(sql, params![id, number, code, severity, comment, fixed])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_same_every_time_and_about_20_000_rows() {
        let folder = tempfile::tempdir().unwrap();
        let digest = |name: &str| -> (u64, String) {
            let path = folder.path().join(name);
            let rows = make(&path).unwrap();
            let db = Connection::open(path).unwrap();
            let sql = "SELECT group_concat(id || name || coalesce(seats, '')) FROM business";
            (rows, db.query_row(sql, [], |row| row.get(0)).unwrap())
        };
        let (rows, first) = digest("one");
        assert!((18_000..22_000).contains(&rows), "{rows} rows");
        assert!(first == digest("two").1, "two samples differ");
    }
}
