// Words and numbers as the command prints them.

const UNITS = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];

/** Two digits, halves to the even one. */
function twoDigits(number) {
  const eighths = number * 8;
  if (Number.isInteger(eighths) && eighths % 2 !== 0) {
    const below = Math.floor(number * 100);
    return ((below % 2 === 0 ? below : below + 1) / 100).toFixed(2);
  }
  return number.toFixed(2);
}

/** A size as the command prints it. */
function size(bytes) {
  for (const [unit, name] of UNITS) {
    if (bytes / unit + 0.005 / 1024 >= 1) return `${twoDigits(bytes / unit)} ${name}`;
  }
  return `${bytes} B`;
}

/** A range as the command prints it; nothing where there is no doubt. */
function range(low, high) {
  if (low === high) return "";
  const [a, b] = [size(low), size(high)];
  const [number, unit] = a.split(" ");
  return unit === b.split(" ")[1] ? `${number} – ${b}` : `${a} – ${b}`;
}

/** A number with spaces between thousands. */
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

/** A number of tokens in a narrow cell: `26k`. */
function short(tokens) {
  if (tokens < 1000) return String(tokens);
  return tokens < 1_000_000 ? `${Math.floor(tokens / 1000)}k` : `${(tokens / 1e6).toFixed(1)}M`;
}

const PLAIN_VERDICTS = { fits: "fits", tight: "tight", does_not_fit: "does not fit", refused: "refused" };

/**
 * An element. Whatever is shown goes through here as text: no markup is ever made of a name.
 * Keys that begin with `on` are listeners, the others attributes.
 */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || value === null) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text with what stands between backticks as code. */
function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

/** Puts these children in the place of others. */
function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

/** Sets a text only where it changes: nothing is laid out anew for the same words. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const $ = (id) => document.getElementById(id);
