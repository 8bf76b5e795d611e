use super::*;
use crate::plan::Verdict;
use crate::recommend::{
    Fit, Largest, Limit, RecentWindow, Recommendation, Speed, Summary, Tier, TierName, Tiers,
    WindowBasis,
};
use crate::spec::Bounds;
use crate::units::Bytes;

const TABLE: &str = r#"# ours

schema = 1

[defaults]
runtime = "vramplan" # the engine

[[scenario]]
gpu = "L4"

[scenario.limits] # filled in
verdict = "fits"
limited_by = "vram"
max_cache_tokens = { conservative = 1, balanced = 2, aggressive = 3, hard = 4 } # tokens
recent_window = { conservative = 9, balanced = 9, aggressive = 9 }
peak = { expected = "10 MiB", high = "11 MiB" }

# the next
[[scenario]]
gpu = "T4"
"#;

/// Nothing is assumed.
const NOTHING: [Vec<(String, Leaf)>; 2] = [Vec::new(), Vec::new()];

fn limits(tokens: [u64; 3]) -> Limits {
    let mib = |n| Bytes::mib(n).unwrap();
    let peak = Bounds::new(mib(9), mib(10), mib(11));
    let window = RecentWindow { tokens: 9, basis: WindowBasis::Given };
    let speed = Speed { low: 1.0, expected: 2.0, high: 3.0 };
    let tier = |name, max_cache_tokens| Tier {
        name,
        max_cache_tokens,
        recent_window: window,
        peak,
        headroom: mib(1),
        decode: speed,
        limited_by: Limit::Vram,
    };
    let recommendation = Recommendation {
        tiers: Tiers {
            conservative: tier(TierName::Conservative, tokens[0]),
            balanced: tier(TierName::Balanced, tokens[1]),
            aggressive: tier(TierName::Aggressive, tokens[2]),
        },
        hard_max_cache_tokens: 4,
        limited_by: Limit::Vram,
    };
    let summary = Summary {
        fit: Fit { batch: 1, verdict: Verdict::Fits, cache_tokens: tokens[1], peak },
        largest: Largest {
            max_cache_tokens: tokens[1],
            recent_window: window,
            limited_by: Limit::Vram,
        },
    };
    Limits::new(&summary, &recommendation)
}

#[test]
fn what_is_up_to_date_has_no_changes() {
    let table = LimitsTable::parse(TABLE).unwrap();
    assert_eq!(table.entries.len(), 2);
    assert_eq!(limits([1, 2, 3]).changes(&table.entries[0].limits), []);
    assert_eq!((table.entries[0].flags.line, table.entries[0].line), (8, 11));
    assert_eq!(table.entries[1].line, 19);
}

#[test]
fn an_update_writes_what_changed_and_keeps_comments() {
    let table = LimitsTable::parse(TABLE).unwrap();
    let fresh = limits([1, 20, 3]);
    let text = table.updated(&[fresh.clone(), fresh.clone()], &NOTHING).unwrap();
    let start = TABLE.replace("balanced = 2,", "balanced = 20,");
    assert_eq!(
        text.strip_prefix(&start).unwrap(),
        r#"
[scenario.limits]
verdict = "fits"
limited_by = "vram"
max_cache_tokens = { conservative = 1, balanced = 20, aggressive = 3, hard = 4 }
recent_window = { conservative = 9, balanced = 9, aggressive = 9 }
peak = { expected = "10 MiB", high = "11 MiB" }
"#
    );
    let again = LimitsTable::parse(&text).unwrap();
    assert!(again.entries.iter().all(|entry| fresh.changes(&entry.limits).is_empty()));
    assert_eq!(again.updated(&[fresh.clone(), fresh], &NOTHING).unwrap(), text);
}

#[test]
fn changes_name_their_keys() {
    let table = LimitsTable::parse(&TABLE.replace("verdict = \"fits\"", "old = true")).unwrap();
    let changes = limits([1, 2, 5]).changes(&table.entries[0].limits);
    let named: Vec<_> =
        changes.iter().map(|c| (c.key.as_str(), c.committed.clone(), c.computed.clone())).collect();
    let text = |text: &str| Some(Leaf::Text(text.to_owned()));
    assert_eq!(
        named,
        [
            ("verdict", None, text("fits")),
            ("max_cache_tokens.aggressive", Some(Leaf::Number(3)), Some(Leaf::Number(5))),
            ("old", text("true"), None),
        ]
    );
}

#[test]
fn what_is_no_table_is_refused_with_its_line() {
    for (text, expected) in [
        ("", "line 1: no `schema`: expected `schema = 1`"),
        ("\nschema = 2", "line 2: `2`: expected `schema = 1`, the one that this version reads"),
        ("schema = 1", "line 1: no `[[scenario]]`: expected at least one"),
        ("schema = 1\nscenario = 3", "line 1: no `[[scenario]]`: expected at least one"),
        (
            "schema = 1\n\n[other]",
            "line 3: unknown key `other`: expected `schema`, `[defaults]` and `[[scenario]]`",
        ),
        ("schema = 1\ndefaults = 1", "line 2: `1`: expected a table"),
        ("schema = 1\n[[scenario]]\nlimits = 1", "line 3: `1`: expected a table of limits"),
        ("schema = 1\n[[scenario]\n", "line 2: unclosed array table, expected `]`"),
    ] {
        assert_eq!(LimitsTable::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

/// Found by fuzzing: a stale limit under a dotted key stayed, and was reported for ever; a stale value took
/// the table that came in its place with it.
#[test]
fn stale_limits_go_however_they_are_written() {
    for text in [
        include_str!("../../../../fuzz/seeds/table/dotted-limits.toml"),
        include_str!("../../../../fuzz/seeds/table/value-for-a-table.toml"),
    ] {
        let table = LimitsTable::parse(text).unwrap();
        let fresh = limits([1, 2, 3]);
        let updated = table.updated(std::slice::from_ref(&fresh), &NOTHING).unwrap();
        let again = LimitsTable::parse(&updated).unwrap();
        assert_eq!(fresh.changes(&again.entries[0].limits), [], "{updated}");
    }
}

#[test]
fn an_update_states_what_is_assumed() {
    let table = LimitsTable::parse(TABLE).unwrap();
    let assumed = |runtime: &str| {
        let text = |key: &str, text: &str| (key.to_owned(), Leaf::Text(text.to_owned()));
        let tokens = ("system_tokens".to_owned(), Leaf::Number(6000));
        vec![text("runtime", runtime), text("kv", "int8"), tokens]
    };
    let same = limits([1, 2, 3]);
    let assumed = [assumed("never written: the defaults say it"), assumed("nor this")];
    let text = table.updated(&[same.clone(), same], &assumed).unwrap();
    let stated = "gpu = \"L4\"\nkv = \"int8\"\nsystem_tokens = 6000\n";
    assert!(text.contains(stated), "{text}");
    assert_eq!(text.matches("kv = \"int8\"").count(), 2, "{text}");
    assert_eq!(text.matches("runtime = ").count(), 1, "{text}");
    let again = LimitsTable::parse(&text).unwrap();
    let once_more = again.updated(&[limits([1, 2, 3]), limits([1, 2, 3])], &assumed).unwrap();
    assert_eq!(once_more, text);
}
