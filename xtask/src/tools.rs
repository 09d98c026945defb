//! The tools that cargo does not bring: found, or installed below `target/tools`.
//!
//! Each is pinned, so that everybody's run gives the same answer; another version that happens to
//! be on the machine is left alone and not used.

use std::path::{Path, PathBuf};

use crate::process;

/// Licences, sources and known holes of the dependencies.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    krate: "cargo-deny",
    version: "0.20.2",
};

/// Spelling.
pub(crate) const TYPOS: Tool = Tool {
    name: "typos",
    krate: "typos-cli",
    version: "1.52.0",
};

/// Says what to install if the feature `encryption` cannot be built: the C compiler must find
/// OpenSSL's headers, unless the variables that the build asks say where it is.
pub(crate) fn require_openssl(root: &Path) -> Result<(), String> {
    let is_told = ["OPENSSL_DIR", "OPENSSL_INCLUDE_DIR"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    let mut compiler = process::program(Path::new("cc"), root);
    compiler.args(["-E", "-include", "openssl/crypto.h", "-x", "c", "/dev/null"]);
    let is_found = process::output(&mut compiler).is_ok_and(|(succeeded, _)| succeeded);
    match is_told || is_found || cfg!(not(target_os = "linux")) {
        true => Ok(()),
        false => Err(
            "OpenSSL's headers are missing, which encryption is built with; install them: \
             apt-get install --yes libssl-dev"
                .to_owned(),
        ),
    }
}

/// A program that comes from a crate.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Of the program.
    name: &'static str,
    /// That brings the program.
    krate: &'static str,
    /// The one that is used.
    version: &'static str,
}

impl Tool {
    /// The path of this tool, which is installed first if need be.
    pub(crate) fn ensure(&self, root: &Path) -> Result<PathBuf, String> {
        let home = root.join("target").join("tools");
        if let Some(found) = self.find(&home, root) {
            return Ok(found);
        }
        println!(
            "installing {} {} into target/tools",
            self.name, self.version
        );
        let mut install = process::cargo(root);
        install
            .args(["install", "--locked", "--quiet", "--debug", "--root"])
            .arg(&home);
        install.arg(format!("{}@{}", self.krate, self.version));
        let by_hand = format!("cargo install --locked {}@{}", self.krate, self.version);
        match process::succeeds(&mut install) {
            Ok(true) => Ok(self.path_below(&home)),
            Ok(false) => Err(format!(
                "{} could not be installed; try `{by_hand}`",
                self.name
            )),
            Err(message) => Err(message),
        }
    }

    fn find(&self, home: &Path, root: &Path) -> Option<PathBuf> {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&on_path).map(|folder| self.path_in(&folder));
        std::iter::once(self.path_below(home))
            .chain(on_path)
            .find(|path| path.is_file() && self.is_pinned_version(path, root))
    }

    fn is_pinned_version(&self, path: &Path, root: &Path) -> bool {
        match process::output(process::program(path, root).arg("--version")) {
            Ok((true, answer)) => self.is_pinned_answer(&answer),
            _ => false,
        }
    }

    fn is_pinned_answer(&self, answer: &str) -> bool {
        answer.split_whitespace().any(|word| word == self.version)
    }

    fn path_below(&self, home: &Path) -> PathBuf {
        self.path_in(&home.join("bin"))
    }

    fn path_in(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}{}", self.name, std::env::consts::EXE_SUFFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_version_is_used() {
        assert!(TYPOS.is_pinned_answer("typos-cli 1.52.0\n"));
        assert!(!TYPOS.is_pinned_answer("typos-cli 1.52.01\n"));
        assert!(!TYPOS.is_pinned_answer(""));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let tool = Tool {
            name: "afield-no-such-program",
            krate: "none",
            version: "1.0.0",
        };
        assert_eq!(tool.find(Path::new("/nowhere"), Path::new("/")), None);
    }
}
