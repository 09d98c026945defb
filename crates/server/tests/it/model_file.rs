//! The model file: what it means, and every mistake with its place and remedy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afield_protocol::Code;
use afield_server::model::file::{DatabaseUrl, KeyFile, Overrides};
use afield_server::model::{ModelError, ModelFile};

const GOOD: &str = r#"
[server]
database = "sqlite:data/team.db"
listen = "127.0.0.1:4200"
retention = "30 days"
[auth]
secret_file = "secret"
[limits]
body = "1 MiB"
[model]
version = 3
[unit.work]
entities = ["visit"]
[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["note", { town = "city" }]
read_only = ["town"]
never = ["ssn"]
scope = "everyone"
strict = false
[local.draft.attribute]
title = { type = "text" }
done = "boolean"
"#;

fn parse(text: &str) -> Result<ModelFile, Vec<ModelError>> {
    ModelFile::parse(text, Path::new("team/afield.toml"), &Overrides::default())
}

/// The one mistake that `text`, put in place of `old`, makes of the good file.
fn mistakes(old: &str, text: &str) -> Vec<ModelError> {
    assert!(GOOD.contains(old), "{old}");
    parse(&GOOD.replacen(old, text, 1)).expect_err(text)
}

#[test]
fn a_good_file_says_what_it_says() {
    let file = parse(GOOD).unwrap();
    assert_eq!(
        file.server.database,
        DatabaseUrl::Sqlite(PathBuf::from("team/data/team.db"))
    );
    assert_eq!(file.auth.key, KeyFile::Secret("team/secret".into()));
    assert_eq!(file.server.retention, Duration::from_secs(30 * 86_400));
    assert_eq!((file.version, file.limits.body), (3, 1 << 20));
    assert_eq!(file.entities.len(), 2);
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
}

#[test]
fn the_oldest_version_that_is_served_is_none_to_come() {
    let least = |n: u32| GOOD.replace("retention = \"30 days\"", &format!("min_version = {n}"));
    assert_eq!(parse(&least(3)).unwrap().server.min_version, 3);
    let errors = parse(&least(4)).unwrap_err();
    assert!(
        errors[0].message.contains("`[model] version`"),
        "{errors:?}"
    );
}

#[test]
fn what_comes_from_outside_wins() {
    let overrides = Overrides {
        database_url: Some("sqlite:other.db".into()),
        listen: Some("0.0.0.0:1".into()),
    };
    let file = ModelFile::parse(GOOD, Path::new("team/afield.toml"), &overrides).unwrap();
    assert_eq!(
        file.server.database,
        DatabaseUrl::Sqlite(PathBuf::from("other.db"))
    );
    assert_eq!(
        file.server.listen,
        "0.0.0.0:1".parse::<SocketAddr>().unwrap()
    );
    let bad = Overrides {
        listen: Some("nonsense".into()),
        ..Overrides::default()
    };
    let errors = ModelFile::parse(GOOD, Path::new("afield.toml"), &bad).unwrap_err();
    assert!(errors[0].message.contains("AFIELD_LISTEN"), "{errors:?}");
}

#[test]
fn each_mistake_names_file_line_column_and_remedy() {
    let entity = "scope = \"everyone\"";
    for (old, text, expected) in [
        (
            "listen = ",
            "listne = ",
            "4:1: [server]: unknown key `listne`; did you mean `listen`?",
        ),
        (
            "\"127.0.0.1:4200\"",
            "4200",
            "4:10: [server] listen: expects text in quotes",
        ),
        (
            "\"30 days\"",
            "\"30\"",
            "5:13: [server] retention: \"30\" is no duration",
        ),
        (
            "\"1 MiB\"",
            "\"1 MB\"",
            "9:8: [limits] body: \"1 MB\" is no size",
        ),
        (
            "\"1 MiB\"",
            "\"1 GiB\"",
            "9:8: [limits] body: must be from 65536 to 33554432 bytes",
        ),
        (
            "version = 3",
            "version = 0",
            "11:11: [model] version: must be from 1",
        ),
        ("[\"visit\"]", "[]", "13:12: [unit.work] entities: is empty"),
        (
            "last-write-wins",
            "last-write-win",
            "16:11: [local.visit] pattern: unknown pattern",
        ),
        (entity, "", "14:1: [local.visit]: `scope` is missing"),
        (
            entity,
            "scope = \"everybody\"",
            "20:10: [local.visit] scope: unknown scope `everybody`; did you mean `everyone`?",
        ),
        ("type = \"text\"", "type = \"txt\"", "did you mean `text`?"),
        (
            "[limits]",
            "[limit]",
            "8:2: the file: unknown key `limit`; did you mean `limits`?",
        ),
        ("[limits]", "[limits", "8:"),
        (
            "\"sqlite:data/team.db\"",
            "\"mysql://u:pw@h/d\"",
            "no database this server knows",
        ),
    ] {
        assert_named(old, text, expected);
    }
}

#[test]
fn each_mistake_in_keys_and_scopes_names_file_line_column_and_remedy() {
    for (old, text, expected) in [
        (
            "secret_file = \"secret\"",
            "secret_file = \"secret\"\npublic_key_file = \"jwt.pem\"",
            "8:19: [auth] public_key_file: stands beside `secret_file`",
        ),
        (
            "secret_file = \"secret\"",
            "public_key_file = \"\"",
            "7:19: [auth] public_key_file: is empty",
        ),
        (
            "[limits]",
            "[scope.mine]\nqery = \"SELECT 1\"\n[limits]",
            "9:1: [scope.mine]: unknown key `qery`; did you mean `query`?",
        ),
        (
            "[limits]",
            "[scope.mine]\n[limits]",
            "8:1: [scope.mine]: `query` is missing; write `query = ",
        ),
        (
            "[limits]",
            "[scope.mine]\nquery = 7\n[limits]",
            "9:9: [scope.mine] query: expects text in quotes",
        ),
    ] {
        assert_named(old, text, expected);
    }
}

#[track_caller]
fn assert_named(old: &str, text: &str, expected: &str) {
    let errors = mistakes(old, text);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let place = shown.iter().find(|line| line.contains(expected));
    assert!(place.is_some(), "{text}: {shown:#?}");
    assert!(
        place.unwrap().starts_with("team/afield.toml:"),
        "{shown:#?}"
    );
    assert!(!shown.concat().contains("pw@h"), "a password in a message");
}

#[test]
fn a_password_in_the_file_works_and_is_warned_of() {
    let with = |url: &str| GOOD.replace("sqlite:data/team.db", url);
    let file = parse(&with("postgres://me@db/d?sslrootcert=ca.pem")).unwrap();
    let DatabaseUrl::Postgres(url) = &file.server.database else {
        panic!("{:?}", file.server.database);
    };
    assert_eq!(url.root_cert, Some(PathBuf::from("team/ca.pem")));
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);

    let file = parse(&with("postgres://me:secret-pw@db/d")).unwrap();
    assert_eq!(file.warnings.len(), 1, "{:?}", file.warnings);
    assert!(file.warnings[0].message.contains("PGPASSWORD"));
    assert!(!format!("{file:?}").contains("secret-pw"));

    let outside = Overrides {
        database_url: Some("postgres://me:secret-pw@db/d".into()),
        ..Overrides::default()
    };
    assert!(!format!("{outside:?}").contains("secret-pw"));
    let file = ModelFile::parse(GOOD, Path::new("afield.toml"), &outside).unwrap();
    assert!(
        file.warnings.is_empty(),
        "the environment is the place for it"
    );

    let errors = parse(&with("postgres://me:secret-pw@db/d?color=red")).unwrap_err();
    assert!(errors[0].message.contains("sslrootcert"), "{errors:?}");
    assert!(!format!("{errors:?}").contains("secret-pw"), "{errors:?}");
}

#[test]
fn what_is_not_built_yet_says_so_with_what_to_do() {
    let entity = "strict = false";
    for (old, text) in [
        (entity, "app_triggers = [\"n\"]"),
        (
            "{ type = \"text\" }",
            "{ type = \"text\", matches = \"a\" }",
        ),
        ("listen = ", "admin_listen = \"127.0.0.1:1\"\nlisten = "),
    ] {
        let errors = mistakes(old, text);
        assert_eq!(errors.len(), 1, "{text}: {errors:#?}");
        assert_eq!(errors[0].code, Code::NOT_AVAILABLE, "{text}: {errors:?}");
        assert!(
            errors[0].message.contains("is not available yet: "),
            "{}",
            errors[0]
        );
        assert!(errors[0].place.line > 1, "{}", errors[0]);
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_file_order() {
    let text = GOOD
        .replace("retention = \"30 days\"", "retention = 5")
        .replace("scope = \"everyone\"", "scop = \"everyone\"")
        .replace("done = \"boolean\"", "done = \"bool\"");
    let errors = parse(&text).unwrap_err();
    let lines: Vec<usize> = errors.iter().map(|error| error.place.line).collect();
    assert_eq!(lines, [5, 14, 20, 24], "{errors:#?}");
}

#[test]
fn no_text_makes_the_parser_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..3_000 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"[]{}=\".,\n#'"[random.usize(..11)]),
            }
        }
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
