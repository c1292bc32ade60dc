//! NumPy's file of a matrix (`.npy`, version 1.0): a header of fixed length, then rows of f32, the lowest byte first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::earlier::Earlier;
use crate::error::Error;
use crate::streams::Sink;

/// The header's length. There is room for more rows than a file can have.
pub const HEADER: u64 = 128;

fn header(rows: u64, width: usize) -> [u8; HEADER as usize] {
    let mut header = [b' '; HEADER as usize];
    header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    header[8..10].copy_from_slice(&(HEADER as u16 - 10).to_le_bytes());
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    // Two numbers of 20 digits at most, and 54 other characters.
    header[10..10 + text.len()].copy_from_slice(text.as_bytes());
    header[HEADER as usize - 1] = b'\n';
    header
}

/// Rows and width that a header of ours says.
fn parse(bytes: &[u8; HEADER as usize]) -> Option<(u64, usize)> {
    let text = std::str::from_utf8(&bytes[10..]).ok()?;
    let (rows, width) = text.split_once("'shape': (")?.1.split_once(')')?.0.split_once(", ")?;
    let (rows, width) = (rows.parse().ok()?, width.parse().ok()?);
    (header(rows, width) == *bytes).then_some((rows, width))
}

/// Writes the header of a matrix with so many rows, in its place.
///
/// # Errors
///
/// `Io` when the system refuses.
pub fn write_header(sink: &Sink, rows: u64, width: usize) -> Result<(), Error> {
    let written = sink.file().write_all_at(&header(rows, width), 0);
    written.map_err(|source| Error::Io { action: "write", what: sink.name().to_owned(), source })
}

/// The rows that a file has, which people know as `name`; none, if it is empty.
///
/// # Errors
///
/// `Append` when it is no matrix as written here; `Io` when it cannot be read.
pub fn read(file: &File, name: &str) -> Result<Earlier, Error> {
    let refuse = |reason: &str| Err(Error::Append { output: name.to_owned(), reason: reason.to_owned() });
    let fail = |source: io::Error| Error::Io { action: "read", what: name.to_owned(), source };
    let length = file.metadata().map_err(fail)?.len();
    if length == 0 {
        return Ok(Earlier::of_nothing());
    }
    let mut bytes = [0; HEADER as usize];
    const EXPECTED: &str = "it is no matrix of f32 as thalweg writes it";
    if length < HEADER {
        return refuse(EXPECTED);
    }
    file.read_exact_at(&mut bytes, 0).map_err(fail)?;
    let Some((rows, width)) = parse(&bytes) else { return refuse(EXPECTED) };
    let row = (width as u64).saturating_mul(size_of::<f32>() as u64);
    let end = rows.checked_mul(row).and_then(|bytes| bytes.checked_add(HEADER)).filter(|end| *end <= length);
    let Some(end) = end else { return refuse("it has fewer rows than its header says") };
    let mut last = vec![0; if rows == 0 { 0 } else { row as usize }];
    let start = end - last.len() as u64;
    file.read_exact_at(&mut last, start).map_err(fail)?;
    let values = last.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
    let values = if rows == 0 { vec![0.0; width.min(1 << 20)] } else { values.collect() };
    Ok(Earlier::of_matrix(rows, end, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_header_is_as_numpy_writes_it() {
        let header = header(3, 384);
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 384), }";
        assert_eq!(header[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(&header[10..], format!("{text:<117}\n").as_bytes());
        for (rows, width) in [(0, 1), (3, 384), (u64::MAX, usize::MAX)] {
            assert_eq!(parse(&super::header(rows, width)), Some((rows, width)));
        }
    }

    #[test]
    fn only_what_is_ours_is_gone_on_with() {
        let read = |content: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            super::read(&file, "x").map_err(|error| error.to_string())
        };
        let whole = [&header(2, 1)[..], &1f32.to_le_bytes(), &2f32.to_le_bytes(), b"more"].concat();
        let earlier = read(&whole).unwrap();
        assert_eq!((earlier.rows, earlier.bytes), (2, 136));
        assert!(earlier.ends_with("", &[2.0]) && !earlier.ends_with("", &[1.0]));
        assert!(earlier.check_width(1, "x").is_ok() && earlier.check_width(2, "x").is_err());
        let none = read(&header(0, 7)).unwrap();
        assert!(none.rows == 0 && none.check_width(7, "x").is_ok() && none.check_width(8, "x").is_err());
        assert_eq!(read(b"").unwrap().rows, 0);
        assert!(read(b"precious").unwrap_err().contains("no matrix"));
        let other = String::from_utf8_lossy(&whole[10..]).replace("<f4", "<f8");
        assert!(read(&[&whole[..10], other.as_bytes()].concat()).unwrap_err().contains("no matrix"));
        assert!(read(&whole[..135]).unwrap_err().contains("fewer rows"));
        assert!(read(&header(u64::MAX, usize::MAX)).unwrap_err().contains("fewer rows"));
    }
}
