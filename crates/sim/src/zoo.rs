//! The bug zoo: mistakes that somebody could make in client and server, planted behind a flag.
//! A simulation that does not find them proves nothing.

/// Worlds within which every fault must be found.
pub(crate) const SEEDS: u64 = 1_000;

/// A planted fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What the code asks for.
    pub(crate) name: &'static str,
    /// The first seed that found it when this was written: its world is looked at before others.
    pub(crate) seed: u64,
    /// The mistake.
    pub(crate) what: &'static str,
}

const fn fault(name: &'static str, seed: u64, what: &'static str) -> Fault {
    Fault { name, seed, what }
}

/// Every planted fault.
pub(crate) const FAULTS: &[Fault] = &[
    fault(
        "seal-later",
        1,
        "a write is sealed by the next one, not in its own transaction",
    ),
    fault("freeze-not-durable", 278, "what is sent is not yet durable"),
    fault(
        "new-id-on-resend",
        1,
        "a group is sent again under another id",
    ),
    fault(
        "fold-into-sent",
        86,
        "a later edit is folded into a group that was sent",
    ),
    fault(
        "capture-by-event",
        2,
        "an INSERT is a create, even where it replaced a row",
    ),
    fault(
        "outcome-without-settling",
        1,
        "an outcome is stored, the change stays in the outbox",
    ),
    fault(
        "overlay-ends-early",
        26,
        "a settled change is taken off before the rows contain it",
    ),
    fault(
        "overlay-ends-by-number",
        26,
        "a request that is numbered later is taken for one that was handled later",
    ),
    fault(
        "position-before-rows",
        2,
        "a position is durable before its rows are",
    ),
    fault(
        "reset-keeps-rows",
        32,
        "rows that a fresh start does not mention stay",
    ),
    fault(
        "dependants-not-held",
        20,
        "what depends on a parked change is sent",
    ),
    fault(
        "completed-anyway",
        1,
        "a sync is completed although a change was refused",
    ),
    fault(
        "bad-group-blocks-all",
        14,
        "a group that the server fails on is not left out",
    ),
    fault(
        "page-unchecked",
        62,
        "a page is applied to other positions than it continues from",
    ),
    fault(
        "pull-over-unsent",
        1,
        "a pulled row is written over unsent edits",
    ),
    fault("server-skips-ledger", 6, "settled groups are not noted"),
    fault(
        "server-forgets-refusals",
        226,
        "refused groups are not noted",
    ),
    fault(
        "server-ignores-hash",
        6,
        "a known id is answered whatever it holds",
    ),
    fault(
        "server-group-not-atomic",
        4,
        "a refused group leaves its other changes applied",
    ),
    fault(
        "server-replace-not-marked",
        22,
        "the row that a REPLACE removes is not marked",
    ),
    fault(
        "server-delta-skips-one",
        2,
        "a delta begins one change too late",
    ),
    fault(
        "server-cut-forgets-the-rest",
        5,
        "a page that is cut claims to be complete",
    ),
    fault(
        "server-scan-forgets-closing-delta",
        25,
        "a download misses what changed meanwhile",
    ),
    fault(
        "server-download-forgets-what-it-read",
        309,
        "an unfinished download stands for its beginning alone",
    ),
    fault(
        "server-history-unnoticed",
        47,
        "a device that knows another history is served as ever",
    ),
    fault(
        "server-push-untold",
        47,
        "a push does not note that devices were told of it",
    ),
    fault(
        "lost-not-parked",
        47,
        "what a restore took is passed over on the device",
    ),
    fault(
        "lost-not-laid",
        47,
        "what a restore took is not laid over its rows",
    ),
    fault(
        "server-no-epoch-check",
        32,
        "positions of another history are believed",
    ),
    fault(
        "server-origin-ignored",
        159,
        "temporary identifiers of other groups' rows are left as they are",
    ),
    fault(
        "server-dependants-not-held",
        20,
        "what depends on a refused group of the same request is tried",
    ),
    fault(
        "server-counter-overwrites",
        86,
        "a counter is set, not added to",
    ),
    fault(
        "ids-forget-references",
        5,
        "a renamed row's references keep its old identifier",
    ),
    fault("ids-reuse", 7, "a temporary identifier is given twice"),
    fault(
        "ids-old-not-translated",
        24,
        "an old identifier is not known any more",
    ),
    fault(
        "resolve-keeps-old-base",
        53,
        "what was decided still stands on what was seen before",
    ),
    fault(
        "retry-same-id",
        2,
        "what is sent again keeps the id that was refused",
    ),
    fault(
        "drop-forgets-record",
        24,
        "what is given up leaves no record",
    ),
    fault("undo-of-sent", 12, "what was sent can be taken back"),
    fault(
        "conflict-edit-lost",
        58,
        "a later edit of a row in conflict is forgotten",
    ),
    fault(
        "server-beacon-ahead",
        148,
        "the beacon promises changes that are not there yet",
    ),
    fault("scope-exit-ignored", 4, "rows of a lost value stay"),
    fault(
        "scope-regained-keeps-stale",
        112,
        "of a value that was lost and gained again while pages were staged, old rows stay",
    ),
    fault(
        "scope-exit-keeps-history",
        15,
        "the log keeps what a row was that has left",
    ),
    fault(
        "server-scope-from-old-rights",
        4,
        "what a device once held counts as held",
    ),
    fault(
        "server-grant-without-touch-missed",
        2,
        "rows of a gained value come only when they are touched",
    ),
    fault(
        "server-mark-only-new-scope",
        1,
        "a row that moves is marked under its new value only",
    ),
    fault(
        "server-any-condition-will-do",
        48,
        "a row comes by a way of which one condition holds",
    ),
    fault(
        "server-gone-told-to-others",
        0,
        "a row that is gone is told to who never had it",
    ),
    fault(
        "server-push-skips-before-check",
        1,
        "whose row it was is not asked",
    ),
    fault(
        "server-push-skips-after-check",
        2,
        "whose row it will be is not asked",
    ),
    fault(
        "server-reference-unchecked",
        44,
        "a reference to any row that is there is taken",
    ),
    fault(
        "server-repeat-tells-foreign",
        423,
        "a repeat is told of a row that is another's by now",
    ),
    fault("window-rows-stay", 1, "rows that have left the window stay"),
    fault(
        "window-by-the-devices-clock",
        1,
        "rows leave by the device's own clock",
    ),
    fault(
        "window-drops-pending-rows",
        1,
        "rows leave although changes of them are not settled",
    ),
    fault(
        "server-window-goes-back",
        9,
        "a window goes back with the server's clock",
    ),
    fault(
        "server-window-range-not-read",
        1,
        "rows that have come into the window are not sent",
    ),
    fault(
        "server-window-moves-under-a-download",
        9,
        "an unfinished pull goes on by a later time",
    ),
    fault(
        "server-window-exit-is-gone",
        1,
        "a row that is edited out of its window is told as gone",
    ),
    fault(
        "server-soft-deleted-rows-sent",
        1,
        "rows that count as deleted are sent",
    ),
    fault(
        "server-soft-delete-removes-the-row",
        4,
        "a device's delete removes the row",
    ),
    fault(
        "server-soft-deleted-row-is-edited",
        1,
        "a row that counts as deleted is edited",
    ),
    fault(
        "server-create-does-not-revive",
        1,
        "a row that is made again goes on counting as deleted",
    ),
    fault(
        "server-lookup-source-missed",
        4,
        "what others show of a row is not marked where only that changes",
    ),
    fault(
        "server-lookup-chain-half-watched",
        4,
        "of the rows on a lookup's way only the first is watched",
    ),
    fault(
        "server-fan-out-cut-forgets",
        14,
        "a page that ends among the rows of a source counts it as told",
    ),
    fault(
        "server-fan-out-keeps-its-place",
        362,
        "a source that changed again is told from where it was left",
    ),
    fault(
        "lookups-lost-on-replace",
        4,
        "a row that is replaced by itself stays without its lookups",
    ),
    fault(
        "server-chosen-unchecked",
        0,
        "what a device chose counts as allowed",
    ),
    fault(
        "server-push-counts-nothing-as-chosen",
        4,
        "a push takes only rows that come by something else than a choice",
    ),
    fault(
        "choice-outlives-its-end",
        4,
        "what was chosen long ago is still asked for",
    ),
    fault(
        "server-rule-unasked",
        122,
        "a push takes values that break a rule of the model",
    ),
    fault(
        "rule-unasked-on-the-device",
        4,
        "a device takes values that break a rule of its model",
    ),
    fault(
        "verify-forgets-overlays",
        2,
        "a comparison takes what is seen for the server's row, whatever lies over it",
    ),
];

/// The fault of this name.
///
/// # Errors
/// There is none.
pub(crate) fn named(name: &str) -> Result<&'static Fault, String> {
    FAULTS
        .iter()
        .find(|fault| fault.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
            format!(
                "no fault `{name}` in the zoo; there are:\n  {}",
                names.join("\n  ")
            )
        })
}

/// The one of this name, or all if the name is empty.
///
/// # Errors
/// There is none of this name.
pub(crate) fn chosen(name: &str) -> Result<Vec<&'static Fault>, String> {
    match name {
        "" => Ok(FAULTS.iter().collect()),
        name => Ok(vec![named(name)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_once_and_is_planted_somewhere() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut code = String::new();
        for folder in ["client/src", "server/src", "protocol/src"] {
            read(&root.join(folder), &mut code);
        }
        for fault in FAULTS {
            let call = format!("planted(\"{}\")", fault.name);
            assert!(code.contains(&call), "{} is planted nowhere", fault.name);
            assert_eq!(
                FAULTS
                    .iter()
                    .filter(|other| other.name == fault.name)
                    .count(),
                1
            );
        }
        let names = |before: &str| -> std::collections::BTreeSet<&str> {
            let found = code.split(before).skip(1);
            found.filter_map(|rest| rest.split('"').next()).collect()
        };
        // What a test beside the code plants, that test has to find.
        let planted = &names("planted(\"") - &names("plant(Some(\"");
        let listed = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(planted, listed, "a planted fault is missing in the list");
    }

    fn read(folder: &std::path::Path, code: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, code);
            } else {
                code.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
}
