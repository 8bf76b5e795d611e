//! Variables in a command: Kubernetes' `$(NAME)`, a shell's and compose's `$NAME`, `${NAME}` and `${NAME:-other}`.

/// Bytes that a text may grow to.
const MOST: usize = 64 << 10;

/// A text with the variables that are known in their places; the others stay as they are written, or are what the text
/// itself says they else are.
pub(super) fn expanded(text: &str, known: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (written, value) = variable(from, known);
        match value {
            Some(value) if out.len() + value.len() <= MOST => out.push_str(&value),
            Some(_) | None => out.push_str(written),
        }
        rest = from.get(written.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Whether a variable is left in a text.
pub(super) fn has_variable(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let from = text.get(at + 1..).unwrap_or_default();
        from.starts_with(['(', '{', '_']) || from.starts_with(|c: char| c.is_ascii_alphabetic())
    })
}

/// The variable that a text begins with, as it is written, and its value.
fn variable<'a>(from: &'a str, known: &[(String, String)]) -> (&'a str, Option<String>) {
    let of = |name: &str| {
        let found = known.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let body = from.get(1..).unwrap_or_default();
    let closed = |close: char| {
        let end = body.find(close)?;
        Some((from.get(..end + 2)?, body.get(1..end)?))
    };
    let found = match body.chars().next() {
        // A dollar that is meant as one.
        Some('$') => return (from.get(..2).unwrap_or(from), Some("$".to_owned())),
        Some('(') => closed(')'),
        Some('{') => closed('}'),
        Some(first) if first == '_' || first.is_ascii_alphabetic() => {
            let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
            let end = body.find(|c: char| !is_part(c)).unwrap_or(body.len());
            from.get(..=end).zip(body.get(..end))
        }
        Some(_) | None => None,
    };
    let Some((written, inside)) = found else { return (from.get(..1).unwrap_or(from), None) };
    let (name, other) = match inside.split_once(":-").or_else(|| inside.split_once('-')) {
        Some((name, other)) => (name, Some(other.to_owned())),
        None => (inside.split([':', '?']).next().unwrap_or(inside), None),
    };
    (written, of(name).filter(|value| !value.is_empty()).or(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_variables_are_put_in_their_places() {
        let known = [("M".to_owned(), "a/b".to_owned()), ("N".to_owned(), "2".to_owned())];
        for (text, meant) in [
            ("--model=$(M)", "--model=a/b"),
            ("vllm serve $M -tp ${N}", "vllm serve a/b -tp 2"),
            ("${X:-c/d} ${X-e} ${M:-f} ${M:?unset}", "c/d e a/b a/b"),
            ("$(X) ${Y} $Z $", "$(X) ${Y} $Z $"),
            ("$$HOME {}", "$HOME {}"),
            ("${", "${"),
            ("$é", "$é"),
        ] {
            assert_eq!(expanded(text, &known), meant, "{text}");
        }
        assert!(has_variable("a$(B)") && has_variable("$C") && !has_variable("5$ $5"));
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut known = vec![("A".to_owned(), "x".repeat(1000))];
        for name in ["B", "C", "D", "E"] {
            let before = known.last().unwrap().0.clone();
            let value = expanded(&format!("${{{before}}}").repeat(40), &known);
            known.push((name.to_owned(), value));
        }
        assert!(known.iter().all(|(_, value)| value.len() <= 2 * MOST));
    }
}
