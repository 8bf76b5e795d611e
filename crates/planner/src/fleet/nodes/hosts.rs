//! Slurm's lists of hosts: `l4-[01-03,07],a100-1`.

use super::{MOST_NODES, NodesError};

/// The hosts that a list names.
///
/// # Errors
/// Where it names more than there may be.
pub fn hosts(list: &str) -> Result<Vec<String>, NodesError> {
    let mut found = Vec::new();
    for word in words(list) {
        expand(word, &mut found)?;
    }
    Ok(found)
}

/// What commas outside of brackets set apart.
fn words(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0u32;
    list.split(move |c| {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|word| !word.is_empty())
}

fn expand(word: &str, found: &mut Vec<String>) -> Result<(), NodesError> {
    let parts = word.split_once('[').and_then(|(before, rest)| {
        let (inside, behind) = rest.split_once(']')?;
        Some((before, inside, behind))
    });
    let Some((before, inside, behind)) = parts else {
        if word.is_empty() {
            return Ok(());
        }
        if found.len() >= MOST_NODES {
            return Err(NodesError::TooMany);
        }
        found.push(word.to_owned());
        return Ok(());
    };
    for range in inside.split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (from.parse::<u64>(), to.parse::<u64>()) else {
            expand(&format!("{before}{range}{behind}"), found)?;
            continue;
        };
        if last.saturating_sub(first) >= MOST_NODES as u64 {
            return Err(NodesError::TooMany);
        }
        let width = from.len();
        for n in first..=last {
            expand(&format!("{before}{n:0width$}{behind}"), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_hosts() {
        let of = |list| hosts(list).unwrap().join(" ");
        assert_eq!(of("a100-1"), "a100-1");
        assert_eq!(of("l4-[01-03,07],a100-1"), "l4-01 l4-02 l4-03 l4-07 a100-1");
        assert_eq!(of("r[1-2]n[1-2]"), "r1n1 r1n2 r2n1 r2n2");
        assert_eq!(of("odd[x-y],[,]"), "oddx-y");
        assert_eq!(of("["), "[");
        for much in ["n[0-99999999]", "a[0-999]b[0-999]", "n[18446744073709551615-1],x"] {
            let found = hosts(much);
            assert!(found.is_err() || found.unwrap().len() < 3, "{much}");
        }
    }
}
