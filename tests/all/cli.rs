//! The command line, session by session: every file of `tests/cmd` is what a user would see.
//!
//! `TRYCMD=overwrite cargo test -p vramplan --test all cli::` records what changed; read the difference.

/// No network, and no other program's models.
const NOTHING: [(&str, &str); 7] = [
    ("HF_HUB_OFFLINE", "1"),
    ("HF_HUB_CACHE", "/nonexistent"),
    ("OLLAMA_MODELS", "/nonexistent"),
    ("LLAMA_CACHE", "/nonexistent"),
    ("VRAMPLAN_CACHE", "/nonexistent"),
    ("HOME", "/nonexistent"),
    ("XDG_DATA_HOME", "/nonexistent"),
];

fn alone() -> trycmd::TestCases {
    let cases = trycmd::TestCases::new();
    cases.env("XDG_CONFIG_HOME", "/nonexistent").env("COLUMNS", "80");
    for (name, value) in NOTHING {
        cases.env(name, value);
    }
    cases
}

#[test]
fn sessions() {
    alone().case("tests/cmd/*.md");
}

#[test]
fn the_readme_is_true() {
    alone().case("README.md");
}

#[test]
fn the_page_about_fleets_is_true() {
    alone().case("docs/fleet.md");
}

#[test]
fn the_guides_are_true() {
    alone().case("docs/guides.md");
    for page in ["ci", "faq", "how-it-works", "install"] {
        alone().case(format!("docs/{page}.md"));
    }
}
