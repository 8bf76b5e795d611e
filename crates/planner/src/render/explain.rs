//! `--explain`: the formula behind every buffer, with this plan's factors and its source.

use std::fmt::Write as _;

use super::devices;
use super::document::{BufferDoc, ComponentDoc, Document};
use crate::estimate::Component;

/// Explains one component, or all of them.
pub fn explain(document: &Document, component: Option<Component>) -> String {
    let wanted = |doc: &&ComponentDoc| component.is_none_or(|component| doc.id == component);
    let explained: Vec<String> = document.held().filter(wanted).map(explain_component).collect();
    if explained.is_empty() {
        let name = component.map_or("", Component::title);
        return format!("{name}: nothing in this plan\n");
    }
    let mut text = String::new();
    if let Some(device) = document.devices.iter().find(|device| device.binding) {
        let all = devices::label_of(document);
        let _ = writeln!(text, "GPU {} of {all}, which has the least room\n", device.index);
    }
    text + &explained.join("\n")
}

fn explain_component(doc: &ComponentDoc) -> String {
    let mut text = format!("{} · {} at the peak", doc.id.title(), doc.expected);
    if doc.low != doc.high {
        let _ = write!(text, ", {} to {}", doc.low, doc.high);
    }
    if doc.most > doc.expected {
        let _ = write!(text, "; most in {}: {}", doc.most_in.title(), doc.most);
    }
    text.push('\n');
    for buffer in &doc.buffers {
        explain_buffer(&mut text, buffer);
    }
    text
}

fn explain_buffer(text: &mut String, buffer: &BufferDoc) {
    let when = if buffer.persistent { "from" } else { "during" };
    let _ = writeln!(text, "  {} ({when} {})", buffer.name, buffer.phase.title());
    let size = buffer.size;
    let _ = write!(text, "    {:#} = {}", size.expected, size.expected);
    if size.low != size.high {
        let _ = write!(text, ", {} to {}", size.low, size.high);
    }
    let _ = writeln!(text, " · {}", buffer.basis);
    let _ = writeln!(text, "    = {}", buffer.formula);
    let _ = writeln!(text, "    source: {}", buffer.source);
}
