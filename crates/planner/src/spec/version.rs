//! Version numbers as people write them.

/// What `latest` is parsed as.
pub const LATEST: (u64, u64) = (u64::MAX, u64::MAX);

/// Major and minor of `4.44`, `v4.44.2` or `0.9.2rc1.dev3`; [`LATEST`] of `latest`. What stands behind
/// the second dot is not looked at.
pub fn parse(text: &str) -> Option<(u64, u64)> {
    if text.eq_ignore_ascii_case("latest") {
        return Some(LATEST);
    }
    let numbers = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let mut parts = numbers.splitn(3, '.');
    let number = |part: Option<&str>| part?.parse().ok();
    Some((number(parts.next())?, number(parts.next())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_and_minor_are_read() {
        assert_eq!(parse("v0.14.0rc1.dev2+g7d9"), Some((0, 14)));
        assert_eq!(parse("4.44"), Some((4, 44)));
        assert_eq!(parse("Latest"), Some(LATEST));
        for text in ["", "4", "v", "4.x", ".5", "-1.2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
