//! The demo's tables with a few rows, the demo's model, and a server in front of them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use afield::native::{Client, ClientOptions};
use afield::protocol::GroupId;
use afield_server::auth::{Auth, Secret};
use afield_server::http::{HttpLimits, ServerState, router};
use afield_server::model::file::Overrides;
use afield_server::model::{ModelFile, resolve};
use afield_server::resolved::ServerModel;
use afield_server::serve::{ServeOptions, serve_until, system_clock};
use afield_server::storage::Storage as _;
use afield_server::storage::inbox::{Choice, Decide, DecideOutcome, InboxQuery};
use afield_server::storage::sqlite::{SqliteStorage, catalog, prepare};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

const ROWS: &str = "
INSERT INTO district VALUES ('C1', 'Old Town'), ('C2', 'Harbour');
INSERT INTO district_member VALUES ('ann', 'C1'), ('ann', 'C2'), ('ben', 'C1'), ('ben', 'C2');
INSERT INTO inspector VALUES (1001, 'Ada Adler', 'C1', NULL);
INSERT INTO business VALUES
  ('b0000000-0000-4000-8000-000000000001', 'Blue Anchor', 'café', 'Quay Street 7', 'Fieldport',
   'C1', NULL, NULL, 30, '2020-01-01', 1),
  ('b0000000-0000-4000-8000-000000000002', 'Green Fork', 'kiosk', 'Mill Lane 2', 'Fieldport',
   'C2', NULL, NULL, 0, '2021-01-01', 1),
  ('b0000000-0000-4000-8000-000000000003', 'Old Oven', 'bakery', 'Park Avenue 3', 'Fieldport',
   'C2', NULL, NULL, 4, '2022-01-01', 0);
INSERT INTO inspection VALUES
  ('d0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001', 1001,
   'routine', '2026-03-01', NULL, 'fail', 64, NULL);
INSERT INTO violation VALUES
  ('d0000000-0000-4000-8000-000000000001', 1, 'C02', 'minor', 'Crumbs behind the counter.', 0);
";

/// A team's database with its model, and the folder of the devices.
pub(crate) struct World {
    folder: TempDir,
}

/// A server, until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let team = Connection::open(path.join("inspections.db")).unwrap();
        let tables = include_str!("../../../../crates/cli/src/demo/sample.sql");
        team.execute_batch(tables).unwrap();
        team.execute_batch(ROWS).unwrap();
        let model = include_str!("../../../../crates/cli/src/demo/sample.toml");
        fs::write(path.join("afield.toml"), model).unwrap();
        Secret::create(&path.join(".afield/secret")).unwrap();
        let world = Self { folder };
        let file = path_of(&world, "inspections.db");
        prepare(&file, &world.model(), random).unwrap();
        world
    }

    fn file(&self) -> ModelFile {
        let path = path_of(self, "afield.toml");
        ModelFile::read(&path, &Overrides::default()).unwrap()
    }

    pub(crate) fn model(&self) -> ServerModel {
        let catalog = catalog::read_file(&path_of(self, "inspections.db")).unwrap();
        resolve(&self.file(), &catalog).unwrap()
    }

    fn auth(&self) -> Auth {
        Auth::open(&self.file().auth).unwrap()
    }

    /// A token that the server takes.
    pub(crate) fn token(&self, user: &str) -> String {
        let expires = system_clock()() + 3_600;
        let claims = serde_json::Map::new();
        self.auth().issue(user, expires, &claims).unwrap()
    }

    /// A device of `user`, which has not synchronised yet.
    pub(crate) fn client(&self, user: &str, url: &str) -> Client {
        let token = self.token(user);
        let folder = path_of(self, "devices");
        let mut options = ClientOptions::new(folder, user).server(url).token(token);
        options.model = Some(crate::model::model().unwrap());
        Client::open(options).unwrap()
    }

    /// Somebody at the desk decides about the only change that waits in the inbox.
    pub(crate) fn decides(&self, by: &str, is_applied: bool) {
        let (model, database) = (self.model(), path_of(self, "inspections.db"));
        let storage = SqliteStorage::open(&database, &model, random).unwrap();
        let query = InboxQuery {
            most: 2,
            ..InboxQuery::default()
        };
        let open = storage.inbox(&query).unwrap();
        assert_eq!(open.len(), 1, "{open:?}");
        let mut into = [0; 16];
        random(&mut into);
        let wish = Decide {
            n: open[0].n,
            choice: match is_applied {
                true => Choice::Mine,
                false => Choice::Theirs,
            },
            by: by.to_owned(),
            into: GroupId(into),
        };
        let outcome = storage.decide(&model, &wish).unwrap();
        assert!(matches!(outcome, DecideOutcome::Done), "{outcome:?}");
    }

    /// What the server's database answers.
    pub(crate) fn ask(&self, sql: &str) -> String {
        let team = Connection::open(path_of(self, "inspections.db")).unwrap();
        let cell: rusqlite::types::Value = team.query_row(sql, [], |row| row.get(0)).unwrap();
        match cell {
            rusqlite::types::Value::Integer(n) => n.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    }
}

impl Server {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_at(world, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(crate) fn start_at(world: &World, address: SocketAddr) -> Self {
        let (model, database) = (world.model(), path_of(world, "inspections.db"));
        let storage = SqliteStorage::open(&database, &model, random).unwrap();
        let limits = HttpLimits::from(&world.file().limits);
        let state = ServerState::new(
            Arc::new(storage),
            model,
            world.auth(),
            limits,
            system_clock(),
        );
        let (stop, stopped) = oneshot::channel();
        let (ready, address_of) = channel();
        let serve = async move {
            let stopped = async {
                let _ = stopped.await;
            };
            let tell = |address| ready.send(address).unwrap();
            serve_until(&ServeOptions::new(address), router(state), stopped, tell).await
        };
        let run = move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(serve).unwrap();
        };
        let thread = thread::spawn(run);
        Self {
            url: format!("http://{}", address_of.recv().unwrap()),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn path_of(world: &World, name: &str) -> std::path::PathBuf {
    world.folder.path().join(name)
}

fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).unwrap();
}
