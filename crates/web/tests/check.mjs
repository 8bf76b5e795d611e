// Checks the page in Chromium against the command: `scripts/check-web` installs what this needs and runs it.
//
//     node check.mjs PAGE.html COMMAND ROOT OUT [COUNT]
//
// Compares COUNT random deployments, byte for byte; reads files, hostile ones too, and a repository of a hub that answers
// from memory; walks the page by keyboard; asks axe; measures; takes screenshots into OUT.
import { createRequire } from "node:module";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { promisify } from "node:util";
import path from "node:path";

const require = createRequire(process.env.CHECK_WEB_MODULES ? `${process.env.CHECK_WEB_MODULES}/` : import.meta.url);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [page, command, root, out, count = "600"] = process.argv.slice(2);
const address = `file://${path.resolve(page)}`;
const run = promisify(execFile);
const environment = { ...process.env, NO_COLOR: "1", XDG_CONFIG_HOME: "/nonexistent" };
const report = {};
let failures = 0;

function check(holds, what, detail = "") {
  if (!holds) {
    failures += 1;
    console.log(`FAILED: ${what}${detail ? `\n  ${String(detail).slice(0, 2000)}` : ""}`);
  }
  return holds;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
report.browser = browser.version();

/** A page that fails the check on any error, and on any request to a host. */
async function open(hash = "", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1600, height: 950 }, ...options });
  const tab = await context.newPage();
  tab.on("pageerror", (error) => check(false, "an error on the page", error.stack));
  tab.on("console", (message) => {
    if (message.type() === "error") check(/ERR_|Failed to load/.test(message.text()) && tab.hub, "an error in the console", message.text());
  });
  tab.on("request", (request) => {
    const url = request.url();
    check(/^(file|blob|data):/.test(url) || tab.hub, "the page contacts a host by itself", url);
  });
  await tab.goto(address + hash);
  await tab.waitForFunction(() => document.body.classList.contains("ready"), null, { timeout: 60_000 });
  return tab;
}

// A generator with a seed: the same deployments every time.
let seed = 20_261_130;
const random = () => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
};
const below = (n) => Math.floor(random() * n);
const one = (list) => list[below(list.length)];
const chance = (p) => random() < p;

function deployment(lists) {
  const runtime = one(lists.runtimes);
  const given = { model: one(lists.models).name, gpu: one(lists.gpus).name };
  if (chance(0.35)) given.gpu = chance(0.5) ? `${2 + below(3)}x${given.gpu}` : `${given.gpu},${one(lists.gpus).name}`;
  if (chance(0.08)) given.gpu = `${4 + below(90)}GiB`;
  if (chance(0.9)) given.runtime = runtime.name;
  if (chance(0.6)) given.weights = chance(0.8) ? one(runtime.weights) : one(lists.weights);
  if (chance(0.4)) given.kv = one(runtime.kv);
  if (chance(0.2)) given.attention = one(runtime.attention);
  if (chance(0.5)) given.context = String(512 * (1 + below(128)));
  if (chance(0.4)) given.cache_tokens = String(256 * (1 + below(128)));
  if (chance(0.3)) given.system_tokens = String(below(4000));
  if (chance(0.3)) given.batch = String(1 + below(24));
  if (chance(0.2)) given.prefill_chunk = String(64 << below(8));
  if (chance(0.1)) given.headroom = one(["1GiB", "5%", "256MiB"]);
  if (chance(0.1)) given.other_use = "1.5GiB";
  if (chance(0.08)) given.min_decode_speed = "20";
  if (given.runtime && runtime.evicts && chance(0.3)) given.recent_window = String(128 * (1 + below(20)));
  if (given.runtime && runtime.captures && chance(0.2)) Object.assign(given, { capture_layers: chance(0.5) ? "all" : "4", capture_tokens: "100" });
  if (given.runtime && runtime.places) places(given);
  if (given.runtime && runtime.pools) {
    if (chance(0.3)) given.gpu_memory_utilization = one(["0.9", "0.8", "auto"]);
    if (chance(0.2)) given.max_seqs = String(1 + below(256));
    if (chance(0.2)) given.enforce_eager = "true";
    if (chance(0.2)) given.max_model_len = String(1024 * (1 + below(32)));
  }
  return given;
}

function places(given) {
  if (chance(0.3)) given.ngl = one(["auto", "all", "0", "12", "33"]);
  if (chance(0.2)) given.n_cpu_moe = one(["auto", "5"]);
  if (chance(0.3)) given.ram = one(["32GiB", "128GiB"]);
  if (chance(0.1)) given.no_kv_offload = "true";
  if (chance(0.1)) given.swa_full = "true";
  if (chance(0.1)) given.mmproj = "auto";
  if (chance(0.2) && !given.batch) given.parallel = String(1 + below(8));
}

/** What the command prints: its answer, or its error. */
async function ofCommand(flags) {
  const ended = await run(command, flags, { maxBuffer: 1 << 26, env: environment }).catch((error) => error);
  return ended.stdout || ended.stderr;
}

/** What a shell prints to the line that the page shows. */
async function pasted(line) {
  const words = `${line.replace(/^vramplan/, '"$0"')} --json --offline`;
  const ended = await run("sh", ["-c", words, command], { maxBuffer: 1 << 26, env: environment }).catch((error) => error);
  return ended.stdout || ended.stderr;
}

async function equality(tab) {
  const lists = await tab.evaluate(() => vramplan.ask({ ask: "lists" }));
  const asked = Array.from({ length: Number(count) }, () => deployment(lists));
  const answers = await tab.evaluate(async (asked) => {
    const answers = [];
    for (const question of asked) {
      const began = performance.now();
      const plan = JSON.parse(await vramplan.askText({ ask: "plan", question }));
      const took = performance.now() - began;
      const printed = JSON.parse(await vramplan.askText({ ask: "print", question, format: "json" }));
      const flags = Object.entries(question).flatMap(([key, value]) => {
        const flag = `--${key.replaceAll("_", "-")}`;
        return value === "true" ? [flag] : [`${flag}=${value}`];
      });
      answers.push({ command: plan.ok?.command, flags, took, printed, sizes: plan.ok ? plan.ok.document.components.map(({ expected }) => [expected, vramplan.size(expected)]) : [] });
    }
    return answers;
  }, asked);
  let [plans, errors, different] = [0, 0, 0];
  for (const { command: line, flags, printed } of answers) {
    // The command is run as it is pasted; what has none is an error, which is the same with the flags.
    const theirs = line ? await pasted(line) : await ofCommand(["budget", ...flags, "--json", "--offline"]);
    const ours = printed.ok ? printed.ok.text : `error: ${printed.error.message}\n${printed.error.hints.map((hint) => `hint: ${hint}\n`).join("")}`;
    if (printed.ok) plans += 1;
    else errors += 1;
    if (ours !== theirs) {
      different += 1;
      check(different > 5, "the page and the command differ", `${line ?? flags.join(" ")}\npage:    ${firstDifference(ours, theirs)}`);
    }
  }
  check(different === 0, `${different} of ${answers.length} answers differ from the command's`);
  check(plans >= 500, `only ${plans} plans were compared`);
  const took = answers.map(({ took: ms }) => ms).sort((a, b) => a - b);
  report.equality = { deployments: answers.length, plans, errors, different };
  report.plan_ms = { median: took[took.length >> 1], p95: took[Math.floor(took.length * 0.95)], p99: took[Math.floor(took.length * 0.99)], most: took.at(-1) };
}
function firstDifference(ours, theirs) {
  let at = 0;
  while (at < ours.length && ours[at] === theirs[at]) at += 1;
  return `${ours.slice(Math.max(0, at - 80), at + 80)}\ncommand: ${theirs.slice(Math.max(0, at - 80), at + 80)}`;
}

/** Sizes and ranges as the command rounds them. */
async function rounding(tab) {
  const text = await tab.evaluate(async () => (await vramplan.ask({ ask: "print", question: vramplan.state.given, format: "table" })).text);
  const shown = await tab.locator("#components .size").allTextContents();
  for (const figure of shown.filter((figure) => figure !== "–" && figure !== "")) check(text.includes(figure), "a size is not the command's", figure);
  const halves = await tab.evaluate(() => [vramplan.size(1.125 * 2 ** 30), vramplan.size(1.375 * 2 ** 30), vramplan.size(1023), vramplan.size(2 ** 20 - 1)]);
  check(halves.join() === "1.12 GiB,1.38 GiB,1023 B,1.00 MiB", "sizes are rounded as the command does", halves);
}

/** A slider is moved, frame by frame: how long until its answer is drawn. */
async function slider(tab) {
  return tab.evaluate(async () => {
    const slider = document.getElementById("field-cache_tokens-range");
    const took = [];
    const plans = [];
    for (let step = 0; step < 120; step += 1) {
      slider.value = String(256 * (8 + step % 60));
      const began = performance.now();
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      while (vramplan.state.busy) await new Promise((resolve) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = resolve; port2.postMessage(0); });
      document.body.getBoundingClientRect();
      took.push(performance.now() - began);
      plans.push(vramplan.planner.took);
    }
    const middle = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
    const late = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length * 0.95)];
    return { plan: middle(plans), plan_least: Math.min(...plans), plan_p95: late(plans), drawn: middle(took), drawn_least: Math.min(...took), drawn_p95: late(took) };
  });
}

async function accessible(tab, what) {
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations) {
    check(!["serious", "critical"].includes(impact), `axe, ${what}: ${id} (${impact}): ${help}`, nodes.map(({ html }) => html).slice(0, 3).join("\n"));
  }
  report.axe = { ...report.axe, [what]: violations.map(({ id, impact }) => `${id} (${impact})`) };
}

async function hostileFiles(tab) {
  const folders = ["tests/fixtures/hostile", "fuzz/seeds/gguf", "fuzz/seeds/config", "fuzz/seeds/safetensors"];
  let [read, longest, refused] = [0, 0, 0];
  for (const folder of folders) {
    for (const name of readdirSync(path.join(root, folder))) {
      const file = path.join(root, folder, name);
      if (!statSync(file).isFile()) continue;
      const endings = ["gguf", "json", "safetensors"].map((ending) => `${name.replace(/\.\w+$/, "")}.${ending}`);
      for (const as of endings) {
        const began = Date.now();
        await tab.setInputFiles("#file", { name: as, mimeType: "application/octet-stream", buffer: readFileSync(file) });
        await tab.waitForFunction(() => !vramplan.state.busy && document.getElementById("reading").textContent !== "reading headers…" || !document.getElementById("problem").hidden, null, { timeout: 30_000 });
        longest = Math.max(longest, Date.now() - began);
        const problem = await tab.evaluate(() => (document.getElementById("problem").hidden ? "" : document.getElementById("problem").textContent));
        check(!problem.includes("the planner failed"), "the planner traps", `${file}: ${problem}`);
        if (problem) refused += 1;
        read += 1;
      }
    }
  }
  const html = "<img src=x onerror=\"globalThis.owned=1\"><script>globalThis.owned=1</script>";
  await tab.fill("#model", html);
  await tab.keyboard.press("Enter");
  await tab.waitForFunction(() => !document.getElementById("problem").hidden);
  check(await tab.evaluate(() => !globalThis.owned && document.querySelectorAll("#problem img, #problem script").length === 0), "a name is markup");
  await tab.fill("#model", "qwen2.5-14b");
  await tab.fill("#field-context", "99999999999999999999999");
  await tab.waitForFunction(() => document.getElementById("problem").textContent.includes("whole number"));
  await tab.fill("#field-context", "");
  await tab.waitForFunction(() => document.getElementById("problem").hidden);
  report.hostile = { files: read, refused, longest_ms: longest };
  check(read > 60, `only ${read} hostile files were read`);
}

/** A dropped file has the command's own figures, and only its header is read. */
async function droppedFile(tab) {
  const header = readFileSync(path.join(root, "tests/fixtures/qwen2.5-14b-q4_k_m.header"));
  const name = "qwen2.5-14b-q4_k_m.gguf";
  const folder = path.join(out, "files");
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, name);
  // The command reads a file of holes; the page a file of the same size.
  writeFileSync(file, header);
  await run("truncate", ["-s", "8988110272", file]);
  await tab.setInputFiles("#file", file);
  await tab.waitForFunction(() => vramplan.state.planned?.document.deployment.given.model?.endsWith(".gguf") || !document.getElementById("problem").hidden, null, { timeout: 30_000 });
  const ours = await tab.evaluate(async () => (await vramplan.ask({ ask: "print", question: vramplan.state.given, format: "json" })).text);
  const { stdout } = await run(command, ["budget", "--gpu", "L4", "--model", name, "--json"], { cwd: folder, maxBuffer: 1 << 26, env: environment });
  check(ours === stdout, "a dropped file's plan is not the command's", firstDifference(ours, stdout));
  await run("truncate", ["-s", "0", file]);
}

/** A repository of a hub that answers from memory, as the hub does: other origins may ask, by ranges, with a token. */
async function repository(tab) {
  const header = readFileSync(path.join(root, "tests/fixtures/qwen2.5-14b-q4_k_m.header"));
  const size = 8_988_110_272;
  const seen = [];
  tab.hub = true;
  await tab.route("https://huggingface.co/**", async (route) => {
    const request = route.request();
    const headers = await request.allHeaders();
    seen.push({ url: request.url(), authorization: headers.authorization, range: headers.range, referer: headers.referer });
    const cors = { "access-control-allow-origin": "*", "access-control-allow-headers": "*", "access-control-expose-headers": "*" };
    if (request.method() === "OPTIONS") return route.fulfill({ status: 204, headers: cors });
    if (request.url().includes("/gated")) return route.fulfill({ status: 401, headers: cors });
    if (request.url().includes("/api/models/")) {
      const siblings = [{ rfilename: "README.md", size: 10 }, { rfilename: "Qwen2.5-14B-Q4_K_M.gguf", lfs: { size } }, { rfilename: "Qwen2.5-14B-Q8_0.gguf", lfs: { size } }];
      return route.fulfill({ status: 200, headers: cors, contentType: "application/json", body: JSON.stringify({ sha: "0123456789abcdef0123456789abcdef01234567", siblings }) });
    }
    if (request.url().includes("/no-ranges")) {
      if (headers.range) return route.abort();
      return route.fulfill({ status: 200, headers: cors, body: Buffer.concat([header, Buffer.alloc(4 << 20)]) });
    }
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(headers.range).map(Number);
    const body = Buffer.concat([header, Buffer.alloc(Math.max(0, to + 1 - header.length))]).subarray(from, to + 1);
    return route.fulfill({ status: 206, headers: { ...cors, "content-range": `bytes ${from}-${to}/${size}` }, body });
  });
  await tab.locator("#from-hub summary").click();
  await tab.fill("#hub-name", "someone/Qwen2.5-14B-GGUF");
  await tab.fill("#hub-token", "hf_secret");
  await tab.click("#hub button");
  await tab.waitForFunction(() => vramplan.state.planned?.document.deployment.given.model === "hf:someone/Qwen2.5-14B-GGUF" || !document.getElementById("problem").hidden, null, { timeout: 30_000 });
  const problem = await tab.evaluate(() => (document.getElementById("problem").hidden ? "" : document.getElementById("problem").textContent));
  check(problem === "", "a repository is not read", problem);
  check(seen.length >= 2 && seen.every(({ authorization, referer }) => authorization === "Bearer hf_secret" && !referer), "the token goes with every request, the address of the page with none", JSON.stringify(seen));
  check(seen.slice(1).every(({ range }) => /^bytes=\d+-\d+$/.test(range)), "files are read by ranges", JSON.stringify(seen));
  await tab.waitForTimeout(400);
  check(await tab.evaluate(() => !document.location.hash.includes("secret") && !document.documentElement.outerHTML.includes("hf_secret") && (() => { try { return localStorage.length === 0; } catch { return true; } })()), "the token is kept in memory alone");
  await tab.fill("#hub-name", "gated/model");
  await tab.click("#hub button");
  await tab.waitForFunction(() => document.getElementById("problem").textContent.includes("token"));
  report.hub_requests = seen.length;
  await tab.fill("#hub-name", "no-ranges/Qwen2.5-14B-GGUF:Q8_0");
  await tab.click("#hub button");
  await tab.waitForFunction(() => vramplan.state.planned?.document.deployment.given.model === "hf:no-ranges/Qwen2.5-14B-GGUF:Q8_0", null, { timeout: 30_000 });
  await tab.context().close();
}

/** The address is the plan: what is opened by it asks the same. */
async function addresses() {
  const hash = "#gpu=2xRTX+4090&model=qwen3-30b-a3b&runtime=llama.cpp&kv=q8_0&ram=64GiB&override_tensor=exps%3DCPU&lora=&compare=gpu%3DL4%26model%3Dqwen2.5-14b";
  const tab = await open(hash);
  await tab.waitForTimeout(500);
  const written = await tab.evaluate(() => location.hash);
  const document = await tab.evaluate(() => JSON.stringify(vramplan.state.planned.document));
  const again = await open(written);
  await again.waitForTimeout(500);
  check(await again.evaluate(() => location.hash) === written, "an address is not written as it is read", written);
  check(await again.evaluate(() => JSON.stringify(vramplan.state.planned.document)) === document, "an address does not ask the same");
  check(await again.evaluate(() => vramplan.state.baseline?.gpu) === "L4", "an address keeps what is compared");
  check(await again.locator("#compare-body table").count() === 2, "two plans are shown side by side");
  for (const hostile of ["#%", "#gpu=%00&model=%3Cb%3E", "#model=" + "x".repeat(9000), "#__proto__=1&gpu=L4&model=qwen2.5-14b", "#compare=%25%25"]) {
    const odd = await browser.newPage();
    await odd.goto(address + hostile);
    await odd.waitForFunction(() => document.body.classList.contains("ready"), null, { timeout: 30_000 });
    await odd.close();
  }
  await tab.context().close();
  await again.context().close();
}

/** Advice is applied, a tier is used, a cell of the table is chosen, by keyboard alone. */
async function keyboard() {
  const tab = await open("#gpu=T4&model=qwen2.5-32b&runtime=vllm&weights=awq-int4");
  const press = async (locator) => { await locator.focus(); await tab.keyboard.press("Enter"); await tab.waitForFunction(() => !vramplan.state.busy); };
  const before = await tab.evaluate(() => JSON.stringify(vramplan.state.given));
  await press(tab.locator("#advice button").first());
  check(await tab.evaluate(() => JSON.stringify(vramplan.state.given)) !== before, "advice applies itself");
  await press(tab.locator("#sweep > summary"));
  await tab.waitForSelector("#sweep-body button");
  const cell = tab.locator("#sweep-body .fits").first();
  const name = await cell.getAttribute("aria-label");
  await press(cell);
  check(name.includes(`: ${await tab.evaluate(() => vramplan.state.given.gpu)}, `), "a cell of the table is chosen", name);
  await press(tab.locator("#components summary").first());
  await tab.waitForSelector("#components .formula", { timeout: 5_000 });
  await press(tab.locator("#tiers button").first());
  check(await tab.evaluate(() => vramplan.state.given.cache_tokens > 0), "a tier is used");
  await press(tab.locator("#compare-keep"));
  check(await tab.locator("#compare-body").isVisible(), "a plan is kept to compare");
  let focused = 0;
  await tab.evaluate(() => document.activeElement.blur());
  for (let step = 0; step < 40; step += 1) {
    await tab.keyboard.press("Tab");
    const where = await tab.evaluate(() => (document.activeElement.getClientRects().length > 0 ? "" : document.activeElement.outerHTML.slice(0, 200)));
    check(where === "", "a step of the keyboard leads to what is not shown", where);
    focused += 1;
  }
  check(focused === 40, `${focused} of 40 steps were made`);
  for (const [format, ending] of [["json", "json"], ["svg", "svg"], ["markdown", "md"]]) {
    const [download] = await Promise.all([tab.waitForEvent("download"), press(tab.locator(`[data-save=${format}]`))]);
    check(download.suggestedFilename().endsWith(`.${ending}`), `${format} is saved`);
  }
  await tab.context().close();
}

/** What the page's policy is for: nothing but its own script runs, and no host but the hub is asked. */
async function policy() {
  const tab = await browser.newPage();
  await tab.goto(address);
  await tab.waitForFunction(() => document.body.classList.contains("ready"));
  const held = await tab.evaluate(async () => {
    const blocked = [];
    addEventListener("securitypolicyviolation", ({ effectiveDirective }) => blocked.push(effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "globalThis.owned = 1";
    document.body.append(script);
    const image = new Image();
    image.src = "https://example.org/x.png";
    document.body.insertAdjacentHTML("beforeend", "<i onclick='globalThis.owned = 1' style='color: red'></i>");
    document.querySelector("i:last-of-type").click();
    const fetched = await fetch("https://example.org/").then(() => true, () => false);
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { owned: globalThis.owned, fetched, blocked };
  });
  check(!held.owned && !held.fetched, "something ran or was asked that the policy forbids", JSON.stringify(held));
  for (const kind of ["script-src-elem", "script-src-attr", "connect-src", "img-src", "style-src-attr"]) {
    check(held.blocked.includes(kind), `the policy did not forbid ${kind}`, JSON.stringify(held));
  }
  await tab.close();
}

/** A planner that fails, or does not answer, is started anew. */
async function recovery() {
  const tab = await open();
  await tab.evaluate(() => vramplan.planner.worker.postMessage({ id: 0, line: "x", bytes: null }));
  const refused = await tab.evaluate(async () => {
    const waiting = vramplan.ask({ ask: "lists" }).then(() => "answered", (problem) => problem.message);
    const held = vramplan.planner.waiting.values().next().value;
    vramplan.planner.worker.onmessage({ data: { id: [...vramplan.planner.waiting.keys()][0], trapped: "unreachable" } });
    void held;
    return waiting;
  });
  check(refused.includes("the planner failed"), "a trap is told", refused);
  await tab.waitForTimeout(300);
  check((await tab.evaluate(() => vramplan.ask({ ask: "lists" }))).models.length > 100, "the planner is started anew");
  await tab.context().close();
}

async function pictures() {
  const views = [["", "plan"], ["#gpu=2xRTX+3060&model=qwen3-30b-a3b&runtime=llama.cpp&ram=64GiB&weights=q8_0", "placed"], ["#gpu=T4&model=llama-3.1-70b&runtime=vllm", "short"]];
  for (const width of [400, 900, 1600]) {
    for (const colorScheme of ["light", "dark"]) {
      for (const [hash, name] of views) {
        const tab = await open(hash, { viewport: { width, height: width < 500 ? 850 : 950 }, colorScheme });
        await tab.waitForTimeout(400);
        const wider = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        check(wider <= 0, `at ${width} pixels the page is ${wider} wider than its window`);
        await tab.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}.png`) });
        await tab.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}-whole.png`), fullPage: true });
        await tab.evaluate(() => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
        await tab.waitForTimeout(500);
        await tab.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}-open.png`), fullPage: true });
        await accessible(tab, `${name}, ${width}, ${colorScheme}`);
        await tab.context().close();
      }
    }
  }
}

mkdirSync(out, { recursive: true });
const text = readFileSync(page);
report.size = { page: text.length, compressed: gzipSync(text, { level: 9 }).length };
check(report.size.compressed <= 2_000_000, "the page is more than 2 MB compressed");

const starts = [];
for (let time = 0; time < 5; time += 1) {
  const tab = await open();
  starts.push(await tab.evaluate(() => performance.getEntriesByName("first plan")[0].startTime));
  await tab.context().close();
}
report.first_plan_ms = starts.sort((a, b) => a - b)[2];

const step = async (name, work) => {
  if (process.env.ONLY && !process.env.ONLY.split(",").includes(name)) return;
  const began = Date.now();
  await work();
  console.log(`${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
};
await step("equality", async () => { const tab = await open(); await equality(tab); await rounding(tab); await tab.context().close(); });
await step("slider", async () => {
  report.slider_ms = {};
  const of = (runtime) => [runtime, `#gpu=L4&model=qwen2.5-14b&runtime=${runtime}`];
  const placed = ["llama.cpp, placed", "#gpu=2xRTX+3060&model=qwen3-30b-a3b&runtime=llama.cpp&ram=64GiB&weights=q8_0"];
  for (const [name, hash] of [of("vramplan"), of("llama.cpp"), placed, of("vllm"), of("transformers")]) {
    const tab = await open(hash);
    report.slider_ms[name] = await slider(tab);
    await tab.context().close();
  }
});
await step("files", async () => { const tab = await open(); await droppedFile(tab); await tab.context().close(); });
await step("hostile", async () => { const tab = await open(); await hostileFiles(tab); await tab.context().close(); });
await step("hub", async () => repository(await open()));
await step("addresses", addresses);
await step("keyboard", keyboard);
await step("policy", policy);
await step("recovery", recovery);
await step("pictures", pictures);

await browser.close();
writeFileSync(path.join(out, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
console.log(JSON.stringify(report, null, 2));
if (failures) {
  console.log(`${failures} checks failed`);
  process.exit(1);
}
