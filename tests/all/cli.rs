//! The command line, session by session: every file of `tests/cmd` is what a user would see.
//!
//! `TRYCMD=overwrite cargo test -p vramplan --test all cli::` records what changed; read the difference.

#[test]
fn sessions() {
    trycmd::TestCases::new()
        .case("tests/cmd/*.md")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("COLUMNS", "100");
}

#[test]
fn the_readme_is_true() {
    trycmd::TestCases::new()
        .case("README.md")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("COLUMNS", "100");
}
