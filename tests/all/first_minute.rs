//! What a new user types first, taken from threads about five engines, and the line that answers it.
//!
//! Each case is a command line and what one of the lines that it prints says; `->` gives the exit code where it is not 0.

use std::process::Command;

/// A question: its words, the exit code, and what is in the answer.
struct Asked {
    line: &'static str,
    code: i32,
    answers: &'static [&'static str],
}

const fn asked(line: &'static str, code: i32, answers: &'static [&'static str]) -> Asked {
    Asked { line, code, answers }
}

const QUESTIONS: &[Asked] = &[
    // Will it fit?
    asked("L4 qwen2.5-14b", 0, &["fits: ", "qwen2.5-14b · q4_k_m weights"]),
    asked("qwen2.5-14b L4", 0, &["fits: "]),
    asked("budget L4 qwen2.5-14b", 0, &["fits: "]),
    asked("budget --gpu L4 --model qwen2.5-14b --json", 0, &["\"verdict\": \"fits\""]),
    asked("budget -g L4 -m qwen2.5-14b -c 8192", 0, &["all 8192 tokens of context"]),
    asked("budget -g L4 -m qwen2.5-14b -c 8k", 0, &["all 8192 tokens of context"]),
    asked("budget -g 24GiB -m qwen2.5-14b", 0, &["fits: "]),
    asked("budget -g 24G -m qwen2.5-14b", 2, &["--gpu 24GiB"]),
    asked("budget -g 4090 -m qwen2.5:14b", 0, &["ollama runtime", "fits: "]),
    asked("budget -g A100 -m qwen2.5-14b", 2, &["`A100-40GB`", "`A100-80GB`"]),
    asked("budget -g 'RTX 4060 Ti' -m qwen3-8b", 2, &["8GB", "16GB"]),
    asked("budget -g 'RTX 3050' -m qwen3-8b", 2, &["`RTX 3050 8GB`", "`RTX 3050 6GB`"]),
    asked(
        "budget -g 'RTX 3060' -m llama-3.3-70b --runtime llama.cpp --ngl all",
        3,
        &["does not fit: "],
    ),
    // Words alone, in the order in which they come to mind.
    asked("qwen3-32b 4090 32k", 0, &["fits: ", "of 32768 tokens", "RTX 4090"]),
    asked("will qwen3-32b fit on a 4090?", 0, &["fits: "]),
    asked("how much context does qwen3-8b get on 3060", 0, &["tokens of context"]),
    asked("qwen3:8b 3060 8192", 0, &["all 8192 tokens of context", "ollama runtime"]),
    asked("llama 3.3 70b on 2x3090 ollama", 0, &["2 × RTX 3090", "ollama runtime"]),
    asked("qwen3-8b awq 3060 vllm 16k", 0, &["awq-int4 weights", "vllm runtime"]),
    asked("qwen3-8b q4 3060", 2, &["`q4` is not a weight format"]),
    asked("some words nobody knows", 2, &["`vramplan MODEL GPU CONTEXT`"]),
    asked("budget -m qwen3-8b -g L4 -r vllm -c 8k", 0, &["vllm runtime"]),
    // A machine by the name under which it is rented.
    asked("qwen3-32b g5.12xlarge vllm 8k", 0, &["4 × A10G"]),
    asked("budget -m qwen3-8b -g Standard_NC24ads_A100_v4", 0, &["A100-80GB"]),
    asked("qwen3-32b 8xH100 vllm 32k 64 users", 3, &["60 of 64 users × 32768 tokens"]),
    asked(
        "qwen3-32b 8xH100 --runtime vllm --context 32k --users 64",
        0,
        &["64 users × 29840 of 32768 tokens"],
    ),
    asked("budget -g L4 -m nope-7b", 2, &["unknown model `nope-7b`"]),
    // Cards of other makers, and memory that a GPU shares.
    asked("budget -g 'RX 7900 XTX' -m qwen3:14b", 0, &["fits: ", "checked on NVIDIA"]),
    asked("budget -g 'M3 Max 64GB' -m llama3.3:70b", 0, &["48.00 GiB", "fits: "]),
    asked("budget -g 'M4 Max' -m qwen3:8b", 2, &["`M4 Max 64GB`"]),
    asked("budget -g 'DGX Spark' -m gpt-oss:120b", 0, &["fits: "]),
    asked("budget -g 'Jetson AGX Orin 64GB' -m qwen3:30b", 0, &["fits: "]),
    asked("budget -g 'Jetson Thor' -m gpt-oss:120b", 0, &["fits: "]),
    asked("budget -g MI50 -m qwen3:14b", 2, &["MI50 16GB", "MI50 32GB"]),
    asked("budget -g 'Arc Pro B60' -m qwen3:14b", 0, &["fits: "]),
    asked("budget -g 'RTX PRO 6000 Max-Q' -m gpt-oss:120b", 0, &["fits: "]),
    asked("budget -g 'Strix Halo' -m gpt-oss:120b", 0, &["fits: ", "96.00 GiB"]),
    asked("budget -g 'M2 Ultra 192GB' -m qwen3-8b --runtime vllm", 2, &["--runtime llama.cpp"]),
    // llama.cpp, Ollama, LM Studio.
    asked("budget -g 'RTX 3060' -m qwen3-8b --runtime ollama", 0, &["ollama runtime", "f16 KV"]),
    asked("budget -g L4 -m qwen3-8b --runtime lmstudio", 0, &["llama.cpp runtime"]),
    asked("budget -g L4 -m qwen3-8b --runtime llama-cpp -ngl 20", 0, &["L4 + RAM"]),
    asked(
        "budget -g L4 -m qwen3-8b --runtime llama.cpp -ctk q8_0 -ctv q8_0 -fa on",
        0,
        &["q8_0 KV"],
    ),
    asked("budget -g L4 -m qwen3-8b --runtime llama.cpp --ctx-size 16384 -np 4", 0, &["16384"]),
    // A context that is asked for is planned whole, in the words of whoever asks.
    asked(
        "budget -g 'RTX 4060' -m llama3.1:8b --runtime ollama -c 32k",
        0,
        &["all 32768 tokens of context", "-ngl"],
    ),
    asked("budget -g 'RTX 4060' -m llama3.1:8b --ngl all -c 32k", 3, &["does not fit: "]),
    asked(
        "budget -g 4090 -m llama-3.1-8b --runtime transformers -c 64k",
        3,
        &["does not fit: ", "--cache-tokens"],
    ),
    asked("-- llama-server -m qwen3-8b -c 8192 --device none", 2, &["`--gpu` is missing"]),
    asked(
        "budget -g 4xH100 -- sglang serve --model-path Qwen/Qwen3-32B --tp 8",
        2,
        &["8 GPUs are asked for, and `--gpu` names 4"],
    ),
    asked(
        "budget -g 'RTX 3060' -m qwen3-30b-a3b --runtime llama.cpp --ram 32GiB",
        0,
        &["n-cpu-moe"],
    ),
    asked(
        "budget -g 'RTX 3060' -m qwen3-30b-a3b --runtime llama.cpp --ram 32GiB --cpu-moe",
        0,
        &["fits: "],
    ),
    asked("budget -g 'RTX 3090' -m llama-3.3-70b --runtime llama.cpp --ram 64GiB", 0, &["-ngl"]),
    asked(
        "budget -g 'RTX 3090,RTX 3060' -m qwen3-32b --runtime llama.cpp",
        0,
        &["RTX 3090", "RTX 3060"],
    ),
    asked("budget -g 2xL4 -m qwen2.5-32b", 0, &["llama.cpp runtime"]),
    asked("budget -g L4 -m gpt-oss-20b", 0, &["mxfp4", "llama.cpp runtime"]),
    asked(
        "budget -g L4 -m llama-3.1-8b --runtime llama.cpp --emit llama.cpp",
        0,
        &["llama-server -m"],
    ),
    asked("budget -g L4 -m llama-3.1-8b --emit ollama", 0, &["num_ctx"]),
    asked(
        "budget -g L4 -m gemma-3-12b --runtime llama.cpp --mmproj auto --explain weights",
        0,
        &["image encoder (mmproj)"],
    ),
    asked("budget -g L4 -m qwen3-14b --runtime llama.cpp --draft qwen3-0.6b", 0, &["fits: "]),
    // How much context, how many users.
    asked("budget -g L4 -m qwen2.5-14b --runtime llama.cpp --users 4", 0, &["4 users × "]),
    asked(
        "budget -g L4 -m qwen2.5-14b --runtime llama.cpp --context-per-user 8k",
        0,
        &["room for 8 users with 8192 tokens"],
    ),
    asked(
        "budget -g L4 -m qwen2.5-14b --runtime vllm --quant awq --users 4 --context-per-user 8k",
        0,
        &["room for "],
    ),
    asked(
        "sweep -g L4 -m qwen2.5-14b --runtime llama.cpp --users 1,4,16 --context-per-user 4k,8k",
        0,
        &["users", "4096"],
    ),
    asked(
        "sweep -g L4,T4 -m qwen2.5-14b --runtime llama.cpp --context-per-user 4k,8k",
        0,
        &["users there is room for"],
    ),
    asked("budget -g L4 -m qwen2.5-14b --batch 4 --users 4", 2, &["--batch"]),
    // vLLM.
    asked(
        "budget -g L4 -m Qwen/Qwen2.5-14B-Instruct --offline",
        3,
        &["vllm runtime", "bf16 weights"],
    ),
    asked(
        "budget -g L4 -m Qwen/Qwen2.5-14B-Instruct-AWQ --offline",
        0,
        &["awq-int4 weights", "vllm runtime"],
    ),
    asked(
        "budget -g H100 -m qwen3-32b --runtime vllm --max-model-len 32768 --max-num-seqs 64",
        0,
        &["fits: "],
    ),
    asked(
        "budget -g L4 -m qwen2.5-7b --runtime vllm --max-model-len 131072",
        3,
        &["vllm will not start"],
    ),
    asked(
        "budget -g L4 -m qwen2.5-7b --runtime vllm --gpu-memory-utilization auto",
        0,
        &["fits: "],
    ),
    asked("budget -g 2xL4 -m qwen2.5-14b --runtime vllm --kv-cache-dtype fp8", 0, &["fp8 KV"]),
    asked("budget -g L4 -m qwen2.5-14b --runtime vllm --tensor-parallel-size 2", 0, &["2 × L4"]),
    asked("budget -g L4 -m llama-3.1-8b --weights nvfp4 -c 32k", 0, &["vllm runtime"]),
    asked(
        "budget -g L4 -m qwen3-8b --weights fp16 --runtime vllm",
        3,
        &["f16 weights", "the largest that starts is"],
    ),
    asked(
        "budget -q -g L4 -m qwen2.5-14b --runtime llama.cpp",
        0,
        &["fits: 14.39 GiB of 22.03 GiB"],
    ),
    // SGLang.
    asked("budget -g H100 -m qwen3-32b --runtime sglang", 0, &["`--mem-fraction-static` below"]),
    asked("budget -g L4 -m qwen2.5-14b --runtime sglang --quant awq", 0, &["pages", "above 0."]),
    // A command, as it would be run.
    asked(
        "budget -g L4 -- llama-server -m qwen3-8b -c 32768 -ctk q8_0 -ctv q8_0",
        0,
        &["q8_0 KV", "32768 tokens"],
    ),
    asked(
        "budget -g L4 -- vllm serve Qwen/Qwen2.5-7B-Instruct --max-model-len 8192",
        0,
        &["vllm runtime"],
    ),
    asked("budget -g L4 -- python serve.py", 2, &["what `python` runs cannot be told"]),
    // transformers.
    asked(
        "budget -g L4 -m qwen2.5-14b --runtime hf --weights nf4",
        0,
        &["transformers runtime", "fits: "],
    ),
    asked("budget -g L4 -m qwen2.5-14b --weights nf4-dq --kv hqq8", 0, &["transformers runtime"]),
    asked(
        "budget -g T4 -m llama-3.1-8b --runtime transformers --weights int8",
        0,
        &["transformers runtime"],
    ),
    // The same in other words: of commands, of cards, of models, of numbers.
    asked("fit llama3.1:8b 4090", 0, &["fits: ", "RTX 4090"]),
    asked("-m qwen3-8b -g 4090", 0, &["fits: "]),
    asked("qwen3 8b on RTX 4090", 0, &["fits: ", "qwen3-8b"]),
    asked("budget -m qwen3-8b -g a100-80", 0, &["A100-80GB"]),
    asked("budget -m qwen3-8b -g 4060ti-16g", 0, &["RTX 4060 Ti 16GB"]),
    asked("budget -m qwen3:8b -g 7900xtx", 0, &["RX 7900 XTX"]),
    asked("budget -m qwen3:8b -g 'RTX 6000 Pro'", 0, &["RTX PRO 6000 Blackwell"]),
    asked("budget -m qwen3:8b -g 'MacBook Pro M3 Max 64GB'", 0, &["M3 Max 64GB"]),
    asked("budget -m qwen3:8b -g 'Jetson Orin 64GB'", 2, &["--gpu 64GiB"]),
    asked("budget -m qwen3:8b -g 24", 2, &["--gpu 24GiB"]),
    asked("budget -m qwen3:8b -g cpu", 2, &["--ngl 0"]),
    asked("budget -m qwen3:8b --vram 24GiB", 0, &["fits: "]),
    asked("budget -m llama3.3:70b -g 3090 -g 3090", 0, &["2 × RTX 3090"]),
    asked("llama-3.3-70b 'dual 3090' --runtime ollama", 0, &["2 × RTX 3090", "ollama runtime"]),
    asked("llama-3.3-70b '3090 x2' --runtime ollama", 0, &["2 × RTX 3090"]),
    asked("llama-3.3-70b '3090 + 4090' --runtime llama.cpp", 0, &["RTX 3090 + RTX 4090"]),
    asked("budget -m llama3.1:8b-instruct-q8_0 -g 3060", 0, &["q8_0 weights"]),
    asked("budget -m qwen3-8b-Q4_K_M -g 4090", 0, &["q4_k_m weights"]),
    asked("budget -m ./Qwen3-8B-Q5_K_M.gguf -g 4090", 1, &["--model qwen3-8b --weights q5_k_m"]),
    asked(
        "budget -m bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q6_K -g 4090",
        0,
        &["q6_k weights", "from the profile"],
    ),
    asked("budget -m qwen2.5-7b-1m -g H100 -c 1M --runtime vllm --quant fp8", 0, &["1048576"]),
    asked("budget -m qwen3-8b -g 4090 -c 32,768", 0, &["32768 tokens"]),
    asked("budget -m qwen3-8b -g 4090 -c max", 0, &["all 40960 tokens"]),
    asked("budget -m qwen3-8b -g 4090 --num_ctx 8192 --runtime ollama", 0, &["8192 tokens"]),
    asked(
        "budget -m qwen3-8b -g 4090 --threads 8 --runtime llama.cpp",
        0,
        &["`--threads` changes"],
    ),
    asked("budget -m qwen3-8b -g T4 --load_in_4bit", 0, &["nf4 weights", "transformers runtime"]),
    asked("budget -m qwen3-8b -g H100 --runtime vllm --gpu_memory_utilization=90%", 0, &["(0.9)"]),
    asked("budget -m qwen3-8b -g 4090 --runtime tgi", 2, &["`tgi` is not modelled"]),
    asked("budget -m qwen3-8b -g 4090 --runtime koboldcpp", 0, &["llama.cpp runtime"]),
    asked(
        "budget -g 4090 -- env OLLAMA_CONTEXT_LENGTH=32768 OLLAMA_KV_CACHE_TYPE=q8_0 ollama run llama3.1:8b",
        0,
        &["32768 tokens", "q8_0 KV"],
    ),
    asked("budget -g 4090 -- llama-server -m qwen3-8b -ngl 99", 0, &["fits: ", "without `-c`"]),
    asked(
        "budget -g 4090 -- docker run --gpus all vllm/vllm-openai --model Qwen/Qwen3-8B --max-model-len 8192",
        0,
        &["vllm runtime", "8192"],
    ),
    asked(
        "budget -g L4 -- python3 -m sglang.launch_server --model-path Qwen/Qwen3-8B --context-length 8192 --new-flag 3",
        3,
        &["sglang runtime", "planned without `--new-flag 3`"],
    ),
    asked("budget -g L4 -- python -c 'import torch'", 2, &["vramplan rehearse"]),
    asked("qwen3-8b", 2, &["vramplan sweep --gpu all --model qwen3-8b"]),
    asked("models qwen3-8b", 0, &["8.2B"]),
    asked("budget -m qwen3-8b -g 4090 --explain kv", 0, &["conversation cache"]),
    asked("budget -m qwen3-8b -g 4090 --explain weights --json", 0, &["\"id\": \"weights\""]),
    // How many cards.
    asked(
        "budget -m llama3.3:70b -g 3090 --gpus auto -c 8k",
        0,
        &["fits on 2 × RTX 3090: ", "of 23.56 GiB on each"],
    ),
    asked(
        "budget -m meta-llama/Llama-3.3-70B-Instruct -g 'A100 80GB' --gpus auto --users 16 --context-per-user 16k",
        0,
        &["fits on 4 × A100-80GB: ", "16 users × 16384 tokens"],
    ),
    asked(
        "budget -m qwen2.5-72b -g H100 --num-gpus auto --runtime sglang --users 64 --context-per-user 8k",
        0,
        &["fits on 8 × H100: ", "0–7 H100"],
    ),
    asked("budget -m qwen2.5-14b -g L4 --gpus auto --runtime hf", 0, &["fits on 2 × L4: "]),
    asked("budget -m qwen2.5-14b -g L4 --gpus auto --json", 0, &["\"fewest_gpus\": 1"]),
    asked(
        "budget -m qwen2.5-14b -g T4 --gpus auto --runtime vllm --users 256 --context-per-user 32k",
        3,
        &["vllm starts, but its pool holds 15 of 256 users", "no number of T4 up to 64 holds it"],
    ),
    asked("budget -m qwen2.5-32b -g 2xL4 --gpus auto", 2, &["name the card once"]),
    asked("budget -m qwen2.5-32b -g L4 --gpus auto --runtime vllm --tp 2", 2, &["drop it"]),
    asked("budget -m llama-3.3-70b -g L4 --runtime llama.cpp --ngl all", 3, &["3 × L4 hold it"]),
    asked(
        "budget -m mistralai/Mistral-Small-3.2-24B-Instruct-2506 -g L40S",
        3,
        &["the weights take 44.72 GiB, more than the 44.39 GiB there are", "2 × L40S hold it"],
    ),
    asked(
        "budget -m qwen3-14b -g L40S --runtime vllm --gpu-mem-util 0.5",
        3,
        &["more than its share of 22.20 GiB (0.5)"],
    ),
    // Commands as they stand in documentation, in scripts and in containers.
    asked(
        "budget -g H100 -- python3 -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B-Instruct \
         --speculative-algorithm EAGLE3 --speculative-draft-model-path a/b --speculative-num-steps 5 \
         --speculative-eagle-topk 8 --speculative-num-draft-tokens 32",
        0,
        &["sglang runtime", "48 requests together"],
    ),
    asked(
        "budget -g 8xH200 -- python3 -m sglang.launch_server --model deepseek-ai/DeepSeek-V3 --tp 8 \
         --speculative-algorithm NEXTN --cuda-graph-max-bs 64",
        0,
        &["8 × H200, split by tensor", "48 requests together"],
    ),
    asked(
        "budget -g H100 -- sglang serve --model-path Qwen/Qwen3-30B-A3B-FP8 --attention-backend fa3",
        0,
        &["planned without `--attention-backend fa3`: what that takes is not modelled"],
    ),
    asked(
        "budget -g A100-40GB -- 'docker run --gpus all --ipc=host vllm/vllm-openai:latest --model mistralai/Mistral-7B-Instruct-v0.3 --max-model-len 8k'",
        0,
        &["vllm runtime", "8000 tokens"],
    ),
    asked(
        "budget -g L4 -- docker run -e LLAMA_ARG_HF_REPO=unsloth/Qwen3-8B-GGUF:Q4_K_M -e LLAMA_ARG_CTX_SIZE=16384 ghcr.io/ggml-org/llama.cpp:server-cuda",
        0,
        &["llama.cpp runtime", "16384 tokens"],
    ),
    asked("budget -g 4090 -- uvx vllm serve Qwen/Qwen3-4B -O3", 0, &["vllm runtime"]),
    asked("budget -g 24GB -- 'bash -c \"ollama run qwen3:8b\"'", 0, &["ollama runtime"]),
    asked("ollama run gemma3:12b -g 3060", 0, &["RTX 3060", "all 4096 tokens"]),
    asked(
        "budget -g 4090 -- ollama run qwen3:8b",
        0,
        &["a context of 32768", "prefill chunk 1024"],
    ),
    asked("budget -g 'RTX 3060' -m qwen3:30b", 0, &["placed by itself"]),
    asked("budget -g 3060 -m qwen3:8b --runtime-version 0.9.6", 0, &["graphs of its own"]),
    asked(
        "budget -g 24GB -- lms load openai/gpt-oss-20b --context-length=32768 --gpu=max",
        0,
        &["mxfp4_moe weights", "32768 tokens"],
    ),
    asked("budget -g 24GB -- OLLAMA_KV_CACHE_TYPE=q4_0 ollama serve", 2, &["names no model"]),
    asked("budget -g 24GB -- llama-cli -m qwen3-8b -c 16k", 2, &["say 16384"]),
    asked(
        "budget -g 24GB -- text-generation-launcher --model-id a/b",
        2,
        &["Text Generation Inference (TGI) is not modelled", "--runtime vllm"],
    ),
    asked("budget -g 24GB -- trtllm-serve a/b", 2, &["TensorRT-LLM is not modelled"]),
    asked(
        "budget -g 3090 --ram 96GiB -- llama-server -hf ggml-org/gpt-oss-120b-GGUF --n-cpu-moe 30 -c 32768 -ngl 99",
        0,
        &["mxfp4_moe weights"],
    ),
    // Cards, models and numbers in still other words.
    asked("budget -m qwen3-8b -g 'A100 3g.20gb'", 0, &["A100-40GB-3g.20gb"]),
    asked("budget -m qwen3-8b -g 'MIG 3g.40gb'", 2, &["`A100-80GB-3g.40gb`, `H100-3g.40gb`"]),
    asked("budget -m qwen3:4b -g '8 GB vram'", 0, &["of 7.67 GiB"]),
    asked("budget -m qwen3:235b -g '512GB M3 Ultra'", 0, &["M3 Ultra 512GB"]),
    asked("budget -m codestral -g 4080", 0, &["codestral-22b-v0.1"]),
    asked("budget -m devstral -g 4090", 0, &["devstral-small-2507"]),
    asked("budget -m https://ollama.com/library/gemma3:27b -g 24gb", 0, &["gemma-3-27b"]),
    asked("budget -m deepseek-r1:32b -g 2x3090", 0, &["deepseek-r1-distill-qwen-32b", "2 × RTX"]),
    asked("budget -m qwen3-14b -g 4090 -c -1", 0, &["all 40960 tokens"]),
    asked(
        "budget -m qwen3-14b -g 4090 -c 200k",
        0,
        &["the model's own context is 40960 tokens: beyond that it needs RoPE scaling"],
    ),
    asked("budget -m qwen3-14b -g 4090 --system-prompt 2000", 0, &["2000 system tokens"]),
    asked("budget -m qwen3-14b -g 4090 --tokens 32000", 0, &["all 32000 tokens"]),
    asked("budget -m qwen3-14b -g 4090 --input-len 4000", 2, &["`--context` is the prompt"]),
    asked(
        "budget -m qwen3-14b -g H100 --runtime sglang --draft eagle3",
        0,
        &["sglang runtime", "48 requests together"],
    ),
    // Why it ran out of memory.
    asked(
        "why 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 594.00 MiB. GPU 0 has a total capacity of 23.64 GiB of which 351.56 MiB is free.'",
        0,
        &["594.00 MiB were asked for, 351.56 MiB of 23.64 GiB were free"],
    ),
    asked(
        "why 'RuntimeError: CUDA error: out of memory'",
        0,
        &["out of memory: the driver had nothing left"],
    ),
    asked(
        "why 'ValueError: The model s max seq len (131072) is larger than the maximum number of tokens that can be stored in KV cache (36736).'",
        0,
        &["--max-model-len 36736"],
    ),
    // Mistakes.
    asked("budget -g L4 -m qwen2.5-14b --weights int4", 2, &["awq-int4", "q4_k_m", "nf4"]),
    asked("budget -g L4 -m qwen2.5-14b --runtime exl2", 2, &["expected one of"]),
    asked("budget --model qwen2.5-14b", 2, &["--gpu"]),
    asked("budget --gpu L4", 2, &["--model"]),
    asked("budgte --gpu L4", 2, &["budget"]),
    asked("budget -g L4 -m qwen2.5-14b --cache-tokens ten", 2, &["expected a"]),
    asked("help budget", 0, &["Usage: vramplan budget"]),
    // Which format, which card.
    asked("quants qwen2.5-14b -g L4 --runtime llama.cpp", 0, &["q4_k_m", "q8_0"]),
    asked("sweep -g all -m qwen2.5-32b --format csv", 0, &["H100"]),
    asked("profiles list gpus", 0, &["RTX 4090"]),
    asked("profiles list models", 0, &["qwen2.5-14b"]),
];

/// The words of a line, those in single quotes as one.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let of = |(n, part): (usize, &str)| -> Vec<String> {
        if n % 2 == 1 {
            vec![part.to_owned()]
        } else {
            part.split_whitespace().map(str::to_owned).collect()
        }
    };
    parts.flat_map(of).collect()
}

fn answer(line: &str) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_vramplan"))
        .args(words(line))
        .env_clear()
        .env("HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let text = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (ran.status.code(), text)
}

#[test]
fn every_first_question_is_answered() {
    let wrong = |asked: &Asked| {
        let (code, text) = answer(asked.line);
        // Text is folded at the end of a line.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let says = |part: &&&str| !flat.contains(**part) && !text.contains(**part);
        let missing: Vec<_> = asked.answers.iter().filter(says).collect();
        (code != Some(asked.code) || !missing.is_empty()).then(|| {
            let shown: String = text.lines().take(6).collect::<Vec<_>>().join("\n");
            format!(
                "$ vramplan {}\n{shown}\n-> {code:?}, expected {}, missing {missing:?}",
                asked.line, asked.code
            )
        })
    };
    let wrong: Vec<String> = QUESTIONS.iter().filter_map(wrong).collect();
    assert!(QUESTIONS.len() >= 60);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), QUESTIONS.len(), wrong.join("\n\n"));
}

/// The answer on a terminal of so many columns.
fn answer_on(columns: usize, line: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_vramplan"))
        .args(words(line))
        .env_clear()
        .env("HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        .env("COLUMNS", columns.to_string())
        .output()
        .unwrap();
    String::from_utf8(ran.stdout).unwrap()
}

/// No screen between 40 and 200 columns folds a line itself, and what is cut ends in an ellipsis.
#[test]
fn answers_are_no_wider_than_their_terminal() {
    const SCREENS: [&str; 9] = [
        "budget -g L4 -m qwen2.5-14b",
        "budget -g 'RTX 3090,RTX 3060' -m qwen3-32b --runtime llama.cpp",
        "budget -g 'RTX 3060' -m qwen3-30b-a3b --runtime llama.cpp --ram 32GiB -q",
        "budget -g H100 -m qwen3-32b --runtime sglang",
        "quants qwen2.5-14b -g L4 --runtime llama.cpp",
        "sweep -g T4,L4,A100-40GB -m qwen2.5-7b,qwen2.5-14b",
        "profiles list models qwen3",
        "profiles list gpus rtx",
        "doctor",
    ];
    for columns in [40, 80, 120, 200] {
        for line in SCREENS {
            let text = answer_on(columns, line);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest > 0 && widest <= columns, "{line} on {columns}: {widest}\n{text}");
        }
    }
}

/// A terminal of 80 columns shows every first answer without folding a line itself.
#[test]
fn answers_are_no_wider_than_a_terminal() {
    let plans = QUESTIONS
        .iter()
        .filter(|asked| !asked.line.contains("--json") && !asked.line.contains("csv"));
    for asked in plans.filter(|asked| {
        asked.code == 0
            && !asked.line.contains("--explain")
            && !asked.line.contains("--emit")
            && !asked.line.starts_with("help")
    }) {
        let (_, text) = answer(asked.line);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 80, "{}: {widest}\n{text}", asked.line);
    }
}
