//! Units: which entities are pulled together.

use afield_protocol::Unit;

use super::{Resolver, name_problem};
use crate::model::error::suggestion;
use crate::model::file::{At, Source, UnitSection};
use crate::resolved::ServerEntity;

/// The unit that holds every entity when the file names none.
const MAIN_UNIT: &str = "main";

impl Resolver<'_> {
    /// Marks the entities that are written only while the server can be reached: where any of
    /// their units says so.
    pub(super) fn edit_online(&mut self, entities: &mut [ServerEntity]) {
        for unit in &self.file.units {
            let Some(place) = unit.edit_online else {
                continue;
            };
            let is_in = |name: &str| unit.entities.iter().any(|at| at.value == name);
            let mut has_written = false;
            for entity in entities.iter_mut().filter(|it| is_in(&it.local.name)) {
                entity.local.edit_online = entity.local.is_written();
                has_written |= entity.local.edit_online;
            }
            if !has_written {
                let message = format!(
                    "[unit.{}] edit: devices write none of its entities; remove it",
                    unit.name.value
                );
                self.wrong(place, message);
            }
        }
    }

    /// The units, in file order; without any there is one with all synced entities.
    pub(super) fn units(&mut self) -> Vec<Unit> {
        let file = self.file;
        let synced: Vec<&At<String>> = file
            .entities
            .iter()
            .filter(|entity| matches!(entity.source, Source::Server(_)))
            .map(|entity| &entity.name)
            .collect();
        if file.units.is_empty() {
            let entities: Vec<String> = synced.iter().map(|at| at.value.clone()).collect();
            if entities.is_empty() {
                return Vec::new();
            }
            return vec![Unit {
                name: MAIN_UNIT.to_owned(),
                entities,
            }];
        }
        for unit in &file.units {
            let title = format!("[unit.{}]", unit.name.value);
            if let Some(problem) = name_problem(&unit.name.value, false) {
                self.wrong(unit.name.place, format!("{title}: the name {problem}"));
            }
            for (at, entity) in unit.entities.iter().enumerate() {
                let known = synced.iter().any(|name| name.value == entity.value);
                let again = unit
                    .entities
                    .iter()
                    .take(at)
                    .any(|e| e.value == entity.value);
                let problem = if again {
                    format!("`{}` stands twice; keep one", entity.value)
                } else if known {
                    continue;
                } else if file.entities.iter().any(|e| e.name.value == entity.value) {
                    format!(
                        "`{}` is local-only and never synchronised; remove it",
                        entity.value
                    )
                } else {
                    let near = suggestion(&entity.value, synced.iter().map(|n| n.value.as_str()));
                    format!("no entity `{}`; {near}", entity.value)
                };
                self.wrong(entity.place, format!("{title} entities: {problem}"));
            }
        }
        for name in synced {
            let is_in = |unit: &UnitSection| {
                unit.entities
                    .iter()
                    .any(|entity| entity.value == name.value)
            };
            if !file.units.iter().any(is_in) {
                let message = format!(
                    "[local.{}]: in no unit, so that no sync would fetch it; add it to one",
                    name.value
                );
                self.wrong(name.place, message);
            }
        }
        let unit = |unit: &UnitSection| Unit {
            name: unit.name.value.clone(),
            entities: unit.entities.iter().map(|e| e.value.clone()).collect(),
        };
        file.units.iter().map(unit).collect()
    }
}
