//! The model that the tests share: one entity with every type, one with a composite identifier.

use afield_protocol::{
    Attribute, DeviceLimits, Entity, Identifier, Literal, Merge, Model, Pattern, Reference,
    SyncConfig, Type, Unit,
};

/// Every type once, under its own word.
pub(crate) const TYPES: [Type; 12] = [
    Type::Text,
    Type::Integer,
    Type::Real,
    Type::Decimal,
    Type::Boolean,
    Type::Date,
    Type::Time,
    Type::Instant,
    Type::Datetime,
    Type::Uuid,
    Type::Bytes,
    Type::Json,
];

/// `sample` has a UUID and an attribute of each type; `part` has a natural composite identifier
/// and refers to it.
pub(crate) fn model() -> Model {
    let values = TYPES
        .iter()
        .map(|kind| Attribute::new(format!("a_{kind}"), *kind));
    let mut attributes = vec![Attribute::new("id", Type::Uuid)];
    attributes.extend(values);
    attributes[1].default = Some(Literal::Text("-".into()));
    attributes[3].read_only = true;
    (attributes[12].read_only, attributes[12].lookup) = (true, true);
    Model {
        version: 3,
        units: vec![Unit {
            name: "main".into(),
            entities: vec!["sample".into(), "part".into()],
        }],
        entities: vec![
            Entity {
                indexes: vec![vec!["a_date".into(), "a_text".into()]],
                ..entity("sample", Pattern::DetectConflicts, 1, attributes)
            },
            Entity {
                identifier: Identifier::Natural,
                references: vec![Reference {
                    attributes: vec!["sample_id".into()],
                    entity: "sample".into(),
                }],
                ..entity("part", Pattern::LastWriteWins, 2, part_attributes())
            },
        ],
        chosen: Vec::new(),
        limits: DeviceLimits::default(),
        sync: SyncConfig::default(),
    }
}

fn part_attributes() -> Vec<Attribute> {
    let mut attributes = vec![
        Attribute::new("code", Type::Text),
        Attribute::new("line", Type::Integer),
        Attribute::new("sample_id", Type::Uuid),
        Attribute::new("quantity", Type::Decimal),
    ];
    attributes[3].default = Some(Literal::Text("1".into()));
    attributes
}

fn entity(name: &str, pattern: Pattern, width: usize, attributes: Vec<Attribute>) -> Entity {
    Entity {
        merge: Merge::Attribute,
        ..Entity::new(name, pattern, Identifier::Uuid, width, attributes)
    }
}
