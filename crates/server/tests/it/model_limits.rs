//! `[limits]`: the page in the docs, and the bounds that the model is held to.

use std::path::Path;

use afield_server::model::ModelFile;
use afield_server::model::file::{LimitsSection, Overrides};

/// A row of the page's tables of keys.
struct Row {
    key: String,
    default: String,
    from: String,
    to: String,
}

/// The rows of `docs/limits.md`.
fn page() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/limits.md");
    let page = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &[_, key, default, from, to, beyond, why, _] = cells.as_slice() else {
            return None;
        };
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        if !key.starts_with('`') {
            return None;
        }
        assert!(!beyond.is_empty() && !why.is_empty(), "{line}");
        Some(Row {
            key: bare(key),
            default: bare(default),
            from: bare(from),
            to: bare(to),
        })
    };
    page.lines().filter_map(row).collect()
}

fn read(lines: &str) -> Result<LimitsSection, String> {
    let text = format!("[server]\ndatabase = \"sqlite:a.db\"\n[limits]\n{lines}\n");
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default());
    let file = file.map_err(|errors| format!("{errors:?}"))?;
    assert_eq!(file.warnings, [], "every limit has an effect");
    Ok(file.limits)
}

/// The value one below or above.
fn beside(value: &str, step: i64) -> String {
    match value.parse::<i64>() {
        Ok(number) => (number + step).to_string(),
        Err(_) => {
            let (number, unit) = value.trim_matches('"').split_once(' ').unwrap();
            let number: i64 = number.parse().unwrap();
            let (scale, unit) = match unit {
                "KiB" => (1 << 10, "B"),
                "MiB" => (1 << 20, "B"),
                "GiB" => (1 << 30, "B"),
                "ms" => (1, "ms"),
                "s" => (1_000, "ms"),
                "min" => (60_000, "ms"),
                "day" => (86_400_000, "ms"),
                other => panic!("{other}"),
            };
            format!("\"{} {unit}\"", number * scale + step)
        }
    }
}

#[test]
fn the_page_has_every_limit_with_its_default_and_its_bounds() {
    let page = page();
    let defaults: Vec<String> = page
        .iter()
        .map(|row| format!("{} = {}", row.key, row.default))
        .collect();
    assert_eq!(
        read(&defaults.join("\n")).unwrap(),
        LimitsSection::default()
    );
    for row in &page {
        let with = |value: &str| read(&format!("{} = {value}", row.key));
        for (bound, beyond) in [(&row.from, -1), (&row.to, 1)] {
            let at = with(bound).unwrap();
            let is_default = beside(bound, 0) == beside(&row.default, 0);
            assert_eq!(at == LimitsSection::default(), is_default, "{}", row.key);
            assert!(with(&beside(bound, -beyond)).is_ok(), "{} {bound}", row.key);
            let error = with(&beside(bound, beyond)).unwrap_err();
            assert!(error.contains(&row.key), "{error}");
        }
    }
    // A key that the page forgets is a field that no default of the page set to something else.
    let fields = format!("{:?}", LimitsSection::default());
    assert_eq!(fields.matches(": ").count(), page.len(), "{fields}");
}

#[test]
fn devices_are_told_their_limits_and_nothing_where_none_is_set() {
    let model = |limits: &str| {
        let (_connection, catalog) =
            crate::model_catalog::database("CREATE TABLE visit (id INTEGER PRIMARY KEY)");
        let text = format!(
            "[server]\ndatabase = \"sqlite:a.db\"\n[limits]\n{limits}\n[local.visit]\n\
             from = \"visit\"\nattributes = []\n\
             pattern = \"last-write-wins\"\nscope = \"everyone\"\n"
        );
        let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default());
        afield_server::model::resolve(&file.unwrap(), &catalog)
            .unwrap()
            .device
    };
    let plain = model("body = \"1 MiB\"").to_json();
    assert!(!plain.contains("limits"), "{plain}");
    let set = model("batch_changes = 7\nidle_timeout = \"3 s\"");
    assert_eq!(set.limits.batch_changes, 7);
    assert_eq!(set.limits.idle_timeout_ms, 3_000);
    assert_ne!(set.to_json(), plain);
    let read = afield_protocol::Model::from_json(&set.to_json()).unwrap();
    assert_eq!(read, set);
}
