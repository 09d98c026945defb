//! Keys of the model that this version knows and does not build yet, each with what to do now.
//!
//! They are refused, never ignored: a model that says `keep = …` and does not mean it would be a
//! hole.

/// Keys of `[server]`.
pub(super) const SERVER: &[(&str, &str)] = &[(
    "admin_listen",
    "remove it; there is no administration over HTTP so far",
)];

/// Keys of `[local.…]`.
pub(super) const ENTITY: &[(&str, &str)] = &[(
    "app_triggers",
    "remove it, and the app's triggers on this table",
)];
