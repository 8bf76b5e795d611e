// The bars: what each component holds at the peak, against each card and main memory.

const bars = new Map();

/** What there is to draw: a bar for each device, or for the one card. */
function devicesOf(document) {
  if (document.devices?.length) {
    return document.devices.map((device) => ({
      name: device.host ? "Main memory" : `GPU ${device.index} · ${device.gpu}`,
      binding: device.binding, capacity: device.capacity, peak: device.peak, components: device.components,
      verdict: device.verdict, part: device.part,
    }));
  }
  const { capacity, peak, components, verdict } = document;
  return [{ name: document.deployment.gpu, binding: true, capacity, peak, components, verdict }];
}

function drawBars(document, baseline) {
  const devices = devicesOf(document);
  const before = baseline ? devicesOf(baseline) : [];
  const parent = $("bars");
  for (const index of bars.keys()) if (index >= devices.length) { bars.get(index).node.remove(); bars.delete(index); }
  devices.forEach((device, index) => {
    if (!bars.has(index)) {
      bars.set(index, makeBar());
      parent.append(bars.get(index).node);
    }
    drawBar(bars.get(index), device, before[index]);
  });
}

function makeBar() {
  const bar = { segments: new Map() };
  const part = (name) => { bar[name] = element("div", { class: name }); return bar[name]; };
  bar.title = element("span", { class: "device" });
  bar.figures = element("span", { class: "figures" });
  bar.stack = element("div", { class: "stack" });
  bar.track = element("div", { class: "track", role: "img" },
    part("reserved"), part("headroom"), bar.stack, part("ghost"), part("usable"), part("whisker"));
  for (const { id, title, colour } of state.lists.components) {
    const segment = element("div", { class: "segment" });
    segment.style.backgroundColor = colour;
    segment.dataset.title = title;
    bar.segments.set(id, segment);
    bar.stack.append(segment);
  }
  bar.node = element("figure", { class: "bar" }, element("figcaption", {}, bar.title, bar.figures), bar.track);
  return bar;
}

function drawBar(bar, device, before) {
  const { capacity, peak, components } = device;
  const total = capacity?.total ?? peak.high;
  const whole = Math.max(total, peak.high, before?.peak.high ?? 0, 1);
  const share = (bytes) => `${(100 * bytes) / whole}%`;
  const place = (node, from, length) => {
    node.hidden = !(length > 0);
    node.style.left = share(from);
    node.style.width = share(length);
  };
  let left = 0;
  for (const { id, expected } of components) {
    const segment = bar.segments.get(id);
    place(segment, left, expected);
    segment.title = `${segment.dataset.title}: ${size(expected)}`;
    left += expected;
  }
  bar.usable.hidden = !capacity;
  bar.track.classList.toggle("unknown", !capacity);
  if (capacity) {
    place(bar.reserved, capacity.usable, total - capacity.usable);
    place(bar.headroom, capacity.usable - capacity.headroom, capacity.headroom);
    bar.usable.style.left = share(capacity.usable);
  } else {
    bar.reserved.hidden = bar.headroom.hidden = true;
  }
  place(bar.whisker, peak.low, peak.high - peak.low);
  bar.ghost.hidden = !before;
  if (before) bar.ghost.style.left = share(before.peak.expected);
  bar.node.dataset.verdict = device.verdict;
  describeBar(bar, device);
}

function describeBar(bar, { name, capacity, peak, components, binding, part }) {
  const layers = part?.layers ? ` · ${part.layers} layers${part.output_head ? " and the head" : ""}` : "";
  say(bar.title, `${name}${binding && state.planned.document.devices?.length ? " (the tightest)" : ""}${layers}`);
  const of = capacity ? ` of ${size(capacity.usable)} usable` : " · size not given";
  const doubt = range(peak.low, peak.high);
  say(bar.figures, `${size(peak.expected)}${of}${doubt ? ` · ${doubt}` : ""}`);
  const titles = new Map(state.lists.components.map(({ id, title }) => [id, title]));
  const held = components.filter(({ expected }) => expected > 0)
    .map(({ id, expected }) => `${titles.get(id)} ${size(expected)}`);
  bar.track.setAttribute("aria-label", `${name}: ${size(peak.expected)}${of}, between ${size(peak.low)} and ${size(peak.high)}. ${held.join(", ")}.`);
}
