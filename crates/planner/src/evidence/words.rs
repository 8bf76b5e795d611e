//! The few words that a record may hold beside those of the planner's own types, each in a form that holds no name.

/// Most characters of a version.
const LONGEST_VERSION: usize = 24;

/// A version without what a build may add to it: `0.11.2` of `v0.11.2.dev1+g12.alice`, `b8193`, and for two programs
/// `4.57,bitsandbytes=0.45`; `latest` as it is.
///
/// ```
/// use vramplan_planner::evidence::version;
///
/// assert_eq!(version("v0.11.2.dev3+gabc.d2").as_deref(), Some("0.11.2"));
/// assert_eq!(version("alice's build"), None);
/// ```
pub fn version(text: &str) -> Option<String> {
    let text = text.trim();
    if text == "latest" {
        return Some(text.to_owned());
    }
    if let Some((first, second)) = text.split_once(',') {
        let second = numbers(second.trim().strip_prefix("bitsandbytes=")?)?;
        return Some(format!("{},bitsandbytes={second}", numbers(first)?));
    }
    match text.strip_prefix('b') {
        Some(build) => Some(format!("b{}", numbers(build)?)),
        None => numbers(text.strip_prefix('v').unwrap_or(text)),
    }
}

/// Numbers with points between them, from the beginning.
fn numbers(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    // The part with a letter in it, as `2rc1`, is none.
    let head = text.get(..end)?;
    let whole = match text.get(end..)?.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => head.rsplit_once('.').map(|(head, _)| head),
        _ => Some(head),
    }?;
    let whole = whole.trim_end_matches('.');
    let is_number = !whole.is_empty()
        && whole.len() <= LONGEST_VERSION
        && whole.split('.').all(|part| !part.is_empty());
    is_number.then(|| whole.to_owned())
}

/// A driver's version: numbers with points between them.
pub fn driver(text: &str) -> Option<String> {
    let text = text.trim();
    numbers(text).filter(|found| found == text)
}

/// A date to the second, in UTC: `2026-03-01T12:00:00Z`.
pub fn date(text: &str) -> Option<&str> {
    const FORM: &str = "0000-00-00T00:00:00Z";
    let fits = text.len() == FORM.len()
        && text.bytes().zip(FORM.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        });
    fits.then_some(text)
}

/// A job as schedulers number them: `4711`, `4711_3`, `0`.
pub fn job(text: &str) -> Option<&str> {
    let text = text.trim();
    let fits = !text.is_empty()
        && text.len() <= 40
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'.'));
    fits.then_some(text)
}

/// The address of a public thread.
pub fn thread(text: &str) -> Option<&str> {
    let path = text.strip_prefix("https://github.com/")?;
    let parts: Vec<&str> = path.split('/').collect();
    let [owner, repository, kind, number] = parts.as_slice() else { return None };
    let is_name = |name: &str| {
        (1..=100).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let fits = is_name(owner)
        && is_name(repository)
        && matches!(*kind, "issues" | "pull" | "discussions")
        && number.len() <= 8
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for (text, found) in [
            ("0.11.2", Some("0.11.2")),
            ("v0.9.2rc1", Some("0.9")),
            ("0.10.0.dev12+g1", Some("0.10.0")),
            ("b8193", Some("b8193")),
            ("2025", Some("2025")),
            ("4.57,bitsandbytes=0.45.1", Some("4.57,bitsandbytes=0.45.1")),
            ("latest", Some("latest")),
            ("balice", None),
            ("", None),
            ("..", None),
            ("4.57,alice=1", None),
            ("1.2/home/alice", Some("1.2")),
            ("é", None),
        ] {
            assert_eq!(version(text).as_deref(), found, "{text}");
            if let Some(found) = found {
                assert_eq!(version(found).as_deref(), Some(found), "twice is once");
            }
        }
    }

    #[test]
    fn words_hold_no_names() {
        assert_eq!(driver("550.54.15").as_deref(), Some("550.54.15"));
        assert!(["550.54.15 alice", "550-a", "", "."].iter().all(|text| driver(text).is_none()));
        assert!(date("2026-03-01T12:00:00Z").is_some());
        assert!(["2026-03-01", "2026-03-01T12:00:00+", "alice"].iter().all(|t| date(t).is_none()));
        assert!(job("4711_3").is_some() && job("alice").is_none() && job("").is_none());
        assert!(thread("https://github.com/vllm-project/vllm/issues/10517").is_some());
        for wrong in [
            "https://github.com/a/b",
            "https://example.com/a/b/issues/1",
            "https://github.com/a/b/issues/1?token=x",
            "https://github.com/a/b/issues/1/alice",
        ] {
            assert_eq!(thread(wrong), None, "{wrong}");
        }
    }
}
