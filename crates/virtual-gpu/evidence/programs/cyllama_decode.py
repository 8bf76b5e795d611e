"""cyllama_decode.py MODEL.gguf: loads a model on the card and decodes 32 tokens, through cyllama."""
import sys

from cyllama.llama import llama_cpp

llama_cpp.ggml_backend_load_all()
model_parameters = llama_cpp.LlamaModelParams()
model_parameters.n_gpu_layers = 99
model = llama_cpp.LlamaModel(sys.argv[1], model_parameters)
context_parameters = llama_cpp.LlamaContextParams()
context_parameters.n_ctx = 4096
context = llama_cpp.LlamaContext(model, context_parameters)
print("decoded:", context.decode(llama_cpp.llama_batch_get_one(list(range(32)), 0)))
