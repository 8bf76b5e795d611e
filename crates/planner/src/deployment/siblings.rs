//! Models of the same family in other sizes.

use std::sync::Arc;

use crate::read::{Catalog, Kind};
use crate::spec::ModelSpec;

/// The next smaller and the next larger model whose names differ in their size only, for advice:
/// `qwen2.5-7b` and `qwen2.5-32b` beside `qwen2.5-14b`.
pub(super) fn siblings(model: &ModelSpec, catalog: &Catalog) -> Arc<[Arc<ModelSpec>]> {
    let Some((stem, size)) = stem_and_size(&model.name) else { return Arc::new([]) };
    let Ok(names) = catalog.names(Kind::Model) else { return Arc::new([]) };
    let sized = names.filter_map(|name| Some((name, stem_and_size(name)?)));
    let same: Vec<_> = sized.filter(|(_, (other, _))| *other == stem).collect();
    let size_of = |(_, (_, size)): &&(&str, (&str, f64))| *size;
    let by_size = |a: &&_, b: &&_| size_of(a).total_cmp(&size_of(b));
    let smaller = same.iter().filter(|other| size_of(other) < size).max_by(by_size);
    let larger = same.iter().filter(|other| size_of(other) > size).min_by(by_size);
    let names = smaller.into_iter().chain(larger).map(|(name, _)| name);
    names.filter_map(|name| catalog.model(name).ok()).map(Arc::new).collect()
}

/// `qwen2.5` and 14 billion of `qwen2.5-14b`; nothing for names that do not end in a plain size.
fn stem_and_size(name: &str) -> Option<(&str, f64)> {
    let (stem, size) = name.rsplit_once('-')?;
    let unit = match size.as_bytes().last()? {
        b'b' => 1e9,
        b'm' => 1e6,
        _ => return None,
    };
    let number: f64 = size.get(..size.len() - 1)?.parse().ok()?;
    Some((stem, number * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_share_everything_but_their_size() {
        assert_eq!(stem_and_size("qwen2.5-14b"), Some(("qwen2.5", 14e9)));
        assert_eq!(stem_and_size("gemma-3-270m"), Some(("gemma-3", 270e6)));
        assert_eq!(stem_and_size("qwen3-30b-a3b"), None);
        assert_eq!(stem_and_size("phi-4"), None);
        let catalog = Catalog::built_in();
        let model = catalog.model("qwen2.5-14b").unwrap();
        let names: Vec<_> = siblings(&model, &catalog).iter().map(|m| m.name.clone()).collect();
        assert_eq!(names, ["qwen2.5-7b", "qwen2.5-32b"]);
    }
}
