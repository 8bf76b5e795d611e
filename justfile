# What contributors run; CI runs the same.

default: check

# The one command that passes the tests.
test:
    cargo test --locked

# Everything CI asks for.
check: fmt clippy docs test

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked -p vramplan --all-targets --no-default-features -- -D warnings

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Licences, advisories and spelling, whose databases are fetched.
audit:
    cargo deny check
    typos

# Regenerate what is generated: tables of limits, the audit of the seed, the accuracy, the README's picture,
# snapshots.
regenerate:
    cargo run --locked -- check profiles/tables examples/team-repo/limits.toml --update
    cargo run --locked --example seed_audit > docs/seed-audit.md
    cargo run --locked --example scoreboard -- --format markdown --plots docs/accuracy > docs/accuracy.md
    cargo run --locked -- budget --gpu L4 --model qwen2.5-14b --format svg > docs/budget.svg
    VRAMPLAN_WRITE_SCHEMAS=1 cargo test --locked --lib schemas
    TRYCMD=overwrite cargo test --locked --test cli
    INSTA_UPDATE=always cargo test --locked --test html
