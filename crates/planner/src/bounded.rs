//! Reading what may be only so long: files, pipes, devices, anything whose size is not to be believed.

use std::io::{self, Read};

/// Why something cannot be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It goes on past the limit.
    #[error("it is larger than {most} B")]
    TooLong {
        /// How long it may be, in bytes.
        most: u64,
    },
    /// The system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// All of `from`, which may be at most `most` bytes long. No more than a byte past that is read: a pipe
/// has no size to compare beforehand, and a file may grow meanwhile.
///
/// # Errors
/// Where there is more, or reading fails. What was read is never handed out in part.
///
/// ```
/// use vramplan_planner::bounded::{ReadError, read};
/// assert_eq!(read(&b"abc"[..], 3).unwrap(), b"abc");
/// assert!(matches!(read(&b"abcd"[..], 3), Err(ReadError::TooLong { most: 3 })));
/// ```
pub fn read(from: impl Read, most: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLong { most });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what is read of it.
    struct Endless(u64);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += buffer.len() as u64;
            Ok(buffer.len())
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_read_on() {
        let mut endless = Endless(0);
        assert!(matches!(read(&mut endless, 1 << 16), Err(ReadError::TooLong { most: 65_536 })));
        assert_eq!(endless.0, (1 << 16) + 1);
        assert_eq!(read(&b""[..], 0).unwrap(), b"");
        assert!(read(&b"x"[..], 0).is_err());
        assert_eq!(read(&b"x"[..], u64::MAX).unwrap(), b"x");
    }
}
