//! A real server and real devices, as processes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use rusqlite::Connection;
use serde_json::Value as Json;
use tempfile::TempDir;

/// A command of the program, without what the caller's environment says.
pub(crate) fn afield(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afield"));
    command.current_dir(folder);
    for name in [
        "AFIELD_TOKEN",
        "AFIELD_SERVER",
        "AFIELD_KEY",
        "AFIELD_NEW_KEY",
        "AFIELD_MODEL",
        "AFIELD_DATABASE_URL",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end; its words are separated by blanks.
pub(crate) fn run(folder: &Path, words: &str) -> Output {
    afield(folder).args(words.split(' ')).output().unwrap()
}

/// The same for one that must succeed; gives what it printed.
pub(crate) fn succeed(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "afield {words}: {out}{err}");
    out
}

/// Standard output and standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Starts the server of a folder; gives its address.
fn serve(path: &Path) -> (Child, String) {
    let mut server = afield(path)
        .args(["serve", "--listen", "127.0.0.1:0", "--once-ready-print"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let out = server.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut address).unwrap();
    (server, address.trim().to_owned())
}

/// A database, its model, and the server in front of it.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) address: String,
    pub(crate) token: String,
    server: Child,
}

impl Site {
    /// Makes the database by `sql`, and serves it.
    pub(crate) fn new(sql: &str) -> Self {
        Self::with(sql, None)
    }

    /// The same with these entities in place of those that `init` proposes.
    pub(crate) fn with(sql: &str, entities: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let database = Connection::open(path.join("shop.sqlite")).unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        succeed(path, "init --from shop.sqlite");
        if let Some(entities) = entities {
            let model = format!(
                "[server]\ndatabase = \"sqlite:shop.sqlite\"\n[auth]\n\
                 secret_file = \".afield/secret\"\n{entities}"
            );
            fs::write(path.join("afield.toml"), model).unwrap();
        }
        Self::served(folder)
    }

    /// A PostgreSQL by its address, with the model that `init` proposes.
    pub(crate) fn on(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        succeed(folder.path(), &format!("init --from {url}"));
        Self::served(folder)
    }

    /// The same with these entities in place of those that `init` proposes.
    pub(crate) fn on_with(url: &str, entities: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        succeed(folder.path(), &format!("init --from {url}"));
        let model = format!(
            "[server]\ndatabase = \"{url}\"\n[auth]\nsecret_file = \".afield/secret\"\n{entities}"
        );
        fs::write(folder.path().join("afield.toml"), model).unwrap();
        Self::served(folder)
    }

    fn served(folder: TempDir) -> Self {
        let path = folder.path();
        succeed(path, "prepare");
        let token = succeed(path, "token --user ann").trim().to_owned();
        let (server, address) = serve(path);
        Self {
            address,
            folder,
            token,
            server,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the server, prepares the database for the model as it is now, and serves it again.
    pub(crate) fn restart(&mut self) {
        self.stop();
        succeed(self.path(), "prepare");
        (self.server, self.address) = serve(self.path());
    }

    /// Ends the server.
    pub(crate) fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// A command of the device `phone`, signed in.
    pub(crate) fn device(&self, words: &[&str]) -> Output {
        self.device_of("phone", words)
    }

    /// A command of a device, signed in.
    pub(crate) fn device_of(&self, store: &str, words: &[&str]) -> Output {
        let mut command = afield(self.path());
        command.args(["device", store, "--server", &self.address]);
        command.args(words).env("AFIELD_TOKEN", &self.token);
        command.output().unwrap()
    }

    /// The same for one that must succeed; gives what it printed.
    pub(crate) fn device_ok(&self, words: &[&str]) -> String {
        let output = self.device(words);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{words:?}: {out}{err}");
        out
    }

    /// The JSON that a command prints.
    pub(crate) fn device_json(&self, words: &[&str]) -> Json {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        let (out, _) = texts(&self.device(&words));
        serde_json::from_str(&out).unwrap()
    }

    /// What the server's database answers.
    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        let database = Connection::open(self.path().join("shop.sqlite")).unwrap();
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Somebody else writes to the server's database.
    pub(crate) fn write(&self, sql: &str) {
        let database = Connection::open(self.path().join("shop.sqlite")).unwrap();
        database
            .busy_timeout(std::time::Duration::from_secs(10))
            .unwrap();
        database.execute_batch(sql).unwrap();
    }

    /// A device process for requests.
    pub(crate) fn repl(&self, store: &str) -> Repl {
        let mut command = afield(self.path());
        command.args(["device", store, "--server", &self.address, "--repl"]);
        command.env("AFIELD_TOKEN", &self.token);
        Repl::start(command)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A device process that answers requests.
pub(crate) struct Repl {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Repl {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    /// Sends a line and reads the answer's.
    pub(crate) fn line(&mut self, line: &str) -> Json {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{line}: {answer:?}: {error}"))
    }

    pub(crate) fn ask(&mut self, request: &Json) -> Json {
        self.line(&request.to_string())
    }

    /// The same for a request that must succeed.
    pub(crate) fn ok(&mut self, line: &str) -> Json {
        let answer = self.line(line);
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }

    /// Ends the input; gives the exit code and what else was printed.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.input = None;
        let mut rest = String::new();
        while self.output.read_line(&mut rest).unwrap() > 0 {}
        (self.child.wait().unwrap().code(), rest)
    }

    /// Kills the process, without a chance to do anything more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Repl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of the repository's docs.
pub(crate) fn doc(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    fs::read_to_string(path).unwrap()
}
