//! Lists of layer kinds, as a period.

use crate::spec::Window;

/// Which layers have full attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// None.
    Never,
    /// Every Nth, counting from the first.
    Every(u64),
}

impl Full {
    /// The pattern of a list with one flag for each layer; nothing where it follows none.
    pub(crate) fn of(full: &[bool]) -> Option<Self> {
        let Some(first) = full.iter().position(|&full| full) else { return Some(Self::Never) };
        let every = first + 1;
        let regular = full.iter().zip(1usize..).all(|(&full, n)| full == n.is_multiple_of(every));
        if !regular {
            return None;
        }
        u64::try_from(every).ok().map(Self::Every)
    }

    /// Whether layer `index` has full attention.
    pub(crate) const fn holds(self, index: u64) -> bool {
        match self {
            Self::Never | Self::Every(0) => false,
            Self::Every(every) => (index + 1).is_multiple_of(every),
        }
    }

    /// The windows of the layers that have no full attention.
    pub(crate) const fn window(self, size: u64) -> Option<Window> {
        match self {
            Self::Never | Self::Every(0) => Some(Window { size, full_every: None }),
            Self::Every(1) => None,
            Self::Every(n) => Some(Window { size, full_every: Some(n) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_found_and_irregular_lists_are_not() {
        let list = |text: &str| text.chars().map(|c| c == 'F').collect::<Vec<_>>();
        assert_eq!(Full::of(&list("wFwFw")), Some(Full::Every(2)));
        assert_eq!(Full::of(&list("wwwwwFww")), Some(Full::Every(6)));
        assert_eq!(Full::of(&list("FFF")), Some(Full::Every(1)));
        assert_eq!(Full::of(&list("www")), Some(Full::Never));
        assert_eq!(Full::of(&list("wFF")), None);
        assert_eq!(Full::of(&list("FwFw")), None);
        assert_eq!(Full::of(&[]), Some(Full::Never));
    }
}
