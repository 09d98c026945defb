//! What tests and benches stand on besides our own code: a PostgreSQL of their own.

pub mod postgres;
