//! Numbers as vLLM's command line reads them (`utils/argparse_utils.py`, `human_readable_int`).

/// Small letters are powers of ten, capitals powers of two.
const SUFFIXES: [(char, u128); 8] = [
    ('k', 1_000),
    ('m', 1_000_000),
    ('g', 1_000_000_000),
    ('t', 1_000_000_000_000),
    ('K', 1 << 10),
    ('M', 1 << 20),
    ('G', 1 << 30),
    ('T', 1 << 40),
];

/// The number that vLLM reads: `32k` is 32,000, `32K` is 32,768, `25.6k` is 25,600; a fraction stands only before a power of ten.
/// So are `--max-model-len`, `--max-num-batched-tokens` and `--kv-cache-memory-bytes` read.
///
/// ```
/// use vramplan_planner::deployment::vllm_number;
///
/// assert_eq!((vllm_number("32k"), vllm_number("32K")), (Ok(32_000), Ok(32_768)));
/// assert_eq!(vllm_number("36864M"), Ok(36 << 30));
/// assert!(vllm_number("1.5K").unwrap_err().contains("1.5k"));
/// ```
///
/// # Errors
/// With what was expected where it reads none.
pub fn vllm_number(text: &str) -> Result<u64, String> {
    let wrong = || {
        "is not a number above 0: expected one such as `8192`, `8k` for 8,000 or `8K` for 8,192"
            .to_owned()
    };
    let text = text.trim();
    let suffix = SUFFIXES.iter().find(|(letter, _)| text.ends_with(*letter));
    let Some((letter, factor)) = suffix else {
        return text.parse().ok().filter(|number| *number > 0).ok_or_else(wrong);
    };
    let digits = text.strip_suffix(*letter).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = !whole.is_empty() && are_digits(whole) && are_digits(fraction);
    if !is_number || digits.ends_with('.') {
        return Err(wrong());
    }
    if letter.is_ascii_uppercase() && !fraction.is_empty() {
        let small = letter.to_ascii_lowercase();
        return Err(format!(
            "has a fraction before a power of two: did you mean `{digits}{small}`?"
        ));
    }
    let scaled = scaled(whole, fraction, *factor).filter(|number| *number > 0);
    scaled.and_then(|number| u64::try_from(number).ok()).ok_or_else(wrong)
}

/// `whole.fraction × factor` without what is behind the point.
fn scaled(whole: &str, fraction: &str, factor: u128) -> Option<u128> {
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let places = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(factor)? / places)
}

#[cfg(test)]
mod tests {
    use super::vllm_number;

    #[test]
    fn numbers_are_read_as_vllm_reads_them() {
        for (text, number) in [
            ("8192", 8192),
            (" 1k ", 1000),
            ("1K", 1024),
            ("25.6k", 25_600),
            ("2m", 2_000_000),
            ("36G", 36 << 30),
            ("1.5g", 1_500_000_000),
            ("1T", 1 << 40),
        ] {
            assert_eq!(vllm_number(text), Ok(number), "{text}");
        }
        for wrong in
            ["", "k", "-1", "0", "0k", "1.k", ".5k", "1e3", "8kk", "1.5", "99999999999999999999T"]
        {
            assert!(vllm_number(wrong).unwrap_err().contains("not a number"), "{wrong}");
        }
        assert!(vllm_number("1.5G").unwrap_err().contains("`1.5g`"));
    }
}
