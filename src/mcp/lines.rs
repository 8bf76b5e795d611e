//! Lines of bounded length.

use std::io::{BufRead, ErrorKind};

/// The longest message that is taken: room for a log that is handed over in one.
pub const LONGEST: usize = 8 << 20;

/// What stood between two line ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A message, without its line's end.
    Whole(Vec<u8>),
    /// One that is longer than [`LONGEST`]; it was passed over.
    TooLong,
}

/// The next line that is not empty; nothing at the end.
pub fn next(from: &mut impl BufRead, longest: usize) -> std::io::Result<Option<Line>> {
    loop {
        match one(from, longest)? {
            Some(Line::Whole(line)) if line.trim_ascii().is_empty() => {}
            other => return Ok(other),
        }
    }
}

fn one(from: &mut impl BufRead, longest: usize) -> std::io::Result<Option<Line>> {
    let (mut line, mut is_too_long, mut any) = (Vec::new(), false, false);
    loop {
        let read = match from.fill_buf() {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read.is_empty() {
            let last = if is_too_long { Line::TooLong } else { Line::Whole(line) };
            return Ok(any.then_some(last));
        }
        any = true;
        let end = read.iter().position(|byte| *byte == b'\n');
        let part = end.map_or(read, |end| read.split_at(end).0);
        if is_too_long || line.len().saturating_add(part.len()) > longest {
            is_too_long = true;
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            return Ok(Some(if is_too_long { Line::TooLong } else { Line::Whole(line) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, longest: usize, chunk: usize) -> Vec<Line> {
        let mut from = std::io::BufReader::with_capacity(chunk, text.as_bytes());
        std::iter::from_fn(|| next(&mut from, longest).unwrap()).collect()
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_nothing_else() {
        for chunk in [1, 3, 64] {
            let found = lines("ab\n\n \r\nabcdef\ncd\nabcdefgh", 4, chunk);
            let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
            assert_eq!(found, [whole("ab"), Line::TooLong, whole("cd"), Line::TooLong]);
        }
        assert!(lines("", 4, 8).is_empty());
        assert_eq!(lines("abcd", 4, 8), [Line::Whole(b"abcd".to_vec())]);
    }
}
