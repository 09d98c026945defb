//! Reading a file of changes, piece by piece.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use afield_protocol::Code;
use afield_protocol::outbox_file::{FileItem, FileProblem, FileReader};

use crate::failure::Failure;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Gives the pieces of a file in order.
pub(super) fn each(
    path: &Path,
    mut take: impl FnMut(FileItem) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let unusable = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        Failure::refused(Code::FILE_UNUSABLE.as_str(), message)
    };
    let located = |problem: FileProblem| {
        let message = format!("{}: {problem}", path.display());
        Failure::refused(problem.code().as_str(), message)
    };
    let mut file = File::open(path).map_err(unusable)?;
    let mut reader = FileReader::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(unusable)?;
        if read == 0 {
            return reader.finish().map_err(located);
        }
        reader.push(buffer.get(..read).unwrap_or(&[]));
        while let Some(item) = reader.next_item().map_err(located)? {
            take(item)?;
        }
    }
}
