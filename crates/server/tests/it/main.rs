//! Integration tests of the server: real SQLite files, real HTTP.

mod model_catalog;
mod model_file;
mod model_init;
mod model_resolve;
