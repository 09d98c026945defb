//! Integration tests of the server: real SQLite files, real HTTP.

mod sqlite_database;
mod sqlite_marks;
mod sqlite_prepare;
mod sqlite_storage;
