//! Content codings over real HTTP, and bodies that are made to be more than they seem.

use std::io::{Read as _, Write as _};

use afield_protocol::codec::Format;
use afield_protocol::limits::{BODY_BYTES, UNPACKED_FREE_BYTES};
use afield_protocol::{Code, Frame};
use afield_server::http::HttpLimits;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::http_support::client::Ask;
use crate::http_support::{Server, group, kinds, token};

type Pack = fn(&[u8]) -> Vec<u8>;

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn ask(coding: &str, body: Vec<u8>) -> Ask {
    Ask::sync(&token())
        .header("Content-Encoding", coding)
        .body(body)
}

/// A request with one change whose note has so many bytes.
fn request(server: &Server, id: u8, note: &str) -> Vec<u8> {
    let frames = [
        Frame::Hello(server.hello(&[("visit", None)])),
        Frame::Group(group(id, note)),
        Frame::End,
    ];
    server.encode(Format::Cbor, &frames)
}

#[test]
fn a_sync_goes_packed_both_ways() {
    let server = Server::start();
    server.storage.set(|script| {
        script.more_pages = 5;
        script.row_bytes = 100_000;
    });
    let mut id = 0;
    let packers: [(&str, Pack); 3] = [("gzip", gzip), ("zstd", zstd), ("identity", <[u8]>::to_vec)];
    for (coding, pack) in packers {
        for accepted in ["gzip", "zstd", "identity"] {
            id += 1;
            let body = request(&server, id, "a note");
            for ask in [ask(coding, pack(&body)), ask(coding, pack(&body)).chunked()] {
                let ask = ask.header("Accept-Encoding", accepted);
                let answer = ask.send(server.address);
                assert_eq!(answer.status, 200, "{coding} {accepted}");
                assert!(answer.is_whole);
                assert_eq!(answer.header("vary"), Some("accept-encoding"));
                let named = Some(accepted).filter(|it| *it != "identity");
                assert_eq!(answer.header("content-encoding"), named);
                let bytes = match accepted {
                    "gzip" => unzipped(&answer.body),
                    "zstd" => zstd::stream::decode_all(&*answer.body).unwrap(),
                    _ => answer.body.clone(),
                };
                let frames = server.decode(Format::Cbor, &bytes);
                let ends = kinds(&frames);
                assert_eq!(ends[..3], ["welcome", "outcome", "settled"]);
                assert_eq!(ends.last(), Some(&"end"));
                assert_eq!(ends.iter().filter(|kind| **kind == "rows").count(), 6);
                assert!(named.is_none() || answer.body.len() * 10 < bytes.len());
            }
        }
    }
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

#[test]
fn codings_that_are_unknown_or_around_each_other_are_refused() {
    let server = Server::start();
    let body = request(&server, 1, "a");
    let refused = |ask: Ask| {
        let answer = ask.send(server.address);
        assert_eq!(answer.header("accept-encoding"), Some("zstd, gzip"));
        assert_eq!((answer.status, &*answer.code()), (415, "unknown-coding"));
    };
    refused(ask("br", body.clone()));
    refused(ask("gzip, zstd", zstd(&gzip(&body))));
    let twice = ask("gzip", zstd(&gzip(&body))).header("Content-Encoding", "zstd");
    refused(twice);
    assert_eq!(server.storage.pushed(), []);
}

#[test]
fn a_body_that_is_packed_in_another_way_or_breaks_off_is_refused() {
    let server = Server::start();
    let body = request(&server, 1, &"note ".repeat(50_000));
    let (zipped, zstandard) = (gzip(&body), zstd(&body));
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
    for (coding, body) in [
        ("gzip", body.clone()),
        ("gzip", zstandard.clone()),
        ("gzip", cut(&zipped)),
        ("zstd", body),
        ("zstd", zipped),
        ("zstd", cut(&zstandard)),
        ("gzip", Vec::new()),
        ("zstd", Vec::new()),
        ("identity", zstandard),
    ] {
        let answer = ask(coding, body).send(server.address);
        assert_eq!((answer.status, &*answer.code()), (400, "malformed"));
    }
    assert_eq!(server.storage.pushed(), []);
}

/// Bytes that unpack to 1 GiB of zeros. Of gzip a mebibyte is the least that does.
fn bomb(coding: &str) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    if coding == "gzip" {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        (0..1_024).for_each(|_| encoder.write_all(&zeros).unwrap());
        return encoder.finish().unwrap();
    }
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    (0..1_024).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn p9_a_small_body_that_unpacks_to_a_gibibyte_is_refused_while_it_unpacks() {
    for (ratio, code) in [
        (HttpLimits::default().ratio, "too-compressed"),
        (usize::MAX, "too-large"),
    ] {
        let limits = HttpLimits {
            ratio,
            ..HttpLimits::default()
        };
        let server = Server::start_with(limits, |_| {});
        // A hello, and the head of the largest frame that there may be: the zeros are in it.
        let hello = Frame::Hello(server.hello(&[]));
        let mut opening = server.encode(Format::Cbor, &[hello]);
        opening.extend([0xd8, 24, 0x5a]);
        opening.extend(u32::try_from(BODY_BYTES).unwrap().to_be_bytes());
        for coding in ["zstd", "gzip"] {
            let mut body = match coding {
                "zstd" => zstd(&opening),
                _ => gzip(&opening),
            };
            body.extend(bomb(coding));
            assert!(body.len() < 1_100_000, "{}", body.len());
            for ask in [ask(coding, body.clone()), ask(coding, body).chunked()] {
                let answer = ask.send(server.address);
                assert_eq!((answer.status, &*answer.code()), (413, code), "{coding}");
            }
        }
    }
}

#[test]
fn p9_a_body_is_as_large_as_it_unpacks_to_the_byte() {
    let server = Server::start();
    let whole = request(&server, 1, &noise(100_000));
    for (limit, status) in [
        (whole.len() - 1, 413),
        (whole.len(), 200),
        (whole.len() + 1, 200),
    ] {
        let limits = HttpLimits {
            body_bytes: limit,
            ..HttpLimits::default()
        };
        let server = Server::start_with(limits, |_| {});
        let whole = request(&server, 1, &noise(100_000));
        for (coding, body) in [
            ("zstd", zstd(&whole)),
            ("gzip", gzip(&whole)),
            ("identity", whole.clone()),
        ] {
            let answer = ask(coding, body).send(server.address);
            assert_eq!(answer.status, status, "{coding} {limit}");
            assert!(status == 200 || answer.code() == "too-large");
        }
    }
}

#[test]
fn p9_the_ratio_is_kept_to_the_byte() {
    let server = Server::start();
    let whole = request(&server, 1, &"1 visit ".repeat(UNPACKED_FREE_BYTES / 4));
    let packed = zstd(&whole);
    // All of it has come at once, so that the last byte decides.
    let exact = whole.len().div_ceil(packed.len());
    for (ratio, status) in [(exact - 1, 413), (exact, 200), (exact + 1, 200)] {
        let limits = HttpLimits {
            ratio,
            ..HttpLimits::default()
        };
        let server = Server::start_with(limits, |_| {});
        let answer = ask("zstd", packed.clone()).send(server.address);
        assert_eq!(answer.status, status, "{ratio} of {exact}");
        assert!(status == 200 || answer.code() == "too-compressed");
    }
}

#[test]
fn p9_a_window_that_is_too_large_is_refused_before_it_is_made() {
    let server = Server::start();
    let whole = request(&server, 1, "a");
    let windowed = |log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&whole).unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(ask("zstd", windowed(23)).send(server.address).status, 200);
    let answer = ask("zstd", windowed(24)).send(server.address);
    assert_eq!((answer.status, &*answer.code()), (400, "malformed"));
}

#[test]
fn an_answer_that_breaks_off_is_not_whole_when_it_is_packed_either() {
    let server = Server::start();
    server.storage.set(|script| {
        script.more_pages = 3;
        script.failing_page = Some(2);
    });
    for accepted in ["zstd", "gzip"] {
        let body = request(&server, 1, "a");
        let ask = Ask::sync(&token()).header("Accept-Encoding", accepted);
        let answer = ask.body(body).send(server.address);
        let bytes = match accepted {
            "gzip" => unzipped(&answer.body),
            _ => zstd::stream::decode_all(&*answer.body).unwrap(),
        };
        let frames = server.decode(Format::Cbor, &bytes);
        assert_eq!(crate::http_support::problem(&frames), &Code::INTERNAL);
    }
}

/// Text that no coding makes much shorter.
pub(crate) fn noise(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    (0..bytes).map(|_| random.alphanumeric()).collect()
}
