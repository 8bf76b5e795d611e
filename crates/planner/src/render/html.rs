//! One page that needs nothing else: picture, tables, advice, and the sources behind every buffer.
//!
//! Every text goes through [`text::html`](crate::text::html): names come from files, and files from anywhere.

use std::fmt::Write as _;

use super::document::{BufferDoc, ComponentDoc, Document, PhaseDoc, TierDoc, shown};
use super::svg::to_svg;
use super::verdict::verdict;
use crate::text::html as escaped;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;max-width:60rem;\
margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin-bottom:.2rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}\
.lead{color:#777;margin-top:0}\
.verdict{font-weight:600}.does_not_fit{color:#b00020}.tight{color:#a05a00}.fits{color:#00704f}\
figure{margin:1.5rem 0}figure svg{max-width:100%;height:auto;border-radius:6px}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .6rem;border-bottom:1px solid #8884;text-align:left;vertical-align:top}\
th{font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
tr.sum td{font-weight:600;border-top:2px solid #8888}\
details{margin:.3rem 0}summary{cursor:pointer}\
dl{margin:.3rem 0 .8rem 1.2rem}dt{font-weight:600}dd{margin:0 0 .4rem;overflow-wrap:anywhere}\
.note{color:#777;font-size:.85rem}";

/// The document as a page.
pub fn to_html(document: &Document) -> String {
    let asked = &document.deployment;
    let title = escaped(&format!("{} on {}", asked.model.name, asked.gpu)).into_owned();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    heading(&mut page, document);
    let _ = writeln!(page, "<figure>{}</figure>", to_svg(document).trim());
    components(&mut page, document);
    phases(&mut page, document);
    tiers(&mut page, document);
    advice(&mut page, document);
    sources(&mut page, document);
    page + "</body>\n</html>\n"
}

/// A text with what stands between backticks as code.
fn marked(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let html = parts.map(|(n, part)| match n % 2 {
        0 => escaped(part).into_owned(),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    html.collect()
}

fn heading(page: &mut String, document: &Document) {
    let asked = &document.deployment;
    let lead = format!(
        "{} weights · {} KV · {} {} · {} attention · {} system tokens · {} cached tokens · \
         prefill chunk {} · batch {}",
        asked.weights(),
        asked.kv(),
        asked.runtime(),
        asked.runtime_version,
        shown(asked.resolved.attention.as_ref()),
        asked.number(|asked| asked.system_tokens),
        asked.number(|asked| asked.cache_tokens),
        asked.number(|asked| asked.prefill_chunk),
        asked.number(|asked| asked.batch)
    );
    let (answer, class) = (verdict(document), document.verdict.id());
    let peak = &document.peak;
    let _ = writeln!(
        page,
        "<p><span class=\"verdict {class}\">{}</span>{}</p>\n<p class=\"lead\">{}</p>\n\
         <p>{} at the peak ({}), {} to {}, of {} usable</p>",
        escaped(&answer.words),
        marked(&answer.rest),
        escaped(&lead),
        peak.total.expected,
        peak.phase.title(),
        peak.total.low,
        peak.total.high,
        document.capacity.usable
    );
    for note in [asked.said_by_configuration(), document.maker_note()].into_iter().flatten() {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", marked(&note));
    }
}

/// A table with its head: names that start with `#` are numbers.
fn table(page: &mut String, heading: &str, head: &[&str], rows: &str) {
    let _ = write!(page, "<h2>{heading}</h2>\n<div class=\"scroll\"><table>\n<thead><tr>");
    for name in head {
        let _ = match name.strip_prefix('#') {
            Some(number) => write!(page, "<th class=\"n\">{number}</th>"),
            None => write!(page, "<th>{name}</th>"),
        };
    }
    let _ = writeln!(page, "</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>");
}

fn components(page: &mut String, document: &Document) {
    let mut rows: String = document.held().map(component).collect();
    let peak = &document.peak;
    let _ = writeln!(
        rows,
        "<tr class=\"sum\"><td>peak ({})</td>{}{}{}<td></td></tr>",
        peak.phase.title(),
        number(peak.total.low),
        number(peak.total.expected),
        number(peak.total.high)
    );
    let head = ["component", "#low", "#at peak", "#high", "basis"];
    table(page, "Components", &head, &rows);
    let capacity = &document.capacity;
    let _ = writeln!(
        page,
        "<p class=\"note\">usable {} = {} total − {} − {} in other use; \
         headroom {}; {}: {}</p>",
        capacity.usable,
        capacity.total,
        capacity.reserved_words(),
        capacity.other_use,
        capacity.headroom,
        capacity.basis,
        escaped(&capacity.source)
    );
}

fn component(row: &ComponentDoc) -> String {
    let why = format!("{}\nsource: {}", row.formula_and_size(), row.source);
    let sizes = if row.high.is_zero() {
        let most = format!("{} in {}", row.most, row.most_in.title());
        format!("{}{}{}", number(""), number("–"), number(most))
    } else {
        [row.low, row.expected, row.high].map(number).concat()
    };
    format!(
        "<tr title=\"{}\"><td>{}</td>{sizes}<td>{}</td></tr>\n",
        escaped(&why),
        row.id.title(),
        row.basis
    )
}

fn number(value: impl std::fmt::Display) -> String {
    format!("<td class=\"n\">{value}</td>")
}

fn phases(page: &mut String, document: &Document) {
    let row = |phase: &PhaseDoc| {
        let PhaseDoc { id, persistent, transient, held, total } = phase;
        let sizes = [*persistent, *transient, *held, total.low, total.expected, total.high];
        let cells: String = sizes.map(number).concat();
        format!("<tr><td>{}</td>{cells}</tr>\n", id.title())
    };
    let rows: String = document.phases.iter().map(row).collect();
    let head = ["phase", "#persistent", "#transient", "#held", "#low", "#expected", "#high"];
    table(page, "Phases", &head, &rows);
}

fn tiers(page: &mut String, document: &Document) {
    let row = |tier: &TierDoc| {
        let figures = if tier.fits() {
            [
                tier.max_cache_tokens.to_string(),
                tier.recent_window.to_string(),
                tier.peak.high.to_string(),
                tier.headroom.to_string(),
                tier.decode_tokens_per_second.text(),
            ]
        } else {
            ["nothing fits", "–", "–", "–", "–"].map(str::to_owned)
        };
        format!(
            "<tr title=\"fails if {}\"><td>{}</td>{}<td>{}</td></tr>\n",
            escaped(&tier.fails_if),
            tier.name.id(),
            figures.map(number).concat(),
            tier.limited_by.id()
        )
    };
    let recommendation = &document.recommendation;
    let rows: String = recommendation.tiers.iter().map(row).collect();
    let head = [
        "tier",
        "#max_cache_tokens",
        "#recent_window",
        "#peak (high)",
        "#free then",
        "#tok/s",
        "limited by",
    ];
    table(page, "Recommended sizes", &head, &rows);
    let _ = writeln!(
        page,
        "<p class=\"note\">hard maximum {} tokens; limited by {}; recent window: {}</p>",
        recommendation.hard_max_cache_tokens,
        recommendation.limited_by.id(),
        escaped(&document.deployment.recent_window_basis)
    );
}

fn advice(page: &mut String, document: &Document) {
    if document.advice.is_empty() {
        return;
    }
    page.push_str("<h2>Advice</h2>\n<ul>\n");
    for advice in &document.advice {
        let _ = writeln!(page, "<li>{}</li>", marked(&advice.text));
    }
    page.push_str("</ul>\n");
}

fn sources(page: &mut String, document: &Document) {
    page.push_str("<h2>Where the figures come from</h2>\n");
    for component in document.held() {
        let _ = writeln!(page, "<details><summary>{}</summary>\n<dl>", component.id.title());
        for buffer in &component.buffers {
            source(page, buffer);
        }
        page.push_str("</dl></details>\n");
    }
}

fn source(page: &mut String, buffer: &BufferDoc) {
    let when = if buffer.persistent { "from" } else { "during" };
    let size = buffer.size;
    let _ = writeln!(
        page,
        "<dt>{} ({when} {})</dt>\n<dd>{:#} = {}, {} to {} · {}<br>= {}<br>source: {}</dd>",
        escaped(&buffer.name),
        buffer.phase.title(),
        size.expected,
        size.expected,
        size.low,
        size.high,
        buffer.basis,
        escaped(&buffer.formula),
        escaped(&buffer.source)
    );
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escaped("<img src=x onerror='a(\"b\")'> & co"),
            "&lt;img src=x onerror=&#39;a(&quot;b&quot;)&#39;&gt; &amp; co"
        );
        assert!(matches!(escaped("qwen2.5-14b · 8.37 GiB"), Cow::Borrowed(_)));
        assert_eq!(marked("use `--kv <x>` or"), "use <code>--kv &lt;x&gt;</code> or");
    }
}
