//! What failed is tried again by itself, and tokens that run out, over real HTTP.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use afield::engine::{Direction, Report, SyncStatus};
use afield::native::{Client, SyncOptions, TokenSource};
use afield::protocol::{Code, RetryConfig, SyncConfig};
use afield::retry::FailureClass;
use afield::schedule::Reason;
use afield::{Error, Unsent};
use tempfile::tempdir;

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client, options};

/// Nothing begins by itself but what failed.
const RETRIES: SyncConfig = SyncConfig {
    on_online: false,
    on_login: false,
    on_resume: false,
    on_write_ms: None,
    interval_ms: None,
    live: false,
    retry: Some(RetryConfig {
        first_ms: 1_000,
        longest_ms: 60_000,
    }),
};

fn rows() -> Reply {
    Reply::Notes(Vec::new())
}

fn refused() -> Reply {
    Reply::Status(401, "", r#"{"code":"sign-in","detail":"it has expired"}"#)
}

/// The class of each sync that ended; `None` if it went through.
fn ends(client: &Client) -> Receiver<Option<FailureClass>> {
    let (sender, receiver) = channel();
    client.on_finished(move |finished| {
        let class = match finished.result {
            Ok(report) => report.class,
            Err(error) => Some(FailureClass::of(error.code())),
        };
        // The test may have seen enough.
        let _ = sender.send(class);
    });
    receiver
}

fn next(ends: &Receiver<Option<FailureClass>>) -> Option<FailureClass> {
    ends.recv_timeout(Duration::from_secs(60)).unwrap()
}

fn sync(client: &Client) -> Report {
    client.sync(None, Direction::Both).unwrap()
}

#[test]
fn p8_a_sync_that_failed_is_tried_again_by_itself() {
    let folder = tempdir().unwrap();
    // One sync tries four times, with short pauses, before it gives up.
    let faults = (0..4).map(|_| Reply::HangUp);
    let server = Server::start(faults.chain([rows()]));
    let client = client(folder.path(), &server);
    let ends = ends(&client);
    client.configure(RETRIES).unwrap();
    client.store().create("note", &note("a", "mine")).unwrap();
    client.trigger(&SyncOptions::default(), false).unwrap();
    assert_eq!(next(&ends), Some(FailureClass::Transient));
    assert_eq!(next(&ends), None, "nobody asked for this one");
    let groups: Vec<usize> = (0..5).map(|_| server.seen().groups.len()).collect();
    assert_eq!(groups, [1; 5]);
    assert_eq!(client.store().status().unwrap().pending, 0);
    assert_eq!(client.next_sync(), None);
}

#[test]
fn p8_a_server_is_left_alone_for_as_long_as_it_asks() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Status(503, "Retry-After: 120\r\n", "")]);
    let client = client(folder.path(), &server);
    client
        .configure(SyncConfig {
            on_write_ms: Some(1),
            ..RETRIES
        })
        .unwrap();
    assert_eq!(sync(&client).class, Some(FailureClass::Transient));
    client.store().create("note", &note("a", "mine")).unwrap();
    let (after, reason) = client.next_sync().unwrap();
    assert_eq!(reason, Reason::Retry);
    assert!(after > Duration::from_secs(90), "{after:?}");
    server.seen();
    assert!(!server.saw_more());
}

#[test]
fn a_group_that_fails_alone_goes_again_by_itself() {
    let folder = tempdir().unwrap();
    let bad = || Reply::Status(500, "", "");
    let server = Server::start([bad(), rows()]);
    let client = client(folder.path(), &server);
    client.configure(RETRIES).unwrap();
    client.store().create("note", &note("a", "poison")).unwrap();
    let report = sync(&client);
    assert_eq!(
        (report.status, report.backed_off),
        (SyncStatus::Incomplete, 1)
    );
    let (after, reason) = client.next_sync().unwrap();
    assert_eq!(reason, Reason::Retry);
    assert!(after <= Duration::from_secs(5), "{after:?}");
}

#[test]
fn a_sync_that_was_cancelled_is_not_tried_again() {
    let folder = tempdir().unwrap();
    let server = Server::start([Reply::Silence]);
    let client = Arc::new(client(folder.path(), &server));
    let ends = ends(&client);
    client.configure(RETRIES).unwrap();
    client.trigger(&SyncOptions::default(), false).unwrap();
    server.seen();
    client.cancel();
    next(&ends);
    assert_eq!(client.next_sync(), None);
}

/// What a callback was asked with, in order.
type Calls = Arc<Mutex<Vec<Option<String>>>>;

/// Ann's client, whose app gives `answers` when it is asked for tokens.
fn asking(
    folder: &Path,
    server: &Server,
    answers: impl IntoIterator<Item = Result<Option<&'static str>, Code>>,
) -> (Client, Calls) {
    let calls = Calls::default();
    let answers: Vec<_> = answers.into_iter().collect();
    let (seen, answers) = (calls.clone(), Mutex::new(answers.into_iter()));
    let source = TokenSource::callback(move |refused| {
        seen.lock().unwrap().push(refused.map(str::to_owned));
        let answer = answers.lock().unwrap().next();
        let answer = answer.expect("asked more often than it should be");
        answer
            .map(|token| token.map(str::to_owned))
            .map_err(|code| Error::new(code, "no way to the sign-in service"))
    });
    let mut options = options(folder, &server.address);
    options.token_source = Some(source);
    (Client::open(options).unwrap(), calls)
}

#[test]
fn a_token_that_ran_out_is_replaced_within_the_sync() {
    let folder = tempdir().unwrap();
    let server = Server::start([refused(), rows(), refused(), rows()]);
    let answers = [Ok(Some("second")), Ok(Some("third"))];
    let (client, calls) = asking(folder.path(), &server, answers);
    assert_eq!(sync(&client).status, SyncStatus::Completed);
    assert_eq!(sync(&client).status, SyncStatus::Completed);
    let tokens: Vec<_> = (0..4)
        .map(|_| server.seen().header("authorization").map(str::to_owned))
        .collect();
    let sent = ["secret", "second", "second", "third"].map(|it| Some(format!("Bearer {it}")));
    assert_eq!(tokens, sent);
    let asked = ["secret", "second"].map(|it| Some(it.to_owned()));
    assert_eq!(*calls.lock().unwrap(), asked);
    assert!(!client.needs_sign_in());
}

#[test]
fn who_gives_no_good_token_is_asked_once_and_a_person_signs_in() {
    for answer in [None, Some("secret"), Some("as-bad")] {
        let folder = tempdir().unwrap();
        // A token that is refused as well costs one more request.
        let refusals = 2 + usize::from(answer == Some("as-bad"));
        let script = (0..refusals).map(|_| refused());
        let server = Server::start(script.chain([rows(), refused()]));
        let (client, calls) = asking(folder.path(), &server, [Ok(answer), Ok(None)]);
        let ends = ends(&client);
        client.configure(RETRIES).unwrap();
        client.store().create("note", &note("a", "mine")).unwrap();
        for _ in 0..2 {
            assert_eq!(sync(&client).class, Some(FailureClass::SignIn));
            assert_eq!(next(&ends), Some(FailureClass::SignIn));
        }
        assert!(client.needs_sign_in());
        assert_eq!(calls.lock().unwrap().len(), 1);
        let (after, reason) = client.next_sync().unwrap();
        assert_eq!(reason, Reason::Retry);
        assert!(after > Duration::from_secs(20), "{after:?}");
        client.set_token("fresh", false).unwrap();
        assert_eq!(next(&ends), None, "by itself, at once");
        assert!(!client.needs_sign_in());
        assert_eq!(client.store().status().unwrap().pending, 0);
        // That one runs out as well, and the app is asked anew.
        assert_eq!(sync(&client).class, Some(FailureClass::SignIn));
        assert_eq!(calls.lock().unwrap().len(), 2);
    }
}

#[test]
fn p7_the_app_cannot_give_anothers_token() {
    let folder = tempdir().unwrap();
    let server = Server::start([refused()]);
    // Its payload is {"sub":"bob"}.
    let bobs = "e30.eyJzdWIiOiJib2IifQ.c2ln";
    let (client, _) = asking(folder.path(), &server, [Ok(Some(bobs))]);
    let error = client.sync(None, Direction::Both).unwrap_err();
    assert_eq!(error.code(), &Code::SIGN_IN);
    assert!(error.to_string().contains("bob"), "{error}");
    assert!(client.needs_sign_in());
    server.seen();
    assert!(!server.saw_more());
}

#[test]
fn a_sign_in_service_that_is_away_is_asked_again() {
    let folder = tempdir().unwrap();
    let server = Server::start([refused(), refused(), rows()]);
    let answers = [Err(Code::UNREACHABLE), Ok(Some("second"))];
    let (client, calls) = asking(folder.path(), &server, answers);
    let error = client.sync(None, Direction::Both).unwrap_err();
    assert_eq!(error.code(), &Code::UNREACHABLE);
    assert!(!client.needs_sign_in(), "nobody knows yet");
    assert_eq!(sync(&client).status, SyncStatus::Completed);
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[test]
fn p7_a_token_that_comes_after_the_user_has_logged_out_is_not_used() {
    let folder = tempdir().unwrap();
    let server = Server::start([refused()]);
    let mut options = options(folder.path(), &server.address);
    let client = Arc::new(OnceLock::<Weak<Client>>::new());
    let leaving = client.clone();
    options.remember_token = true;
    options.token_source = Some(TokenSource::callback(move |_| {
        let client = leaving.get().and_then(Weak::upgrade).unwrap();
        client.log_out(Unsent::Keep)?;
        Ok(Some("second".to_owned()))
    }));
    let opened = Arc::new(Client::open(options.clone()).unwrap());
    client.set(Arc::downgrade(&opened)).unwrap();
    opened.store().create("note", &note("a", "mine")).unwrap();
    assert_eq!(sync(&opened).class, Some(FailureClass::SignIn));
    assert_eq!(
        opened.folder().token("ann").unwrap(),
        None,
        "nothing is left of it"
    );
    server.seen();
    assert!(!server.saw_more());
    drop(opened);
    options.token = None;
    let locked = Client::open(options.clone()).map(drop).unwrap_err();
    assert_eq!(locked.code(), &Code::SIGN_IN);
    options.token = Some("fresh".to_owned());
    let back = Client::open(options).unwrap();
    assert_eq!(back.store().status().unwrap().pending, 1);
}
