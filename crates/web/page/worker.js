"use strict";
// The planner, away from the thread that draws. One request at a time; a trap ends the module, and the page starts
// another.
let planner = null;

const text = (at, length) =>
  new TextDecoder().decode(new Uint8Array(planner.memory.buffer, at, length));

function answer(line, bytes) {
  const head = new TextEncoder().encode(line + "\n");
  const length = head.length + (bytes ? bytes.length : 0);
  const at = planner.request(length);
  const memory = new Uint8Array(planner.memory.buffer, at, length);
  memory.set(head);
  if (bytes) memory.set(bytes, head.length);
  const size = planner.answer();
  return text(planner.answer_at(), size);
}

onmessage = async ({ data }) => {
  if (data.module) {
    const { exports } = await WebAssembly.instantiate(data.module, {});
    planner = exports;
    postMessage({ ready: true });
    return;
  }
  const began = performance.now();
  try {
    const answered = answer(data.line, data.bytes);
    postMessage({ id: data.id, answered, took: performance.now() - began });
  } catch (error) {
    let why = String(error);
    try {
      why = text(planner.failure_at(), planner.failure()) || why;
    } catch { /* what the engine said is all there is */ }
    postMessage({ id: data.id, trapped: why });
  }
};
