// node_llama_cpp.mjs MODEL.gguf: loads a model on the card and evaluates 64 tokens, through node-llama-cpp.
import {getLlama} from "node-llama-cpp";

const llama = await getLlama({gpu: "cuda", build: "never", progressLogs: false});
console.log(await llama.getVramState());
const model = await llama.loadModel({modelPath: process.argv[2]});
const context = await model.createContext({contextSize: 8192});
let tokens = 0;
for await (const _ of context.getSequence().evaluate(Array.from({length: 64}, (_, n) => n))) {
    if (++tokens === 4) break;
}
console.log({tokens, layers: model.gpuLayers});
await llama.dispose();
