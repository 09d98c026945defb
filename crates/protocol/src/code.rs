//! The stable error codes: one vocabulary from the database to the phone.

use std::borrow::Cow;
use std::fmt;

/// A stable, kebab-case word for what went wrong.
///
/// Programs decide by it, people read the message beside it. A code that this version does not
/// know (from a newer server) is kept as it came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Code(Cow<'static, str>);

macro_rules! codes {
    ($($name:ident = $word:literal, $meaning:literal, $remedy:literal;)*) => {
        impl Code {
            $(#[doc = $meaning] pub const $name: Self = Self(Cow::Borrowed($word));)*

            /// Every code of this version with what it means and what to do about it: the
            /// source of the glossary in the docs.
            pub const GLOSSARY: &'static [(&'static str, &'static str, &'static str)] =
                &[$(($word, $meaning, $remedy),)*];
        }
    };
}

codes! {
    READ_ONLY = "read-only", "The entity or attribute may be read but not written.",
        "Write another attribute, or change its pattern or `read_only` in the model.";
    TYPE_MISMATCH = "type-mismatch", "A value does not have the attribute's type.",
        "Write a value of the type that the message names.";
    IDENTIFIER_CHANGED = "identifier-changed", "An update tried to change a row's identifier.",
        "Delete the row and create another one.";
    IDENTIFIER_MISSING = "identifier-missing", "A row was written without its identifier.",
        "Give every attribute of the identifier a value.";
    UNKNOWN_ENTITY = "unknown-entity", "No local entity has this name.",
        "See the names under [local.…] in the model.";
    UNKNOWN_ATTRIBUTE = "unknown-attribute", "The local entity has no such attribute.",
        "See `attributes` of the entity in the model.";
    UNKNOWN_UNIT = "unknown-unit", "No sync unit has this name.",
        "See the names under [unit.…] in the model.";
    NOT_FOUND = "not-found", "The row is not on this device.",
        "Check the identifier, or synchronise first.";
    DELETE_ALL_UNCONFIRMED = "delete-all-unconfirmed",
        "delete_all would delete more than 100 rows on the server too.",
        "Confirm it, or delete fewer rows.";
    GONE = "gone", "The row was deleted, or is no longer this user's.",
        "Drop the change, or create the row again.";
    KEY_TAKEN = "key-taken", "Another row already has this identifier.",
        "Create the row under another identifier.";
    KEY_EXISTS = "key-exists", "The row exists already, with other values.",
        "Keep the server's row, or edit it.";
    ROW_CHANGED = "row-changed", "Somebody else changed the row meanwhile.",
        "Decide between both versions.";
    ABSORBED_KNOWN = "absorbed-known",
        "Part of this change was already applied from a copy of this device.",
        "Compare with the server's row and write again what is missing.";
    UNKNOWN_BEFORE = "unknown-before",
        "The change is older than what the server remembers, and may have been applied before.",
        "Compare with the server's row and decide whether it still is to be made.";
    GROUP_REFUSED = "group-refused",
        "Another change of the same transaction was refused; the message names it.",
        "Settle the change that the message names.";
    GROUP_TOO_LARGE = "group-too-large", "One transaction has more changes than the server takes.",
        "Split the work into smaller transactions.";
    WAITS_FOR = "waits-for", "The change depends on one that is not settled.",
        "Settle the change it depends on.";
    HASH_MISMATCH = "hash-mismatch",
        "A change group came a second time under the same id with other contents.",
        "Nothing was applied a second time; write the change again.";
    UNIQUE = "unique", "A value that must be unique is used by another row.",
        "Choose another value.";
    NOT_NULL = "not-null", "A required value is missing.", "Give the attribute a value.";
    TOO_LONG = "too-long", "A text has more characters than it may have.", "Shorten it.";
    NO_MATCH = "no-match", "A text does not have the form that the model asks for.",
        "Write it in the form that the message names.";
    OUT_OF_RANGE = "out-of-range", "A value is below the smallest or above the largest.",
        "Choose a value within the range that the message names.";
    NOT_ONE_OF = "not-one-of", "A value is none of those that the attribute may have.",
        "Choose one of those that the message names.";
    EDIT_NEEDS_NETWORK = "edit-needs-network",
        "The entity is read-only while the server cannot be reached.",
        "Synchronise first, then write.";
    CHECK_FAILED = "check", "A rule of the server's database refuses the value.",
        "Choose a value that the rule allows.";
    REFERENCE = "reference", "The row refers to one that is not there.",
        "Refer to an existing row.";
    CONSTRAINT = "constraint", "A rule of the server's database refuses the change.",
        "Read the message; it comes from the database.";
    FORBIDDEN = "forbidden", "This user may not write this row.", "Ask for the right to.";
    MALFORMED = "malformed", "A message or file could not be read.",
        "Check what produced it; nothing was applied.";
    TOO_LARGE = "too-large", "The request is larger than the server takes.",
        "Send less at once; Afield's client does so by itself.";
    PROTOCOL_VERSION = "protocol-version", "Client and server speak different protocol versions.",
        "Upgrade the older one.";
    UPDATE_REQUIRED = "update-required", "The device's model is older than the server accepts.",
        "Upgrade the app; nothing on the device is lost.";
    UPGRADE_FAILED = "upgrade-failed",
        "The device could not take the server's newer model, and goes on with the one it has.",
        "See the cause in `status`; nothing is lost, and changes are still sent.";
    MODEL_CHANGED = "model-changed", "The server's model differs from the device's.",
        "Fetch the model again; Afield's client does so by itself.";
    SIGN_IN = "sign-in", "The token is missing, wrong or expired.", "Sign in again.";
    STORE_LOCKED = "store-locked", "Another process is writing to the store for too long.",
        "Wait for it, or end it.";
    STORE_DAMAGED = "store-damaged", "The device's database cannot be read as it should.",
        "Keep the file; nothing in it was deleted.";
    STORE_FULL = "store-full", "The device has no space left.",
        "Free some space; nothing that was saved is lost.";
    KEY_MISSING = "key-missing", "The store is encrypted, and no key was given or found.",
        "Give the key it was made with; nothing in the store was changed.";
    KEY_WRONG = "key-wrong", "This key does not open the store.",
        "Give the key it was made with; nothing in the store was changed.";
    KEY_MALFORMED = "key-malformed", "What was given as a key is none.",
        "Give 32 random bytes, or the same as 64 hexadecimal digits.";
    NO_ENCRYPTION = "no-encryption", "A key was given to a build that cannot encrypt.",
        "Build with the feature `encryption`; nothing was stored.";
    SQL = "sql", "SQLite refused the statement.", "Read the message; it names the mistake.";
    UNREACHABLE = "unreachable", "The server cannot be reached.",
        "Check the network and the server's address; changes are kept.";
    TIMEOUT = "timeout", "The server did not answer in time.", "Try again; changes are kept.";
    PLAIN_HTTP = "plain-http", "Plain HTTP is refused except to this machine.",
        "Use https://, or a loopback address for development.";
    INTERRUPTED = "interrupted", "The connection ended in the middle.",
        "Try again; what had arrived is kept.";
    DISCARDED = "discarded", "The sync was discarded before it began.",
        "Nothing needs to be done: a later one is on its way, and no change is lost.";
    UNSENT_WORK = "unsent-work", "The user has changes on this device that are not settled.",
        "Synchronise and decide what was refused, then log out; or export them to a file, or say \
         that they stay here until he is back, or are given up.";
    FILE_DAMAGED = "file-damaged",
        "A file of changes is cut short or altered, or is something else.",
        "Copy it again from where it was made, or export it again; nothing was imported.";
    FILE_VERSION = "file-version", "A file of changes was written by a later version.",
        "Import it with a newer version; nothing was imported.";
    FILE_EXISTS = "file-exists", "There is a file of this name already.",
        "Choose another name, or say that it may be replaced: `--force`.";
    FILE_UNUSABLE = "file-unusable", "A file cannot be read or written.",
        "See the cause in the message; no change is lost.";
    PLAIN_FILE = "plain-file", "The store is encrypted, and a file of its changes would not be.",
        "Say that it may be readable: `--plain`; keep it where nobody else reads it.";
    OTHER_USER = "other-user", "The file has changes of another user.",
        "Import it into a store of that user's, or on the server.";
    TEMPORARY_TAKEN = "temporary-taken",
        "The file calls a row that it creates what this device called another row.",
        "Import it into a new store of the same user's, or on the server; nothing was imported.";
    CLAIM_MISSING = "claim-missing",
        "What the user may do depends on a claim of his token, and there is no token.",
        "Say what it is, null if it has none: `--claim NAME=JSON`; nothing was imported.";
    IN_HANDLER = "in-handler", "A handler of the sync's end cannot wait for another sync.",
        "Trigger one: it runs when the handler has returned.";
    INTERNAL = "internal", "The server failed; its log says why.", "Try again later.";
    OVERTAKEN = "overtaken", "Another sync of the same store moved on first.", "Sync again.";
    RESTARTING = "restarting", "The server stops, and ends its live streams.",
        "Come back after a moment; nothing is lost.";
    BUSY = "busy", "The server has too much to do.", "Try again after the time it names.";
    MODEL = "model", "The model file has a mistake, or does not fit the database.",
        "Correct the line that the message names.";
    NOT_AVAILABLE = "not-available", "This version does not build this yet.",
        "Do what the message proposes for now.";
    CONFLICT_OPEN = "conflict-open", "An open conflict of this entity stops its syncs.",
        "Decide the conflict: mine, theirs, or a merged row.";
    INSERT_ONLY = "insert-only", "Rows of this entity are only created on a device.",
        "Create another row.";
    UNKNOWN_CHANGE = "unknown-change", "There is no such change on this device.",
        "See the names that `changes` lists.";
    ALREADY_DECIDED = "already-decided", "Somebody has decided about these changes before.",
        "See what was decided: `afield inbox show` says it.";
    ALREADY_SENT = "already-sent",
        "The change has left this device, or may have: it cannot be taken back any more.",
        "Write the row again, which is a change of its own; give up what was refused with `drop`.";
    NOT_PARKED = "not-parked", "The change is not refused: there is nothing to decide.",
        "See the state that `changes` shows.";
    HELD_WANTED = "held-wanted",
        "The server must know which values of its scope the device has rows of.",
        "Send them with the next request; Afield's client does so by itself.";
    HISTORY_WANTED = "history-wanted",
        "The server's database is not the one that the device last heard of: it was set back to a \
         backup, or is a copy.",
        "Offer the settled groups with the next request; Afield's client does so by itself.";
    LOST_BY_RESTORE = "lost-by-restore",
        "The change was applied, and the server's database was then set back to before that.",
        "Retry it or drop it: `retry`, `drop`.";
    OTHER_ROW = "other-row",
        "The server's database was set back, and a row that the change is about, or refers to, is \
         gone or another one since.",
        "Look at the row and retry the change, with other values if need be, or drop it.";
    UNKNOWN_SCOPE = "unknown-scope",
        "The model has no scope of this name from which values are chosen.",
        "See the names that `chosen` lists.";
    TOO_MANY_CHOSEN = "too-many-chosen",
        "More values are chosen, or longer ones, than a request takes.",
        "Give some up with `unchoose`.";
    TOO_COMPRESSED = "too-compressed",
        "The request's body is many times as long as it came, as only a made-up one is.",
        "Send less at once, or without Content-Encoding.";
    TOO_MANY_FRAMES = "too-many-frames", "The request has more frames than the server takes.",
        "Send less at once; Afield's client does so by itself.";
    TOO_MANY_CHANGES = "too-many-changes", "The request has more changes than the server takes.",
        "Send less at once; Afield's client does so by itself.";
    TOO_DEEP = "too-deep", "JSON has more arrays and objects around each other than any message.",
        "Check what produced it; nothing was applied.";
    TOO_MANY_VALUES = "too-many-values",
        "The user holds more values of a scope than the server looks up for one.",
        "Raise `scope_values` under [limits], or choose the rows by fewer values.";
    TOO_OFTEN = "too-often", "This device, or its user, asks more often than the server answers.",
        "Try again after the time it names; Afield's client does so by itself.";
    UNKNOWN_CODING = "unknown-coding", "The request's body is packed in a way nobody unpacks.",
        "Use the Content-Encoding zstd or gzip, or none.";
    UNKNOWN_REQUEST = "unknown-request", "There is no such request.",
        "See the list of requests.";
}

impl Code {
    /// The word itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code for `word`; an unknown word is kept.
    pub fn parse(word: &str) -> Self {
        match Self::GLOSSARY.iter().find(|(known, ..)| *known == word) {
            Some((known, ..)) => Self(Cow::Borrowed(known)),
            None => Self(Cow::Owned(word.to_owned())),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kebab_case_and_stand_once() {
        let mut seen = std::collections::HashSet::new();
        for (word, meaning, remedy) in Code::GLOSSARY {
            assert!(seen.insert(word), "{word} stands twice");
            assert!(
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
                "{word}"
            );
            assert!(meaning.ends_with('.') && remedy.ends_with('.'), "{word}");
        }
    }

    #[test]
    fn an_unknown_code_is_kept() {
        assert_eq!(Code::parse("from-the-future").as_str(), "from-the-future");
        assert_eq!(Code::parse("gone"), Code::GONE);
    }
}
