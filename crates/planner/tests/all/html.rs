//! The page of `--format html` stands alone, and names cannot break out of it.

use crate::support::Case;
use vramplan_planner::render::{Document, Format, PLAN, to_html};
use vramplan_planner::spec::Runtime;

fn document() -> Document {
    let case = Case::new("RTX 3060", "qwen2.5-14b", Runtime::Vramplan);
    Document::new(&case, &case.answer())
}

#[test]
fn the_page() {
    insta::assert_snapshot!(to_html(&document()));
}

#[test]
fn hostile_names_stay_text() {
    let hostile = "\"><script>alert('1')</script><svg onload=x>&";
    let mut document = document();
    let asked = &mut document.deployment;
    for text in [&mut asked.model.name, &mut asked.gpu, &mut asked.runtime_version] {
        hostile.clone_into(text);
    }
    asked.model.stored = Some(hostile.to_owned());
    asked.recent_window_basis = hostile.to_owned();
    document.capacity.source = hostile.to_owned();
    document.advice[0].text = hostile.to_owned();
    for component in &mut document.components {
        component.formula = hostile.to_owned();
        component.source = hostile.to_owned();
        for buffer in &mut component.buffers {
            buffer.name = hostile.to_owned();
            buffer.source = hostile.to_owned();
        }
    }
    let page = PLAN.print(&document, Format::Html).unwrap().unwrap();
    assert!(page.contains("&lt;script&gt;"));
    for markup in ["<script", "onload=x>", "\"><"] {
        let places: Vec<_> = page.match_indices(markup).collect();
        let ours = |at: usize| markup == "\"><" && !page[at..].starts_with("\"><script");
        assert!(places.iter().all(|(at, _)| ours(*at)), "{markup}: {places:?}");
    }
}

#[test]
fn nothing_is_fetched() {
    let page = to_html(&document());
    for reference in ["src=", "href=", "url(", "@import", "<link", "<script"] {
        assert!(!page.contains(reference), "{reference}");
    }
    let addresses =
        page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(addresses, 0, "only the name space of SVG is an address");
}
