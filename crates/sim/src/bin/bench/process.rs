//! CPU seconds and memory of processes, from `/proc`.

use std::fs;
use std::io;
use std::path::Path;

/// Clock ticks in a second, as Linux reports them in `/proc` on every platform it runs on.
const TICKS: f64 = 100.0;

/// CPU seconds of a process, user and system, all its threads.
pub(crate) fn cpu_seconds(process: &str) -> io::Result<f64> {
    Ok(fields(process)?.0)
}

/// CPU seconds of this process's children that ended and were waited for.
pub(crate) fn children_cpu_seconds() -> io::Result<f64> {
    reaped_cpu_seconds("self")
}

/// CPU seconds of a process's children that ended and were waited for.
pub(crate) fn reaped_cpu_seconds(process: &str) -> io::Result<f64> {
    Ok(fields(process)?.1)
}

fn fields(process: &str) -> io::Result<(f64, f64)> {
    let stat = fs::read_to_string(Path::new("/proc").join(process).join("stat"))?;
    // The name in parentheses may hold anything; what follows it is numbers.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let numbers: Vec<f64> = rest
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    // Behind the state: ppid is the first number, utime the 11th, stime, cutime, cstime.
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0.0) / TICKS;
    Ok((at(10) + at(11), at(12) + at(13)))
}

/// Largest resident set so far, in MiB; `None` once the process is gone.
pub(crate) fn peak_mib(process: &str) -> Option<f64> {
    Some(status_kib(process, "VmHWM:")? / 1024.0)
}

/// Resident set now, in KiB; `None` once the process is gone.
pub(crate) fn rss_kib(process: &str) -> Option<f64> {
    status_kib(process, "VmRSS:")
}

fn status_kib(process: &str, name: &str) -> Option<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(process).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
