//! The bug zoo: mistakes that somebody could make in client and server, planted behind a flag.
//! A simulation that does not find them proves nothing.

/// Worlds within which every fault must be found.
pub(crate) const SEEDS: u64 = 1_000;

/// A planted fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What the code asks for.
    pub(crate) name: &'static str,
    /// The mistake.
    pub(crate) what: &'static str,
}

const fn fault(name: &'static str, what: &'static str) -> Fault {
    Fault { name, what }
}

/// Every planted fault.
pub(crate) const FAULTS: &[Fault] = &[
    fault(
        "seal-later",
        "a write is sealed by the next one, not in its own transaction",
    ),
    fault("freeze-not-durable", "what is sent is not yet durable"),
    fault("new-id-on-resend", "a group is sent again under another id"),
    fault(
        "fold-into-sent",
        "a later edit is folded into a group that was sent",
    ),
    fault(
        "capture-by-event",
        "an INSERT is a create, even where it replaced a row",
    ),
    fault(
        "outcome-without-settling",
        "an outcome is stored, the change stays in the outbox",
    ),
    fault(
        "overlay-ends-early",
        "a settled change is taken off before the rows contain it",
    ),
    fault(
        "overlay-ends-by-number",
        "a request that is numbered later is taken for one that was handled later",
    ),
    fault(
        "position-before-rows",
        "a position is durable before its rows are",
    ),
    fault(
        "reset-keeps-rows",
        "rows that a fresh start does not mention stay",
    ),
    fault(
        "dependants-not-held",
        "what depends on a parked change is sent",
    ),
    fault(
        "completed-anyway",
        "a sync is completed although a change was refused",
    ),
    fault(
        "bad-group-blocks-all",
        "a group that the server fails on is not left out",
    ),
    fault(
        "page-unchecked",
        "a page is applied to other positions than it continues from",
    ),
    fault(
        "pull-over-unsent",
        "a pulled row is written over unsent edits",
    ),
    fault("server-skips-ledger", "settled groups are not noted"),
    fault("server-forgets-refusals", "refused groups are not noted"),
    fault(
        "server-ignores-hash",
        "a known id is answered whatever it holds",
    ),
    fault(
        "server-group-not-atomic",
        "a refused group leaves its other changes applied",
    ),
    fault(
        "server-replace-not-marked",
        "the row that a REPLACE removes is not marked",
    ),
    fault(
        "server-delta-skips-one",
        "a delta begins one change too late",
    ),
    fault(
        "server-cut-forgets-the-rest",
        "a page that is cut claims to be complete",
    ),
    fault(
        "server-scan-forgets-closing-delta",
        "a download misses what changed meanwhile",
    ),
    fault(
        "server-download-forgets-what-it-read",
        "an unfinished download stands for its beginning alone",
    ),
    fault(
        "server-history-unnoticed",
        "a device that knows another history is served as ever",
    ),
    fault(
        "server-push-untold",
        "a push does not note that devices were told of it",
    ),
    fault(
        "lost-not-parked",
        "what a restore took is passed over on the device",
    ),
    fault(
        "lost-not-laid",
        "what a restore took is not laid over its rows",
    ),
    fault(
        "server-no-epoch-check",
        "positions of another history are believed",
    ),
    fault(
        "server-origin-ignored",
        "temporary identifiers of other groups' rows are left as they are",
    ),
    fault(
        "server-dependants-not-held",
        "what depends on a refused group of the same request is tried",
    ),
    fault(
        "server-counter-overwrites",
        "a counter is set, not added to",
    ),
    fault(
        "ids-forget-references",
        "a renamed row's references keep its old identifier",
    ),
    fault("ids-reuse", "a temporary identifier is given twice"),
    fault(
        "ids-old-not-translated",
        "an old identifier is not known any more",
    ),
    fault(
        "resolve-keeps-old-base",
        "what was decided still stands on what was seen before",
    ),
    fault(
        "retry-same-id",
        "what is sent again keeps the id that was refused",
    ),
    fault("drop-forgets-record", "what is given up leaves no record"),
    fault(
        "conflict-edit-lost",
        "a later edit of a row in conflict is forgotten",
    ),
    fault(
        "server-beacon-ahead",
        "the beacon promises changes that are not there yet",
    ),
    fault("scope-exit-ignored", "rows of a lost value stay"),
    fault(
        "scope-regained-keeps-stale",
        "of a value that was lost and gained again while pages were staged, old rows stay",
    ),
    fault(
        "scope-exit-keeps-history",
        "the log keeps what a row was that has left",
    ),
    fault(
        "server-scope-from-old-rights",
        "what a device once held counts as held",
    ),
    fault(
        "server-grant-without-touch-missed",
        "rows of a gained value come only when they are touched",
    ),
    fault(
        "server-mark-only-new-scope",
        "a row that moves is marked under its new value only",
    ),
    fault(
        "server-any-condition-will-do",
        "a row comes by a way of which one condition holds",
    ),
    fault(
        "server-gone-told-to-others",
        "a row that is gone is told to who never had it",
    ),
    fault(
        "server-push-skips-before-check",
        "whose row it was is not asked",
    ),
    fault(
        "server-push-skips-after-check",
        "whose row it will be is not asked",
    ),
    fault(
        "server-reference-unchecked",
        "a reference to any row that is there is taken",
    ),
    fault(
        "server-repeat-tells-foreign",
        "a repeat is told of a row that is another's by now",
    ),
    fault("window-rows-stay", "rows that have left the window stay"),
    fault(
        "window-by-the-devices-clock",
        "rows leave by the device's own clock",
    ),
    fault(
        "window-drops-pending-rows",
        "rows leave although changes of them are not settled",
    ),
    fault(
        "server-window-goes-back",
        "a window goes back with the server's clock",
    ),
    fault(
        "server-window-range-not-read",
        "rows that have come into the window are not sent",
    ),
    fault(
        "server-window-moves-under-a-download",
        "an unfinished pull goes on by a later time",
    ),
    fault(
        "server-window-exit-is-gone",
        "a row that is edited out of its window is told as gone",
    ),
    fault(
        "server-soft-deleted-rows-sent",
        "rows that count as deleted are sent",
    ),
    fault(
        "server-soft-delete-removes-the-row",
        "a device's delete removes the row",
    ),
    fault(
        "server-soft-deleted-row-is-edited",
        "a row that counts as deleted is edited",
    ),
    fault(
        "server-create-does-not-revive",
        "a row that is made again goes on counting as deleted",
    ),
    fault(
        "server-lookup-source-missed",
        "what others show of a row is not marked where only that changes",
    ),
    fault(
        "server-lookup-chain-half-watched",
        "of the rows on a lookup's way only the first is watched",
    ),
    fault(
        "server-fan-out-cut-forgets",
        "a page that ends among the rows of a source counts it as told",
    ),
    fault(
        "server-fan-out-keeps-its-place",
        "a source that changed again is told from where it was left",
    ),
    fault(
        "lookups-lost-on-replace",
        "a row that is replaced by itself stays without its lookups",
    ),
    fault(
        "server-chosen-unchecked",
        "what a device chose counts as allowed",
    ),
    fault(
        "server-push-counts-nothing-as-chosen",
        "a push takes only rows that come by something else than a choice",
    ),
    fault(
        "choice-outlives-its-end",
        "what was chosen long ago is still asked for",
    ),
    fault(
        "server-rule-unasked",
        "a push takes values that break a rule of the model",
    ),
    fault(
        "rule-unasked-on-the-device",
        "a device takes values that break a rule of its model",
    ),
    fault(
        "verify-forgets-overlays",
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
