# What contributors run.

default: check

# Everything that CI asks for: CI runs the same script.
check:
    bash .ci/run

# The one command that passes the tests.
test:
    cargo test --locked

# The fast part of `check`, for the command and the planner alone.
quick: fmt
    cargo clippy --locked -p vramplan -p vramplan-planner -p vramplan-disk -p vramplan-sources --all-targets -- -D warnings
    cargo test --locked -p vramplan-planner -p vramplan-disk -p vramplan-sources -p vramplan-scoreboard

fmt:
    cargo fmt --all --check

# Packages that build elsewhere. TLS has C in it, for which a compiler of that system would be needed.
elsewhere := "--locked -p vramplan -p vramplan-planner -p vramplan-disk -p vramplan-sources -p vramplan-engine \
    --no-default-features --features vramplan/nvml"

# The command on systems that are not this one, by its types (`rustup target add` gets their libraries). The virtual
# GPU is for Linux alone.
systems:
    cargo check {{ elsewhere }} --target x86_64-pc-windows-msvc
    cargo check {{ elsewhere }} --target aarch64-apple-darwin
    cargo check {{ elsewhere }} --target aarch64-unknown-linux-gnu

# The engine beside candle's stock models, which take minutes to build.
stock:
    cargo test --locked -p vramplan-beside-stock

# The planner as a page, and the page in a browser beside the command; Node, npm and Chromium are needed for the second.
web:
    scripts/build-web

check-web:
    scripts/check-web

# What a release has, of one build: `target/packages` and `target/wheels`.
packages:
    scripts/build-wheel
    cargo build --locked --profile dist --bin vramplan
    scripts/build-archive target/dist `rustc -vV | sed -n 's/^host: //p'`
    scripts/build-deb target/dist
    scripts/build-npm `rustc -vV | sed -n 's/^host: //p'`=target/dist
    scripts/build-image target/dist

# The site of the documentation, with its links checked.
site:
    scripts/build-docs

# Licences, advisories and spelling, whose databases are fetched.
audit:
    cargo deny --workspace check
    typos

# Regenerate what is generated: tables of limits, the audit of the seed, the accuracy, the README's picture,
# schemas, snapshots.
regenerate:
    cargo run --locked -- check profiles/tables examples/team-repo/limits.toml --update
    cargo run --locked --example seed_audit > docs/seed-audit.md
    cargo run --locked -p vramplan-scoreboard -- --format markdown --plots docs/accuracy > docs/accuracy.md
    cargo run --locked -- budget --gpu L4 --model qwen2.5-14b --format svg > docs/budget.svg
    VRAMPLAN_WRITE_SCHEMAS=1 cargo test --locked -p vramplan --lib schemas
    TRYCMD=overwrite cargo test --locked -p vramplan --test all cli::
    INSTA_UPDATE=always cargo test --locked -p vramplan-planner --test all html::
