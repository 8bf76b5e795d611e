// The right side: the verdict, the figures and where they come from, what to do, what to paste.

const opened = new Set();
const componentRows = new Map();

/** The planner's lines, those that were wrapped joined again. */
function linesOf(text) {
  const lines = [];
  for (const line of text.trimEnd().split("\n")) {
    if (line.startsWith("  ") && lines.length) lines[lines.length - 1] += ` ${line.trim()}`;
    else lines.push(line);
  }
  return lines;
}

function drawVerdict({ document: plan, heading }) {
  const [first, ...rest] = linesOf(heading);
  const verdict = $("verdict");
  verdict.dataset.verdict = plan.verdict;
  const at = first.indexOf(": ");
  const word = at > 0 && at < 24 ? first.slice(0, at) : PLAIN_VERDICTS[plan.verdict];
  // A runtime's own name stays as it is written.
  const isPlain = Object.values(PLAIN_VERDICTS).includes(word);
  say($("verdict-word"), isPlain ? word[0].toUpperCase() + word.slice(1) : word);
  say($("verdict-line"), at > 0 && at < 24 ? first.slice(at + 2) : first);
  if ($("verdict-more").dataset.text !== heading) {
    $("verdict-more").dataset.text = heading;
    fill($("verdict-more"), rest.map((line) => element("p", {}, ...marked(line))));
  }
  announce(`${word}: ${$("verdict-line").textContent}`);
}

let announcing = 0;
/** Tells screen readers, once nothing moves any more. */
function announce(text) {
  clearTimeout(announcing);
  announcing = setTimeout(() => say($("live"), text), 700);
}

function drawComponents({ document: plan }) {
  for (const { id, title, colour } of state.lists.components) {
    const component = plan.components.find((other) => other.id === id);
    if (!componentRows.has(id)) componentRows.set(id, componentRow(id, title, colour));
    const row = componentRows.get(id);
    row.node.hidden = !component || component.buffers.length === 0;
    if (row.node.hidden) continue;
    const elsewhere = component.high === 0;
    say(row.size, elsewhere ? "–" : size(component.expected));
    say(row.range, elsewhere ? `${size(component.most)} in ${phaseTitle(component.most_in)}` : range(component.low, component.high));
    say(row.basis, component.basis);
    row.component = component;
    if (row.node.open) drawBuffers(row);
  }
  const binding = plan.devices?.find((device) => device.binding);
  const whose = binding ? ` of ${binding.host ? "main memory" : `GPU ${binding.index}`}, the tightest` : "";
  say($("components-note"), `At the peak${whose}. Open one for its formula and where that is from.`);
  const { peak, capacity } = plan;
  say($("peak-name"), `peak (${phaseTitle(peak.phase)})`);
  say($("peak-size"), size(peak.expected));
  say($("peak-range"), range(peak.low, peak.high));
  say($("capacity"), `usable ${size(capacity.usable)} = ${size(capacity.total)} total − ${size(capacity.reserved)} reserved by the driver` +
    `${capacity.other_use ? ` − ${size(capacity.other_use)} in other use` : ""}; headroom ${size(capacity.headroom)}. ${capacity.basis}: ${capacity.source}`);
}

const phaseTitle = (id) => state.lists.phases.find((phase) => phase.id === id)?.title ?? id;

function componentRow(id, title, colour) {
  const row = {};
  const part = (name) => { row[name] = element("span", { class: name }); return row[name]; };
  const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = colour;
  row.body = element("div", { class: "buffers" });
  row.node = element("details", { class: "component", ontoggle: () => {
    if (row.node.open) { opened.add(id); drawBuffers(row); } else opened.delete(id);
  } }, element("summary", {}, swatch, element("span", { class: "name" }, title), part("size"), part("range"), part("basis")), row.body);
  $("components").append(row.node);
  return row;
}

/** A component's buffers, each with its formula and where that is from. */
function drawBuffers({ component, body }) {
  if (!component) return;
  fill(body, component.buffers.map((buffer) => element("div", { class: "buffer" },
    element("p", { class: "buffer-name" }, `${buffer.name} `, element("span", { class: "when" }, `${buffer.persistent ? "from" : "during"} ${phaseTitle(buffer.phase)}`),
      element("span", { class: "buffer-size" }, size(buffer.expected))),
    element("p", { class: "formula" }, `= ${buffer.formula}`),
    element("p", { class: "source" }, `${grouped(buffer.expected)} B${buffer.low === buffer.high ? "" : `, ${range(buffer.low, buffer.high)}`} · ${buffer.basis} · ${buffer.source}`))));
}

/** A table of these rows: cells are texts, numbers in columns that begin with `#`, or elements. */
function tableOf(caption, head, rows) {
  const names = head.map((name) => name.replace(/^[#@]/, ""));
  const kind = (index) => (head[index].startsWith("#") ? "n" : undefined);
  return element("table", {}, element("caption", { class: "hidden" }, caption),
    element("thead", {}, element("tr", {}, names.map((name, index) => element("th", { scope: "col", class: kind(index) },
      head[index].startsWith("@") ? element("span", { class: "hidden" }, name) : name)))),
    element("tbody", {}, rows.map((cells) => element("tr", {}, cells.map((cell, index) =>
      (index === 0 ? element("th", { scope: "row" }, cell) : element("td", { class: kind(index) }, cell)))))));
}

function drawTiers({ document: plan, question }) {
  const evicts = runtimeNow().evicts;
  const { tiers, hard_max_cache_tokens: most, limited_by: limit } = plan.recommendation;
  const head = ["tier", "#cached", ...(evicts ? ["#recent"] : []), "#peak (high)", "#free then", "#tokens/s", "limited by", "@use"];
  const speed = ({ expected, high }) => (high > 0 ? `${expected.toFixed(0)} – ${high.toFixed(0)}` : "?");
  const rows = tiers.map((tier) => [
    element("span", { class: "tier", title: `fails if ${tier.fails_if}` }, tier.name),
    grouped(tier.max_cache_tokens), ...(evicts ? [grouped(tier.recent_window)] : []),
    tier.max_cache_tokens ? size(tier.peak.high) : "–", tier.max_cache_tokens ? size(tier.headroom) : "–",
    tier.max_cache_tokens ? speed(tier.decode_tokens_per_second) : "–", tier.limited_by,
    tier.max_cache_tokens > 0 && question.cache_tokens !== tier.max_cache_tokens
      ? element("button", { type: "button", "aria-label": `use the ${tier.name} size`, onclick: () => set("cache_tokens", String(tier.max_cache_tokens)) }, "use")
      : tier.max_cache_tokens > 0 ? "in use" : "",
  ]);
  fill($("tiers"), tableOf("Recommended sizes, in tokens", head, rows));
  fill($("tiers-fail"), tiers.map(({ name, fails_if: why }) => element("li", {}, element("strong", {}, name), ` fails if ${why}.`)));
  say($("tiers-note"), `hard maximum ${grouped(most)} tokens, limited by ${limit}${evicts ? `; recent window: ${plan.deployment.recent_window_basis}` : ""}`);
  drawPool(plan.pool);
}

function drawPool(pool) {
  $("pool").hidden = !pool;
  if (!pool) return;
  fill($("pool"), `The runtime's own share is ${size(pool.limit)}; ${range(pool.fixed.low, pool.fixed.high) || size(pool.fixed.expected)} of it is no cache. ` +
    `Its pool has ${grouped(pool.blocks)} blocks of ${size(pool.block)}: ${grouped(pool.tokens)} tokens as the engine prints them. ` +
    `A sequence of ${grouped(pool.start.context)} tokens needs ${size(pool.start.needs)}; the longest that starts has ${grouped(pool.start.longest_context)}.`);
}

function drawAdvice({ document: plan, changes }) {
  const items = plan.advice.map((advice, index) => element("li", {},
    element("span", { class: "advice-text" }, ...marked(advice.text)),
    changes[index] && element("button", { type: "button", "aria-label": `apply: ${advice.text.replaceAll("`", "")}`,
      onclick: () => apply(changes[index]) }, "apply")));
  $("advice-section").hidden = items.length === 0;
  fill($("advice"), items);
}

/** Does as advised: what cannot stand beside the change goes. */
function apply(change) {
  for (const [key, value] of Object.entries(change)) {
    const target = key === "batch" && state.given.parallel ? "parallel" : key;
    if (key === "cpu_moe") delete state.given.n_cpu_moe;
    if (key === "n_cpu_moe") delete state.given.cpu_moe;
    state.given[target] = Array.isArray(value) ? value.join(",") : String(value);
  }
  changed();
}

function drawPhases({ document: plan }) {
  const most = Math.max(plan.capacity.usable, ...plan.phases.map(({ high }) => high));
  const rows = plan.phases.map((phase) => [
    phaseTitle(phase.id), size(phase.persistent), size(phase.transient), size(phase.held), size(phase.expected),
    `${size(phase.low)} – ${size(phase.high)}`, meter(phase, most),
  ]);
  fill($("phases"), tableOf("Phases", ["phase", "#persistent", "#transient", "#held", "#total", "#low – high", "@parts"], rows));
}

/** A phase's three parts, as long as they are. */
function meter({ persistent, transient, held }, most) {
  const part = (kind, bytes) => {
    const made = element("span", { class: kind });
    made.style.width = `${(100 * bytes) / most}%`;
    return made;
  };
  return element("span", { class: "meter", "aria-hidden": "true" }, part("persistent", persistent), part("held", held), part("transient", transient));
}

let settingsTimer = 0;
let chosenTab = "vramplan";
const settingsTexts = new Map();

function drawCommand({ command }) {
  settingsTexts.set("vramplan", command ?? "# no shell can be told a name of this plan");
  showTab();
  clearTimeout(settingsTimer);
  settingsTimer = setTimeout(async () => {
    try {
      const settings = await ask({ ask: "settings", question: asked() });
      const names = settings.map(({ target }) => target);
      for (const name of [...settingsTexts.keys()]) if (name !== "vramplan" && !names.includes(name)) settingsTexts.delete(name);
      for (const { target, text, problem } of settings) {
        settingsTexts.set(target, text?.trimEnd() ?? `# ${problem.message}${problem.hints.map((hint) => `\n# hint: ${hint}`).join("")}`);
      }
      showTab();
    } catch { /* the plan's own problem is shown */ }
  }, 180);
}

function showTab() {
  if (!settingsTexts.has(chosenTab)) chosenTab = "vramplan";
  const names = [...settingsTexts.keys()];
  const key = names.join();
  const select = $("command-for");
  if (select.dataset.names !== key) {
    select.dataset.names = key;
    fill(select, names.map((name) => element("option", { value: name }, name)));
  }
  select.value = chosenTab;
  say($("command"), settingsTexts.get(chosenTab));
}

async function copyCommand() {
  const text = $("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say($("copied"), "copied");
  setTimeout(() => say($("copied"), ""), 2000);
}

/** Both plans, where one was kept to compare with. */
async function drawCompare() {
  $("compare-body").hidden = !state.baseline;
  $("compare-keep").hidden = false;
  $("compare-drop").hidden = $("compare-swap").hidden = !state.baseline;
  say($("compare-keep"), state.baseline ? "Compare with this instead" : "Compare with this");
  if (!state.baseline) return;
  try {
    const compared = await ask({ ask: "compare", current: state.baseline, proposed: asked() });
    fill($("compare-body"), ...compareTables(compared));
  } catch (problem) {
    fill($("compare-body"), element("p", { class: "note" }, problem.message));
  }
}

function compareTables({ current, proposed, changes, components, peak_difference: difference }) {
  const signed = (bytes) => (bytes === 0 ? "same" : `${bytes > 0 ? "+" : "−"}${size(Math.abs(bytes))}`);
  const titles = new Map(state.lists.components.map(({ id, title }) => [id, title]));
  const rows = components.filter((row) => row.current || row.proposed)
    .map((row) => [titles.get(row.id), size(row.current), size(row.proposed), signed(row.difference)]);
  rows.push(["peak", size(current.peak.expected), size(proposed.peak.expected), signed(difference)]);
  const balanced = (side) => side.recommendation.tiers.find(({ name }) => name === "balanced")?.max_cache_tokens ?? 0;
  rows.push(["cached tokens (balanced)", grouped(balanced(current)), grouped(balanced(proposed)), ""]);
  rows.push(["verdict", PLAIN_VERDICTS[current.verdict], PLAIN_VERDICTS[proposed.verdict], ""]);
  const inputs = changes.map(({ input, current: from, proposed: to }) => [input, from || "–", to || "–"]);
  return [
    inputs.length ? tableOf("What differs", ["input", "kept", "now"], inputs) : element("p", { class: "note" }, "Nothing differs yet: change something."),
    tableOf("Sizes of both plans", ["component", "#kept", "#now", "#difference"], rows),
  ];
}

let sweepTimer = 0;
/** Every card in every usual format, where that is open. */
function drawSweep() {
  clearTimeout(sweepTimer);
  if (!$("sweep").open) return;
  sweepTimer = setTimeout(async () => {
    try {
      const { weights } = runtimeNow();
      const least = Number($("sweep-least").value) * 2 ** 30;
      const gpus = state.lists.gpus.filter(({ total }) => total >= least * 0.9).map(({ name }) => name);
      const planned = state.planned?.document.deployment.resolved.weights;
      const formats = weights.includes(planned) || !planned ? weights : [planned, ...weights];
      const sweep = await ask({ ask: "sweep", question: asked(), gpus, weights: formats });
      fill($("sweep-body"), sweepTable(sweep, formats));
      say($("sweep-note"), sweep.cache_tokens
        ? `Whether ${grouped(sweep.cache_tokens)} cached tokens fit, under ${sweep.runtime}; what fits beside is the largest cache.`
        : `The largest cache that leaves the headroom free (balanced), under ${sweep.runtime}.`);
    } catch (problem) {
      fill($("sweep-body"));
      say($("sweep-note"), problem.message);
    }
  }, 120);
}

function sweepTable({ combinations }, formats) {
  const cells = new Map(combinations.map((cell) => [`${cell.gpu}\n${cell.weights}`, cell]));
  const gpus = [...new Set(combinations.map(({ gpu }) => gpu))];
  const cellOf = (gpu, weights) => {
    const cell = cells.get(`${gpu}\n${weights}`);
    if (!cell) return "";
    const most = cell.result?.max_cache_tokens ?? 0;
    const words = cell.verdict === "refused" ? "refused" : most > 0 ? short(most) : cell.verdict === "tight" ? "tight" : "no";
    return element("button", {
      type: "button", class: `cell ${cell.verdict}`, title: cell.reason ?? (cell.result ? `${size(cell.result.peak.expected)} of ${size(cell.usable)}` : ""),
      "aria-label": `${words}: ${gpu}, ${weights}, ${PLAIN_VERDICTS[cell.verdict]}${most ? `, ${most} tokens` : ""}`,
      onclick: () => { const [{ count }] = cardsOf(state.given.gpu); state.given.gpu = gpuOf([{ count, name: gpu }]); set("weights", weights); },
    }, words);
  };
  return tableOf("What fits where", ["card", ...formats.map((format) => `#${format}`)],
    gpus.map((gpu) => [gpu, ...formats.map((format) => cellOf(gpu, format))]));
}

/** Saves the plan in a format of the command's. */
async function save(format, ending, type) {
  try {
    const { text } = await ask({ ask: "print", question: asked(), format });
    const address = URL.createObjectURL(new Blob([text], { type }));
    const name = `${state.planned.document.deployment.model.name}-${state.planned.document.deployment.gpu}`.replace(/[^\w.-]+/g, "-").slice(0, 80);
    element("a", { href: address, download: `vramplan-${name}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  } catch (problem) {
    showProblem(problem);
  }
}
