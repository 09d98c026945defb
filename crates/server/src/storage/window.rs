//! Windows: which rows devices have at an instant.

use afield_protocol::zoo::planted;
use afield_protocol::{Value, Window};

use crate::resolved::ServerEntity;

/// The instants of a pull of one entity: none, if its rows do not stay for a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Instants {
    /// If it starts over.
    pub fresh: Option<i64>,
    /// If it goes on from its position.
    pub resumed: Option<i64>,
    /// That of an idle position, where rows may have come in since.
    pub before: Option<i64>,
}

impl Instants {
    /// Time never goes back for a device, and stands still within a pull: what is unfinished is
    /// finished by the instant at which it began.
    ///
    /// `known` is the instant of its position, and whether nothing is unfinished there.
    pub(super) fn of(entity: &ServerEntity, known: Option<(i64, bool)>, now: i64) -> Self {
        let Some(keep) = &entity.keep else {
            return Self::default();
        };
        let Some((instant, is_idle)) = known else {
            return Self {
                fresh: Some(now),
                ..Self::default()
            };
        };
        let latest = match planted("server-window-goes-back") {
            true => now,
            false => now.max(instant),
        };
        let may_grow = is_idle && keep.comparison.grows() && latest > instant;
        let may_grow = may_grow && !planted("server-window-range-not-read");
        let stands = !is_idle && !planted("server-window-moves-under-a-download");
        Self {
            fresh: Some(latest),
            resumed: Some(if stands { instant } else { latest }),
            before: may_grow.then_some(instant),
        }
    }
}

/// What a position of this entity stands for: its name, and what else decides which rows those
/// are, if not all, and what their attributes are. Another rule makes other tokens, so that its
/// entity starts over: devices cannot tell it by their own model.
pub(super) fn label(entity: &ServerEntity) -> String {
    let name = &entity.local.name;
    let keep = entity.keep.as_ref().map(|keep| {
        let column = entity.columns.get(keep.attribute);
        let column = column.map_or("", |column| &column.name);
        let sign = keep.comparison.as_str();
        format!("\0keep {column:?} {sign} {}", keep.seconds)
    });
    let delete = entity.delete.as_ref().map(|delete| {
        let (column, when) = (&delete.column.name, &delete.when);
        format!("\0delete {column:?} {when:?}")
    });
    let from = (entity.table != *name).then(|| format!("\0from {:?}", entity.table));
    let columns = entity.local.attributes.iter().zip(&entity.columns);
    let renamed = columns.filter(|(attribute, column)| attribute.name != column.name);
    let renamed: String = renamed
        .map(|(attribute, column)| format!("\0{:?} as {:?}", column.name, attribute.name))
        .collect();
    let parts = [keep, delete, from, Some(renamed)];
    parts
        .into_iter()
        .flatten()
        .fold(name.clone(), |all, part| all + &part)
}

/// Which rows devices have at an instant: none are left out if there is no window or no instant.
pub(super) fn window(entity: &ServerEntity, at: Option<i64>) -> Option<Window> {
    let keep = entity.keep.as_ref()?;
    let kind = entity.columns.get(keep.attribute)?.kind;
    let Value::Text(bound) = kind.at(at?.saturating_add(keep.seconds)) else {
        return None;
    };
    Some(Window {
        entity: entity.local.name.clone(),
        attribute: entity.local.attributes.get(keep.attribute)?.name.clone(),
        keep: keep.comparison,
        bound,
    })
}
