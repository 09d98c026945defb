//! Models that read back, and models that no device could use.

use super::*;

fn model() -> Model {
    let note = Attribute {
        read_only: true,
        default: Some(Literal::Text("-".into())),
        ..Attribute::new("note", Type::Text)
    };
    let attributes = vec![Attribute::new("id", Type::Uuid), note];
    let mut visit = Entity::new(
        "visit",
        Pattern::LastWriteWins,
        Identifier::Uuid,
        1,
        attributes,
    );
    visit.indexes = vec![vec!["note".into()]];
    Model {
        version: 1,
        units: vec![Unit {
            name: "main".into(),
            entities: vec!["visit".into()],
        }],
        entities: vec![visit],
        chosen: Vec::new(),
        limits: Default::default(),
        sync: Default::default(),
    }
}

#[test]
fn json_reads_back() {
    let model = model();
    assert_eq!(Model::from_json(&model.to_json()), Ok(model));
}

#[test]
fn unusable_models_are_refused() {
    let break_it: [fn(&mut Model); 9] = [
        |m| m.entities[0].attributes[0].lookup = true,
        |m| {
            m.entities[0].attributes[1].lookup = true;
            m.entities[0].attributes[1].read_only = false;
        },
        |m| {
            m.entities[0].attributes[1].lookup = true;
            m.entities[0].pattern = Pattern::LocalOnly;
        },
        |m| m.entities[0].key_width = 0,
        |m| m.entities[0].name = "afield_outbox".into(),
        |m| m.entities[0].attributes[1].name = "ID".into(),
        |m| m.entities[0].indexes[0][0] = "nothing".into(),
        |m| m.units[0].entities.push("nothing".into()),
        |m| m.units[0].name = "a\nb".into(),
    ];
    for change in break_it {
        let mut model = model();
        change(&mut model);
        assert!(model.check().is_err(), "{model:?}");
    }
}
