// The left side: fields that write into `state.given`, and follow what comes of it.

const form = { rows: new Map(), groups: new Map(), open: new Set() };

function buildForm() {
  for (const group of GROUPS) {
    const body = element("div", { class: "fields" });
    const made = element("details", { class: "group", open: group.open }, element("summary", {}, group.title), body);
    form.groups.set(group.id, made);
    $("groups").append(made);
    for (const field of FIELDS.filter(({ group: id }) => id === group.id)) body.append(buildRow(field));
  }
}

function buildRow(field) {
  const id = `field-${field.key}`;
  const about = field.about && element("p", { class: "about", id: `${id}-about` }, ...marked(field.about));
  const described = about ? `${id}-about` : undefined;
  const row = { field };
  if (field.kind === "flag") {
    row.input = element("input", { type: "checkbox", id, onchange: () => set(field.key, row.input.checked ? "true" : "") });
    row.node = element("div", { class: "field flag" }, row.input, element("label", { for: id }, ...marked(field.label)));
  } else if (field.kind === "select") {
    row.input = element("select", { id, "aria-describedby": described, onchange: () => set(field.key, row.input.value) });
    row.node = element("div", { class: "field" }, element("label", { for: id }, field.label), row.input, about);
  } else {
    buildText(row, id, described, about);
  }
  form.rows.set(field.key, row);
  return row.node;
}

function buildText(row, id, described, about) {
  const { field } = row;
  const list = field.suggest ? `${id}-list` : undefined;
  row.input = element("input", {
    type: "text", id, list, "aria-describedby": described, autocomplete: "off", spellcheck: "false",
    inputmode: field.kind === "text" ? undefined : "numeric",
    oninput: () => set(field.key, row.input.value),
  });
  row.how = element("small", { class: "how" });
  if (list) row.list = element("datalist", { id: list });
  const clear = element("button", { type: "button", class: "clear", title: "back to the default",
    "aria-label": `${field.label}: back to the default`, onclick: () => { set(field.key, ""); row.input.focus(); } }, "×");
  row.clear = clear;
  if (field.kind === "slider") {
    row.slider = element("input", {
      type: "range", id: `${id}-range`, "aria-label": field.label,
      oninput: () => { row.input.value = row.slider.value; moved(field.key, row.slider.value); },
    });
  }
  row.node = element("div", { class: `field ${field.kind}` },
    element("label", { for: id }, field.label, row.how), element("div", { class: "with-clear" }, row.input, clear),
    row.slider, row.list, about);
}

/** Puts what is asked into the fields, and what comes of it beside them. */
function syncForm() {
  const { lists, given, planned } = state;
  const runtime = runtimeNow();
  const plan = planNow(planned);
  // What is asked stays in sight, also where another engine has it: it can be taken back.
  const isAsked = ({ key }) => given[key] !== undefined;
  for (const group of GROUPS) {
    const asks = FIELDS.some((field) => field.group === group.id && isAsked(field));
    form.groups.get(group.id).hidden = group.when ? !group.when(runtime) && !asks : false;
  }
  for (const [key, row] of form.rows) {
    row.node.hidden = !isAsked(row.field) && (!applies(key, runtime) || (key === "split" && cardsOf(given.gpu).reduce((sum, { count }) => sum + count, 0) < 2));
    if (!row.node.hidden) syncRow(row, given[key] ?? "", plan, runtime, lists);
  }
}

/** What the fields need to know of the plan that is shown. */
function planNow(planned) {
  if (!planned) return { resolved: {}, layers: 80 };
  const { deployment } = planned.document;
  return { resolved: deployment.resolved, layers: deployment.model.layers };
}

function syncRow(row, value, plan, runtime, lists) {
  const { field, input } = row;
  const resolved = plan.resolved[field.key];
  if (field.kind === "flag") {
    input.checked = value === "true";
    return;
  }
  if (field.kind === "select") {
    syncSelect(row, value, resolved, runtime, lists);
    return;
  }
  if (document.activeElement !== input && input.value !== value) input.value = value;
  const shown = resolved === undefined ? field.none ?? "" : String(resolved);
  if (input.placeholder !== shown) input.placeholder = shown;
  const says = value === "" && resolved !== undefined && field.none !== shown ? field.none ?? "" : "";
  say(row.how, says === "" ? "" : ` ${says}`);
  row.clear.hidden = value === "";
  if (row.list) {
    const names = field.suggest(runtime, lists);
    if (row.names !== names.join()) {
      row.names = names.join();
      fill(row.list, names.map((name) => element("option", { value: name })));
    }
  }
  if (row.slider) syncSlider(row, value, resolved, plan);
}

function syncSlider({ field, slider }, value, resolved, plan) {
  const { min, step, max } = field.range;
  const most = max(plan);
  if (slider.max !== String(most)) Object.assign(slider, { min, step, max: most });
  const number = value !== "" && /^\d+$/.test(value) ? Number(value) : resolved ?? (field.none === "auto" ? most : min);
  if (document.activeElement !== slider || value === "") slider.value = String(number);
  slider.setAttribute("aria-valuetext", value === "" ? `default: ${number}` : value);
}

function syncSelect(row, value, resolved, runtime, lists) {
  const options = row.field.options(lists, runtime);
  const groups = Array.isArray(options[0]) ? options : [["", options]];
  const all = groups.flatMap(([, names]) => names);
  const first = row.field.none ?? "default";
  const label = resolved !== undefined && (value === "" || value === undefined) ? `${first}: ${resolved}` : first;
  const extra = value !== "" && !all.includes(value) ? [value] : [];
  const key = JSON.stringify([label, groups, extra]);
  if (row.made !== key) {
    row.made = key;
    const option = (name) => element("option", { value: name }, name);
    fill(row.input, element("option", { value: "" }, label), extra.map(option),
      groups.map(([title, names]) => (title ? element("optgroup", { label: title }, names.map(option)) : names.map(option))));
  }
  row.input.value = value;
}

/** The cards that a question names: how many of which. */
function cardsOf(gpu = "") {
  return gpu.split(",").map((part) => {
    const match = /^\s*(\d{1,4})\s*[xX×]\s*(.+)$/.exec(part);
    return match ? { count: Number(match[1]), name: match[2].trim() } : { count: 1, name: part.trim() };
  });
}

const gpuOf = (cards) => cards.filter(({ name }) => name !== "")
  .map(({ count, name }) => (count > 1 ? `${count}x${name}` : name)).join(",");

/** The rows of cards, made anew only where their number changes. */
function syncCards() {
  const cards = cardsOf(state.given.gpu);
  const rows = $("cards");
  if (rows.childElementCount !== cards.length) fill(rows, cards.map((_, index) => cardRow(index)));
  cards.forEach(({ count, name }, index) => {
    const [number, , input, remove] = rows.children[index].children;
    if (document.activeElement !== number) number.value = String(count);
    if (document.activeElement !== input) input.value = name;
    remove.hidden = cards.length === 1;
  });
}

const isCard = (text) => state.lists.gpus.some(({ name }) => name.toLowerCase() === text.toLowerCase()) || /^\d+(\.\d+)?\s*(GiB|GB)$/.test(text);

function cardRow(index) {
  const rename = ({ value }) => change((cards) => { cards[index].name = value.replace(/,/g, " ").trim(); });
  const change = (edit) => {
    const cards = cardsOf(state.given.gpu);
    edit(cards);
    delete state.given.gpus;
    set("gpu", cards.length ? gpuOf(cards) || cards[0].name : "");
  };
  return element("div", { class: "card-row" },
    element("input", { type: "number", min: 1, max: 64, class: "count", "aria-label": `Number of card ${index + 1}`,
      oninput: ({ target }) => change((cards) => { cards[index].count = Math.min(Math.max(1, Math.floor(Number(target.value)) || 1), 9999); }) }),
    element("span", { class: "times", "aria-hidden": "true" }, "×"),
    element("input", { type: "text", list: "gpu-list", "aria-label": `Card ${index + 1}`, autocomplete: "off", spellcheck: "false",
      placeholder: "L4, or 24GiB", onfocus: ({ target }) => target.select(),
      oninput: ({ target }) => { if (isCard(target.value.trim())) rename(target); },
      onchange: ({ target }) => rename(target) }),
    element("button", { type: "button", class: "clear", "aria-label": `Remove card ${index + 1}`,
      onclick: () => { change((cards) => cards.splice(index, 1)); syncCards(); } }, "×"));
}
