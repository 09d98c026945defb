//! `[sync]`: what devices start with.

use std::path::Path;

use afield_protocol::{RetryConfig, SyncConfig};
use afield_server::model::ModelFile;
use afield_server::model::file::Overrides;

/// What devices start with by a file with these lines, or its mistakes.
fn read(lines: &str) -> Result<SyncConfig, String> {
    let text = format!("[server]\ndatabase = \"sqlite:a.db\"\n[sync]\n{lines}\n");
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default());
    let file = file.map_err(|errors| errors.iter().map(ToString::to_string).collect::<String>())?;
    assert_eq!(file.warnings, [], "{lines}");
    Ok(file.sync.of_devices())
}

#[test]
fn a_file_that_says_nothing_means_the_defaults() {
    assert_eq!(read("").unwrap(), SyncConfig::default());
}

#[test]
fn each_key_reaches_devices() {
    let usual = SyncConfig::default();
    let retry = |first_ms, longest_ms| SyncConfig {
        retry: Some(RetryConfig {
            first_ms,
            longest_ms,
        }),
        ..usual
    };
    for (lines, config) in [
        (
            "on_online = false",
            SyncConfig {
                on_online: false,
                ..usual
            },
        ),
        (
            "on_login = false",
            SyncConfig {
                on_login: false,
                ..usual
            },
        ),
        (
            "on_resume = false",
            SyncConfig {
                on_resume: false,
                ..usual
            },
        ),
        (
            "on_write = false",
            SyncConfig {
                on_write_ms: None,
                ..usual
            },
        ),
        (
            "interval = \"15 min\"",
            SyncConfig {
                interval_ms: Some(900_000),
                ..usual
            },
        ),
        (
            "retry = false",
            SyncConfig {
                retry: None,
                ..usual
            },
        ),
        ("retry_interval = \"2 s\"", retry(2_000, 300_000)),
        ("retry_max = \"1 min\"", retry(5_000, 60_000)),
        ("retry_max = \"3 s\"", retry(3_000, 3_000)),
        (
            "retry_interval = \"2 s\"\nretry_max = \"3 s\"",
            retry(2_000, 3_000),
        ),
    ] {
        let read = read(lines).unwrap();
        assert_eq!(read, config, "{lines}");
        read.check().unwrap();
    }
}

#[test]
fn what_devices_could_not_live_with_is_a_mistake_with_its_place() {
    for (lines, expected) in [
        ("interval = \"1 ms\"", "4:12: [sync] interval: must be 1 s"),
        (
            "on_write = \"400 days\"",
            "4:12: [sync] on_write: must be a year",
        ),
        ("retry = 1", "4:9: [sync] retry"),
        (
            "retry_interval = \"0 s\"",
            "4:18: [sync] retry_interval: must be from 1 s",
        ),
        (
            "retry_max = \"2 days\"",
            "4:13: [sync] retry_max: must be from 1 s to 1 day",
        ),
        (
            "retry_interval = \"6 min\"",
            "4:18: [sync] retry_interval: must not be longer than `retry_max`",
        ),
    ] {
        let errors = read(lines).unwrap_err();
        assert!(errors.contains(expected), "{lines}: {errors}");
    }
}
