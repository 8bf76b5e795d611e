// Models that are no profiles: files that were dropped, and repositories that are read by ranges. Only headers are read.

/** Bytes that are read at once at least. */
const STEP = 1 << 20;
/** Bytes of a server's list of files that are read at most. */
const LONGEST_LIST = 32 << 20;
/** Parts of a checkpoint that are read at the same time. */
const AT_ONCE = 6;
const HUB = "https://huggingface.co";

/** What is known of each file: its size, how much of it was handed over, and how more is read. */
const sources = new Map();
/** Requests and bytes of the repository that is read. */
const traffic = { requests: 0, bytes: 0 };

/** Registers a file; nothing of it is read yet. */
async function register(path, size, read) {
  sources.set(path, { size, had: 0, read });
  await ask({ ask: "file", path, size, from: 0 }, new Uint8Array(0));
}

/** Hands over what the planner needs of a file. */
async function handOver({ path, from, until }) {
  const source = sources.get(path);
  if (!source) throw new Problem(`\`${path}\` is not at hand any more: drop or read it again`);
  await Promise.all([more(path, source, from, until), ...besides(path)]);
}

async function more(path, source, from, until) {
  const to = Math.min(source.size, Math.max(until, from + Math.max(STEP, from)));
  const bytes = await source.read(from, to);
  if (bytes.length === 0) throw new Problem(`\`${path}\` ends after ${from} of ${source.size} bytes`);
  source.had = from + bytes.length;
  await ask({ ask: "file", path, size: source.size, from }, bytes);
}

/** Other parts of the same checkpoint, whose headers will be asked for next. */
function besides(path) {
  if (!path.endsWith(".safetensors")) return [];
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const parts = [...sources].filter(([other, { had }]) =>
    other !== path && had === 0 && other.startsWith(folder) && other.endsWith(".safetensors"));
  return parts.slice(0, AT_ONCE - 1).map(([other, source]) => more(other, source, 0, STEP));
}

async function forget() {
  sources.clear();
  await ask({ ask: "forget" });
}

/** Takes files from a drop or a dialog; the name of the model that they are. */
async function takeFiles(list) {
  const files = [...list];
  const known = files.filter((file) => /\.(gguf|json|safetensors|toml)$/i.test(file.name));
  if (known.length === 0) {
    throw new Problem("no model among these files", [
      "drop a `.gguf`, a `config.json`, or a checkpoint's files together; only their headers are read",
    ]);
  }
  await forget();
  const folder = folderOf(known);
  for (const file of known) {
    const path = folder ? `${folder}/${file.name}` : file.name;
    await register(path, file.size, async (from, to) =>
      new Uint8Array(await file.slice(from, to).arrayBuffer()));
  }
  return modelOf(known.map((file) => file.name), folder);
}

/** A checkpoint is a folder of files; a lone file is itself. */
function folderOf(files) {
  if (files.length === 1) return "";
  const [first] = (files[0].webkitRelativePath || "").split("/");
  return first || "dropped";
}

function modelOf(names, folder) {
  const inside = (name) => (folder ? `${folder}/${name}` : name);
  const ggufs = names.filter((name) => /\.gguf$/i.test(name) && !/^mmproj/i.test(name)).sort();
  if (ggufs.length) return inside(ggufs[0]);
  return names.length === 1 ? names[0] : folder;
}

/** A repository, its format and revision: `org/name:Q4_K_M@main`, or its address. */
function repository(text) {
  const plain = text.trim().replace(/^https:\/\/(www\.)?huggingface\.co\//, "").replace(/^hf:/, "")
    .replace(/\/(tree|blob|resolve)\/([^/]+).*$/, "@$2").replace(/[?#].*$/, "").replace(/\/$/, "");
  const match = /^([\w.-]+\/[\w.-]+|[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?$/.exec(plain);
  if (!match || match[1].includes("..")) {
    throw new Problem(`\`${text.slice(0, 80)}\` is no repository`, ["write it like `Qwen/Qwen3-8B` or `unsloth/Qwen3-8B-GGUF:Q4_K_M`"]);
  }
  return { id: match[1], format: match[2] || "", revision: match[3] || "main" };
}

/** The bytes of a part of a file on the hub. */
async function fetchRange(address, from, to, headers) {
  const answer = await ranged(address, from, to, headers);
  const skip = answer.status === 206 ? 0 : from;
  const bytes = await readUpTo(answer, skip + to - from);
  return bytes.subarray(Math.min(skip, bytes.length));
}

/**
 * An answer with a part of a file, or from the beginning of it: hosts that files are handed out from were seen to refuse
 * ranges to pages of other origins (huggingface/datasets issue 7931), and answer without.
 */
async function ranged(address, from, to, headers) {
  traffic.requests += 1;
  try {
    return await request(address, { ...headers, Range: `bytes=${from}-${to - 1}` });
  } catch (problem) {
    if (!problem.isUnreachable) throw problem;
    traffic.requests += 1;
    return request(address, headers);
  }
}

/** What a server answers; its refusals in plain words. */
async function request(address, headers) {
  let answer;
  try {
    answer = await fetch(address, { headers, referrerPolicy: "no-referrer", credentials: "omit" });
  } catch (error) {
    const problem = new Problem(`the hub cannot be reached: ${error.message}`, ["drop the model's file instead"]);
    throw Object.assign(problem, { isUnreachable: true });
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new Problem("the hub wants a token for this repository", [
      "accept the model's conditions on the hub, and give a token that may read it",
    ]);
  }
  if (answer.status === 404) throw new Problem("the hub has no such repository, revision or file");
  if (!answer.ok) throw new Problem(`the hub answers ${answer.status}`);
  return answer;
}

/** The first bytes of an answer, whatever its length. */
async function readUpTo(answer, most) {
  const reader = answer.body.getReader();
  const parts = [];
  let length = 0;
  while (length < most) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
  }
  reader.cancel().catch(() => {});
  traffic.bytes += length;
  const all = new Uint8Array(Math.min(length, most));
  let at = 0;
  for (const part of parts) {
    const fits = part.subarray(0, all.length - at);
    all.set(fits, at);
    at += fits.length;
  }
  return all;
}

/** Reads a repository's list of files. */
async function listRepository({ id, revision }, headers) {
  traffic.requests += 1;
  const address = `${HUB}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const bytes = await readUpTo(await request(address, headers), LONGEST_LIST);
  let info;
  try {
    info = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Problem("the hub's answer is no list of files");
  }
  const files = (Array.isArray(info.siblings) ? info.siblings : []).map((file) => ({
    name: String(file.rfilename),
    size: Number(file.lfs?.size ?? file.size),
  }));
  const sound = ({ name, size: bytes }) => Number.isSafeInteger(bytes) && bytes >= 0 &&
    !name.includes("..") && !/[\p{Cc}\\]/u.test(name);
  if (!/^[0-9a-f]{40}$/.test(String(info.sha))) throw new Problem("the hub names no commit");
  return { commit: info.sha, files: files.filter(sound) };
}

/** Formats of the GGUF models among a repository's files: the first file of each. */
function ggufModels(files) {
  const names = files.map(({ name }) => name);
  const models = names.filter((name) => /\.gguf$/i.test(name) &&
    !/(mmproj|imatrix|-lora|adapter|tokenizer|vocab-)/i.test(name.split("/").pop()) &&
    (!/-\d{5}-of-\d{5}\.gguf$/i.test(name) || /-00001-of-\d{5}\.gguf$/i.test(name)));
  return models.sort();
}

/** Which of a repository's GGUF files is meant: the format that is named, or the usual one. */
function chooseGguf(models, format) {
  const wanted = (format || "Q4_K_M").toUpperCase();
  const stem = (name) => name.split("/").pop().replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "").toUpperCase();
  const found = models.filter((name) => stem(name) === wanted || new RegExp(`[-._]${wanted.replace(/[.]/g, "\\.")}$`).test(stem(name)));
  const plain = found.find((name) => !/[-._](UD|I1)[-._]/i.test(name)) ?? found[0];
  if (plain) return plain;
  if (!format && models.length === 1) return models[0];
  throw new Problem(format ? `no file of the format \`${format}\`` : "several formats, none of them the usual one", [
    `name one of them: ${models.slice(0, 12).map((name) => `\`${name.split("/").pop()}\``).join(", ")}`,
  ]);
}

/** Reads a repository of the hub; the name of the model that it is. */
async function readRepository(text, token) {
  const wanted = repository(text);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  Object.assign(traffic, { requests: 0, bytes: 0 });
  const { commit, files } = await listRepository(wanted, headers);
  const names = new Set(files.map(({ name }) => name));
  const isCheckpoint = !wanted.format && names.has("config.json") && [...names].some((name) => name.endsWith(".safetensors"));
  const ggufs = isCheckpoint ? [] : ggufModels(files);
  if (!isCheckpoint && ggufs.length === 0 && !names.has("config.json")) {
    throw new Problem(`\`${wanted.id}\` has no model: neither GGUF files nor a checkpoint`);
  }
  const root = `hf:${wanted.id}`;
  const chosen = ggufs.length ? chooseGguf(ggufs, wanted.format) : null;
  await forget();
  const part = chosen?.replace(/-00001-of-(\d{5})\.gguf$/i, "");
  const mine = ({ name }) => (chosen
    ? name === chosen || (part !== chosen && name.startsWith(part))
    : /\.(json|safetensors)$/.test(name) && !name.includes("/"));
  for (const file of files.filter(mine)) {
    const address = `${HUB}/${wanted.id}/resolve/${commit}/${file.name.split("/").map(encodeURIComponent).join("/")}`;
    await register(`${root}/${file.name}`, file.size, (from, to) => fetchRange(address, from, to, headers));
  }
  const format = wanted.format ? `:${wanted.format}` : "";
  const revision = wanted.revision === "main" ? "" : `@${wanted.revision}`;
  const name = `${root}${format}${revision}`;
  const origin = { kind: "hub", place: "huggingface.co", revision: commit.slice(0, 8), note: "headers alone" };
  await ask({ ask: "alias", name, path: chosen ? `${root}/${chosen}` : root, origin });
  return name;
}
