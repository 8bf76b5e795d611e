// The planner's side of the page: starts the module, asks it, and starts it anew where it fails or takes too long.

/** Longest that an answer may take, in milliseconds: a plan takes a few. */
const PATIENCE = 20_000;

/** What is wrong, and ways out of it. */
class Problem extends Error {
  constructor(message, hints = []) {
    super(message);
    this.hints = hints;
  }
}

const planner = {
  module: null,
  worker: null,
  waiting: new Map(),
  next: 1,
  /** How long the last answer took in the worker. */
  took: 0,
  /** Called where files that were handed over are lost. */
  onlost: () => {},
};

/** Bytes of the compressed module that the page carries. */
async function carried() {
  const base64 = document.getElementById("module").textContent.trim();
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function startPlanner() {
  planner.module = await WebAssembly.compile(await carried());
  await startWorker();
}

function startWorker() {
  const code = document.getElementById("worker").textContent;
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(address);
  planner.worker = worker;
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Problem(`the planner does not start: ${event.message}`));
    worker.onmessage = ({ data }) => {
      if (data.ready) {
        URL.revokeObjectURL(address);
        resolve();
        return;
      }
      const waiting = planner.waiting.get(data.id);
      if (!waiting) return;
      planner.waiting.delete(data.id);
      clearTimeout(waiting.timer);
      if (data.trapped !== undefined) {
        restart(`the planner failed: ${data.trapped}`);
        waiting.reject(new Problem(`the planner failed: ${data.trapped}`));
        return;
      }
      planner.took = data.took;
      waiting.resolve(data.answered);
    };
    worker.postMessage({ module: planner.module });
  });
}

/** Ends the worker, and everything that waits for it, and starts another. */
function restart(why) {
  planner.worker.terminate();
  for (const { reject, timer } of planner.waiting.values()) {
    clearTimeout(timer);
    reject(new Problem(why));
  }
  planner.waiting.clear();
  startWorker().then(planner.onlost, (error) => console.error(error));
}

/** Asks the planner; the answer as it is written. */
function askText(request, bytes) {
  const id = planner.next++;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      restart(`no answer within ${PATIENCE / 1000} seconds: the planner was started anew`);
    }, PATIENCE);
    planner.waiting.set(id, { resolve, reject, timer });
    planner.worker.postMessage({ id, line: JSON.stringify(request), bytes });
  });
}

/** Asks the planner; hands over more of a file where that is needed. Fails with a `Problem`. */
async function ask(request, bytes) {
  for (;;) {
    const answer = JSON.parse(await askText(request, bytes));
    if (answer.ok !== undefined) return answer.ok;
    if (answer.error) throw new Problem(answer.error.message, answer.error.hints);
    await handOver(answer.needs);
  }
}
