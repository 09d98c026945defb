//! Worlds that once broke a promise, as their shortest lists of actions.
