//! Rules and `edit = "online"`, as the model file says them and as `init` proposes them.

use std::path::Path;

use afield_protocol::{Attribute, Literal, Rule};
use afield_server::model::file::Overrides;
use afield_server::model::init::{InitOptions, generate};
use afield_server::model::{ModelError, ModelFile, resolve};
use afield_server::resolved::ServerModel;

use crate::model_catalog::database;

const SCHEMA: &str = "
CREATE TABLE firm (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE visit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  firm_id INTEGER NOT NULL REFERENCES firm (id) CHECK (firm_id > 0),
  title VARCHAR(40) NOT NULL CHECK (length(title) <= 40),
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'it''s done')),
  score INTEGER CHECK ((\"score\" IS NULL OR score BETWEEN 0 AND 100)),
  price DECIMAL(8,2) CHECK (price >= -0.50 AND price <= 9999),
  rate REAL CHECK (rate > 0),
  day DATE CHECK (day >= '2020-01-01'),
  word TEXT COLLATE NOCASE CHECK (word IN ('a')),
  made TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CHECK (score < 50 OR title <> 'x'),
  CHECK (score > -1 AND length(state) < 20)
);";

fn parse(text: &str) -> Result<ServerModel, Vec<ModelError>> {
    let (_, catalog) = database(SCHEMA);
    let file = ModelFile::parse(text, Path::new("afield.toml"), &Overrides::default())?;
    resolve(&file, &catalog)
}

/// The model with these lines, from line 14 on.
fn held(lines: &str) -> Result<ServerModel, Vec<ModelError>> {
    parse(&format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.firm]\nfrom = \"firm\"\n\
         pattern = \"read-only\"\nattributes = [\"name\"]\nscope = \"everyone\"\n[local.visit]\n\
         from = \"visit\"\npattern = \"last-write-wins\"\nattributes = [\"firm_id\", \
         {{ name = \"title\" }}, \"state\", \"score\", \"price\", \"rate\", \"day\", \"made\"]\n\
         read_only = [\"state\"]\nscope = \"everyone\"\n{lines}\n"
    ))
}

fn attribute(model: &ServerModel, name: &str) -> Attribute {
    let visit = model.device.entity("visit").unwrap();
    visit.attribute(name).unwrap().clone()
}

#[test]
fn rules_reach_the_attributes_in_the_form_of_their_types() {
    let model = held(
        "[local.visit.rule]\nname = { required = true, max_length = 80, matches = '^[a-z]+$' }\n\
         price = { min = 1, max = \"2.50\" }\nrate = { min = 1 }\nday = { max = \"2026-12-31\" }\n\
         firm_id = { required = true }\nscore = { one_of = [1, 2] }",
    )
    .unwrap();
    let name = attribute(&model, "name").rule;
    assert!(name.required && name.max_length == Some(80));
    assert_eq!(name.matches.unwrap().as_str(), "^[a-z]+$");
    let price = attribute(&model, "price").rule;
    let text = |text: &str| Some(Literal::Text(text.into()));
    assert_eq!((price.min, price.max), (text("1"), text("2.50")));
    assert_eq!(attribute(&model, "rate").rule.min, Some(Literal::Real(1.0)));
    assert_eq!(attribute(&model, "score").rule.one_of.len(), 2);
    let json = model.device.to_json();
    assert_eq!(afield_protocol::Model::from_json(&json), Ok(model.device));
}

#[test]
fn every_mistake_names_its_line_and_what_to_do() {
    for (rule, message) in [
        (
            "nam = { required = true }",
            "is none of `attributes`; did you mean `name`",
        ),
        ("id = { min = 1 }", "is the identifier"),
        ("state = { required = true }", "only read on devices"),
        ("firm_id = { min = 1 }", "leave `required` alone"),
        ("made = { required = true }", "the database computes"),
        (
            "score = { max_length = 3 }",
            "`max_length` is for texts, and this is integer",
        ),
        ("score = { min = 5, max = 4 }", "`min` is above `max`"),
        ("score = { min = 1.5 }", "`min` expects"),
        ("rate = { min = inf }", "`min` expects"),
        ("day = { min = \"soon\" }", "`min` expects"),
        (
            "day = { min = 2026-01-01 }",
            "expects a number, or text in quotes",
        ),
        ("name = { matches = \"(\" }", "no regular expression"),
        ("name = { max_length = 0 }", "must be from 1"),
        ("name = { one_of = [] }", "lists no value"),
        ("name = { one_of = [1] }", "`one_of` expects"),
        (
            "name = { requird = true }",
            "unknown key `requird`; did you mean `required`",
        ),
    ] {
        let errors = held(&format!("[local.visit.rule]\n{rule}")).unwrap_err();
        assert!(errors[0].message.contains(message), "{rule}: {errors:#?}");
        assert_eq!(errors[0].place.line, 15, "{rule}");
        assert_eq!(errors.len(), 1, "{rule}: {errors:#?}");
    }
}

#[test]
fn local_only_entities_take_rules_beside_the_type() {
    let model = held(
        "[local.draft.attribute]\ntitle = { type = \"text\", required = true, max_length = 5 }",
    )
    .unwrap();
    let draft = model.device.entity("draft").unwrap();
    assert_eq!(draft.attribute("title").unwrap().rule.max_length, Some(5));
    let errors = held("[local.draft.attribute]\nn = { type = \"integer\", max_length = 5 }");
    assert!(
        errors.unwrap_err()[0]
            .message
            .contains("`max_length` is for texts")
    );
}

#[test]
fn a_unit_can_be_edited_online_only() {
    let model = held("[unit.desk]\nentities = [\"visit\", \"firm\"]\nedit = \"online\"").unwrap();
    assert!(model.device.entity("visit").unwrap().edit_online);
    assert!(
        !model.device.entity("firm").unwrap().edit_online,
        "nobody writes it anyway"
    );
    for (lines, message) in [
        (
            "[unit.a]\nentities = [\"firm\"]\nedit = \"online\"\n[unit.b]\nentities = [\"visit\"]",
            "devices write none of its entities",
        ),
        (
            "[unit.a]\nentities = [\"firm\", \"visit\"]\nedit = \"onlin\"",
            "did you mean `online`",
        ),
    ] {
        let errors = held(lines).unwrap_err();
        assert!(errors[0].message.contains(message), "{errors:#?}");
    }
}

/// What the database refuses, and nothing else: a proposal that is stricter would lose work.
#[test]
fn init_proposes_what_the_database_refuses() {
    let (_, catalog) = database(SCHEMA);
    let options = InitOptions {
        database_url: "sqlite:x.db",
        secret_file: ".afield/secret",
    };
    let text = generate(&catalog, &options);
    let model = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"));
    let rule = |name: &str| attribute(&model, name).rule;
    let text_of = |text: &str| Some(Literal::Text(text.into()));
    assert_eq!(
        rule("firm_id"),
        Rule {
            required: true,
            ..Rule::default()
        }
    );
    assert!(rule("title").required && rule("title").max_length == Some(40));
    let state = rule("state");
    assert!(!state.required, "it has a default");
    assert_eq!(
        state.one_of,
        [
            Literal::Text("open".into()),
            Literal::Text("it's done".into())
        ]
    );
    assert_eq!(state.max_length, Some(19));
    let score = rule("score");
    assert_eq!(
        (score.min, score.max),
        (Some(Literal::Integer(0)), Some(Literal::Integer(100)))
    );
    assert_eq!(
        (rule("price").min, rule("price").max),
        (text_of("-0.50"), text_of("9999"))
    );
    assert_eq!(rule("day").min, text_of("2020-01-01"));
    for untouched in ["rate", "word", "made"] {
        assert_eq!(rule(untouched), Rule::default(), "{untouched}");
    }
    let others = "rate > 0; word IN ('a'); score < 50 OR title <> 'x'. It refuses what";
    assert!(text.replace("\n# ", " ").contains(others), "{text}");
}
