//! Lists of layer kinds, as a period.

/// Every how manyth layer is `true`, counting from the first: `Some(Some(n))`, or `Some(None)` where
/// none is. Nothing where the list follows no such pattern.
pub(crate) fn full_every(full: &[bool]) -> Option<Option<u64>> {
    let Some(first) = full.iter().position(|&full| full) else { return Some(None) };
    let every = first + 1;
    let regular = full.iter().zip(1usize..).all(|(&full, n)| full == n.is_multiple_of(every));
    if !regular {
        return None;
    }
    u64::try_from(every).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_found_and_irregular_lists_are_not() {
        let list = |text: &str| text.chars().map(|c| c == 'F').collect::<Vec<_>>();
        assert_eq!(full_every(&list("wFwFw")), Some(Some(2)));
        assert_eq!(full_every(&list("wwwwwFww")), Some(Some(6)));
        assert_eq!(full_every(&list("FFF")), Some(Some(1)));
        assert_eq!(full_every(&list("www")), Some(None));
        assert_eq!(full_every(&list("wFF")), None);
        assert_eq!(full_every(&list("FwFw")), None);
        assert_eq!(full_every(&[]), Some(None));
    }
}
