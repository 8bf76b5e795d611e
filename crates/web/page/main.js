// What is asked, what comes of it, and the address that is both.

const DEFAULT = { gpu: "L4", model: "qwen2.5-14b" };

const state = {
  lists: null,
  /** What is asked: keys with texts, as they are written. */
  given: { ...DEFAULT },
  /** The flags that were written out. */
  extra: {},
  /** What was kept to compare with, and its plan. */
  baseline: null,
  baselineDocument: null,
  /** The answer that is shown. */
  planned: null,
  busy: false,
  /** Whether a slider moves. */
  moving: false,
  again: false,
};

/** The question as it is sent. */
function asked() {
  const question = {};
  for (const [key, value] of Object.entries({ ...state.given, ...state.extra })) {
    if (value !== "") question[key] = LISTS_OF_TEXTS.includes(key) && typeof value === "string" ? [value] : value;
  }
  return question;
}
const LISTS_OF_TEXTS = ["override_tensor", "lora"];

/** The runtime that is planned for, as the lists have it. */
function runtimeNow() {
  const name = state.given.runtime || state.planned?.document.deployment.resolved.runtime;
  return state.lists.runtimes.find((runtime) => runtime.name === name) ?? state.lists.runtimes[0];
}

/** Sets what is asked of one key; nothing where the text is empty. */
function set(key, value) {
  if (value === "") delete state.given[key];
  else state.given[key] = value;
  if (key === "runtime" && value) dropWhatIsNotIts(value);
  changed();
}

/** A flag that another engine has would be refused. */
function dropWhatIsNotIts(name) {
  const runtime = state.lists.runtimes.find((other) => other.name === name);
  if (!runtime) return;
  for (const key of Object.keys(state.given)) if (!applies(key, runtime)) delete state.given[key];
  delete state.given.runtime_version;
  if (state.given.kv && !state.given.kv.split("/").every((format) => runtime.kv.includes(format))) delete state.given.kv;
  if (state.given.attention && !runtime.attention.includes(state.given.attention)) delete state.given.attention;
}

/** Plans anew; while an answer is on its way only the newest question waits. */
async function changed() {
  if (state.busy) { state.again = true; return; }
  state.busy = true;
  do {
    state.again = false;
    try {
      show(await ask({ ask: state.moving ? "outline" : "plan", question: asked() }));
    } catch (problem) {
      showProblem(problem);
    }
  } while (state.again);
  state.busy = false;
  writeAddress();
}

let resting = 0;
/** Plans what follows a slider, and the rest once it rests. */
function moved(key, value) {
  state.moving = true;
  set(key, value);
  clearTimeout(resting);
  resting = setTimeout(() => {
    state.moving = false;
    changed();
  }, Math.max(160, 3 * planner.took));
}

function show(planned) {
  state.planned = planned;
  document.body.classList.toggle("outline", planned.is_outline);
  $("problem").hidden = true;
  document.body.classList.remove("stale");
  drawVerdict(planned);
  drawBars(planned.document, state.baselineDocument);
  drawComponents(planned);
  drawPhases(planned);
  syncForm();
  if (planned.is_outline) return;
  drawTiers(planned);
  drawAdvice(planned);
  syncCards();
  syncModel();
  drawCommand(planned);
  drawSweep();
  if (state.baseline) drawCompare();
}

function showProblem(problem) {
  if (!(problem instanceof Problem)) console.error(problem);
  document.body.classList.add("stale");
  $("problem").hidden = false;
  fill($("problem"), element("p", {}, element("strong", {}, "error: "), ...marked(problem.message)),
    (problem.hints ?? []).map((hint) => element("p", {}, "hint: ", ...marked(hint))), offerHub());
  announce(`error: ${problem.message}`);
  if (state.lists) { syncForm(); syncCards(); syncModel(); }
}

/** A way to read what may be a repository: only on the user's own act. */
function offerHub() {
  const model = state.given.model ?? "";
  if (!/^(hf:)?[\w.-]+\/[\w.-]+(:[\w.-]+)?(@[\w./-]+)?$/.test(model)) return null;
  if ([...sources.keys()].some((path) => path.startsWith(model))) return null;
  return element("p", {}, element("button", { type: "button", onclick: () => readFromHub(model) }, `Read the headers of ${model} from huggingface.co`));
}

function syncModel() {
  const input = $("model");
  if (document.activeElement !== input) input.value = state.given.model ?? "";
  const model = state.planned?.document.deployment.model;
  say($("model-note"), model ? `${model.architecture} · ${(model.parameters / 1e9).toFixed(model.parameters < 1e10 ? 2 : 1)} B parameters · ${model.layers} layers` : "");
}

/** Does something that reads files, and plans what was read. */
async function withFiles(read) {
  $("reading").hidden = false;
  say($("reading"), "reading headers…");
  try {
    const name = await read();
    for (const key of ["weights", "cache_tokens", "context"]) delete state.given[key];
    state.given.model = name;
    state.planned = null;
    await changed();
    say($("reading"), traffic.requests ? `${traffic.requests} requests, ${size(traffic.bytes)} read` : "only headers were read");
  } catch (problem) {
    $("reading").hidden = true;
    showProblem(problem);
  }
}

function readFromHub(text) {
  Object.assign(traffic, { requests: 0, bytes: 0 });
  return withFiles(() => readRepository(text, $("hub-token").value.trim()));
}

function dropFiles(files) {
  Object.assign(traffic, { requests: 0, bytes: 0 });
  return withFiles(() => takeFiles(files));
}

/** The address that asks this. */
function addressOf(question, baseline) {
  const encode = (given) => new URLSearchParams(Object.entries(given).flatMap(([key, value]) =>
    (Array.isArray(value) ? value.map((each) => [key, each]) : [[key, String(value)]]))).toString();
  return `#${encode(question)}${baseline ? `&compare=${encodeURIComponent(encode(baseline))}` : ""}`;
}

function givenOf(text) {
  const given = {};
  for (const [key, value] of new URLSearchParams(text)) {
    if (!/^[a-z_]{1,40}$/.test(key) || value.length > 4096) continue;
    if (LISTS_OF_TEXTS.includes(key)) (given[key] ??= []).push(value);
    else given[key] = value;
  }
  return given;
}

let writing = 0;
let written = "";
function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    written = addressOf(asked(), state.baseline);
    if (written === location.hash) return;
    try {
      history.replaceState(null, "", written);
    } catch {
      location.replace(written);
    }
  }, 250);
}

async function readAddress() {
  const text = location.hash.slice(1);
  if (!text) return;
  const { compare, ...given } = givenOf(text);
  const known = new Set([...FIELDS.map(({ key }) => key), ...PLACED]);
  state.given = {};
  state.extra = {};
  for (const [key, value] of Object.entries(given)) (known.has(key) ? state.given : state.extra)[key] = value;
  for (const key of LISTS_OF_TEXTS) if (Array.isArray(state.given[key]) && state.given[key].length === 1) state.given[key] = state.given[key][0];
  $("more").value = Object.entries(state.extra).map(([key, value]) => `--${key.replaceAll("_", "-")} ${value}`).join(" ");
  await keep(compare ? givenOf(compare) : null);
}

/** Keeps a question to compare with. */
async function keep(question) {
  state.baseline = question;
  state.baselineDocument = null;
  if (question) {
    try {
      state.baselineDocument = (await ask({ ask: "plan", question })).document;
    } catch (problem) {
      state.baseline = null;
      showProblem(problem);
    }
  }
  await drawCompare();
}

async function readMore() {
  try {
    const line = $("more").value.trim();
    const given = line ? await ask({ ask: "flags", line: line.startsWith("-") ? line : line.replace(/^.*?(?=\s-)/s, "") }) : {};
    const known = new Set([...FIELDS.map(({ key }) => key), ...PLACED]);
    state.extra = {};
    for (const [key, value] of Object.entries(given)) {
      if (known.has(key)) state.given[key] = LISTS_OF_TEXTS.includes(key) ? value : String(value);
      else state.extra[key] = value;
    }
    changed();
  } catch (problem) {
    showProblem(problem);
  }
}

function listen() {
  // While a name is written it is none yet: only one that there is counts at once.
  const models = new Set(state.lists.models.map(({ name }) => name));
  $("model").addEventListener("input", ({ target }) => { if (models.has(target.value.trim())) set("model", target.value.trim()); });
  $("model").addEventListener("change", ({ target }) => set("model", target.value.trim()));
  $("model").addEventListener("focus", ({ target }) => target.select());
  $("add-card").addEventListener("click", () => {
    const cards = cardsOf(state.given.gpu);
    set("gpu", gpuOf([...cards, { ...cards[cards.length - 1], count: 1 }]));
    syncCards();
    $("cards").lastElementChild.children[2].focus();
  });
  $("more").addEventListener("change", readMore);
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", ({ target }) => { if (target.files.length) dropFiles(target.files); target.value = ""; });
  $("question").addEventListener("submit", (event) => event.preventDefault());
  $("hub").addEventListener("submit", (event) => { event.preventDefault(); readFromHub($("hub-name").value); });
  $("copy").addEventListener("click", copyCommand);
  $("command-for").addEventListener("change", ({ target }) => { chosenTab = target.value; showTab(); });
  $("sweep").addEventListener("toggle", drawSweep);
  $("sweep-least").addEventListener("change", drawSweep);
  $("compare-keep").addEventListener("click", async () => { await keep(asked()); changed(); });
  $("compare-drop").addEventListener("click", async () => { await keep(null); changed(); });
  $("compare-swap").addEventListener("click", async () => {
    const [now, before] = [asked(), state.baseline];
    state.given = { ...before };
    state.extra = {};
    await keep(now);
    changed();
  });
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => save(button.dataset.save, button.dataset.ending, button.dataset.type));
  }
  $("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const root = document.documentElement.style;
    const now = root.colorScheme || (dark ? "dark" : "light");
    root.colorScheme = now === "dark" ? "light" : "dark";
  });
  window.addEventListener("hashchange", async () => {
    if (location.hash === written) return;
    await readAddress();
    changed();
  });
  listenForDrops();
}

function listenForDrops() {
  let depth = 0;
  const hover = (by) => {
    depth = Math.max(0, depth + by);
    document.body.classList.toggle("dropping", depth > 0);
  };
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (holdsFiles(event)) hover(1); });
  addEventListener("dragleave", (event) => { if (holdsFiles(event)) hover(-1); });
  addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    hover(0);
    dropFiles(event.dataTransfer.files);
  });
}

async function start() {
  try {
    await startPlanner();
    planner.onlost = () => { sources.clear(); };
    state.lists = await ask({ ask: "lists" });
    fill($("model-list"), state.lists.models.map(({ name }) => element("option", { value: name })));
    fill($("gpu-list"), state.lists.gpus.map(({ name, total }) => element("option", { value: name }, size(total))));
    say($("version"), `vramplan ${state.lists.version}`);
    say($("counts"), `${state.lists.models.length} models · ${state.lists.gpus.length} cards`);
    buildForm();
    listen();
    await readAddress();
    await changed();
    document.body.classList.add("ready");
    performance.mark("first plan");
  } catch (problem) {
    showProblem(problem);
  }
}

/** For programs, and for the console: the planner as the page asks it. */
globalThis.vramplan = { ask, askText, size, range, state, planner };
start();
