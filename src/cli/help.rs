//! Texts behind `--help`.

pub const EXIT_CODES: &str = "\
Exit codes: 0 fits or done · 1 error · 2 usage · 3 does not fit · 4 outside tolerance or drifted";

pub const BUDGET: &str = "\
Examples:
  vramplan budget --gpu L4 --model qwen2.5-14b
  vramplan budget --gpu 'RTX 4090' --model model-Q4_K_M.gguf --format json
  vramplan budget --gpu L4 --model qwen2.5-14b --runtime transformers --weights nf4-dq --kv hqq8
  vramplan budget --gpu T4 --model llama-3.1-8b --runtime llama.cpp --kv q8_0 --cache-tokens 8192
  vramplan budget --gpu 'RTX 3060' --model qwen3-30b-a3b --runtime llama.cpp --ram 32GiB
  vramplan budget --gpu 'RTX 3060' --model m.gguf -ngl 20 -ot 'exps=CPU'   # llama.cpp's own flags
  vramplan budget --gpu L4 -- llama-server -m model.gguf -c 32768 -ctk q8_0   # a command, read and not run
  vramplan budget --scenario examples/seed-l4.toml --explain conversation_cache
  vramplan budget --gpu L4 --model llama-3.1-8b --runtime llama.cpp --emit llama.cpp
  vramplan budget --gpu L4 --gpus 2 --model llama-3.3-70b --runtime llama.cpp
  vramplan budget --gpu H100-3g.40gb --model qwen2.5-14b --other-use 8GiB --batch 4

`--users N` and `--context-per-user TOKENS` plan for several users at once; `--other-use SIZE` is memory that other
programs hold, of several cards on each of them.
Sizes need a unit: `512 MiB`, `1.5 GiB`, `2 GB`. `24G` is refused as ambiguous.
Exit codes: 0 fits · 1 error · 2 usage · 3 does not fit";

pub const EXPLORE: &str = "\
Examples:
  vramplan explore                                  # this machine's card, or an L4
  vramplan explore qwen3-30b-a3b 'RTX 4090'
  vramplan explore --gpu 2xL4 --model m.gguf --runtime llama.cpp

Arrows move and change, enter chooses from a list or takes a piece of advice, `c` pins a plan to compare with, `y` copies
the command, `?` shows every key, `q` ends and prints the command.";

pub const SWEEP: &str = "\
Examples:
  vramplan sweep --gpu T4,L4,A100-40GB --model qwen2.5-7b,qwen2.5-14b,qwen2.5-32b
  vramplan sweep --gpu L4 --model all --format csv
  vramplan sweep --gpu 'RTX 3060,RTX 4090' --model llama-3.1-8b --weights q8_0,q4_k_m --kv int8,f16
  vramplan sweep --gpu all --model qwen2.5-14b --cache-tokens 16000

Exit code 0 whatever fits; what a runtime refuses is a cell of the matrix.";

pub const QUANTS: &str = "\
Examples:
  vramplan quants unsloth/Qwen3-30B-A3B-GGUF --gpu 'RTX 4090'
  vramplan quants ~/models/qwen3 --gpu L4 --json
  vramplan quants qwen2.5-14b --gpu L4 --runtime llama.cpp --kv q8_0

Of a repository only headers are read, once. A model by name has the formats of its runtime, by their rules.
Exit codes: 0 a format fits · 1 error · 2 usage · 3 none does";

pub const COMPARE: &str = "\
Examples:
  vramplan compare current.toml optimized.toml
  vramplan compare current.toml --weights nf4-dq --kv hqq4
  vramplan compare current.toml optimized.toml --format markdown

Exit codes: 0 what is proposed fits · 1 error · 2 usage · 3 it does not fit";

pub const CHECK: &str = "\
Examples:
  vramplan check                                # every table in profiles/tables
  vramplan check limits.toml --format github    # annotations for GitHub Actions, or `gitlab`
  vramplan check limits.toml --update           # writes what changed, and the first time all of it

A table names scenarios by the flags of `budget`; `--update` fills in their limits:

  schema = 1

  [[scenario]]
  gpu = \"L4\"
  model = \"qwen2.5-14b\"

Exit codes: 0 up to date or updated · 1 error · 2 usage · 4 drifted";

pub const CALIBRATE: &str = "\
Examples:
  vramplan calibrate --model model-Q4_K_M.gguf
  vramplan calibrate --model qwen2.5-14b --synthetic --capacity '22.5 GiB' --record run.jsonl
  vramplan calibrate --gpu L4 --model qwen2.5-0.5b --synthetic --device cpu --context 7000
  vramplan calibrate --model model-Q4_K_M.gguf --cache-tokens 1024 --quality text.txt
  vramplan calibrate --model qwen2.5-7b --synthetic --steps --capacity 12GiB
  vramplan calibrate --replay run.jsonl --format markdown

The engine runs in a process of its own, `vramplan-worker`, beside this program or where VRAMPLAN_WORKER
says. Ctrl-C ends it; a second one kills it; what was measured until then is reported.
With `--device cpu` the engine runs in main memory: measured is the process's resident memory beside
the engine's own accounting, and a GPU that is named says how large the cache is, no more.
Exit codes: 0 within tolerance · 1 error · 2 usage · 4 outside tolerance · 130 interrupted";

pub const OBSERVE: &str = "\
Examples:
  vramplan observe -- python generate.py
  vramplan observe --model qwen2.5-14b --runtime transformers --weights nf4-dq -- python generate.py
  vramplan observe --watch --gpu L4 --model qwen2.5-14b --runtime vllm -- vllm serve Qwen/Qwen2.5-14B
  vramplan observe --phase 'decode=^generating' --format svg --report run.svg -- ./serve.sh
  vramplan observe --device cpu --phase-at decode=12.5 --record run.jsonl -- ./llama-cli -m model.gguf
  vramplan observe --replay run.jsonl --format markdown

Standard output and error of the command pass through; the report goes to standard error, or to
`--report FILE`. A program says which phase it is in on a pipe, whose number is in VRAMPLAN_PHASE_FD and
whose path is in VRAMPLAN_PHASE_PATH, one JSON object a line:

  {\"phase\": \"prefill\"}
  {\"component\": \"weights\", \"bytes\": 8987654144}

Phases that the plan knows are load, system_prefill, prefill, decode and capture. Ctrl-C is forwarded;
a second one kills. Whatever the command leaves running is ended.
Exit codes: the command's where it failed (128 + signal) · 0 · 1 error · 2 usage · 4 outside tolerance";

pub const REHEARSE: &str = "\
Examples:
  vramplan rehearse --gpu 'RTX 4090' -- llama-server -m model.gguf -c 32768
  vramplan rehearse --gpu L4 --smallest -- python serve.py
  vramplan rehearse --gpu 2xL4 --model qwen2.5-14b --runtime vllm -- vllm serve Qwen/Qwen2.5-14B-Instruct -tp 2
  vramplan rehearse --sweep 'RTX 3060,RTX 4090,L4' --stop-after context -- llama-server -m model.gguf -c 8192
  vramplan rehearse --gpu L4 --try expandable_segments --json -- python generate.py

The command runs unchanged on this machine, without GPU or driver, over CUDA libraries that account for memory as
the cards would and run no kernel. Phases are told on a pipe as under `observe`, by lines of output or the clock;
else load, context, first token and steady follow from what llama.cpp, vLLM and transformers print and call.
The report goes to standard error, that of several rehearsals to standard output, where the command's output is
not shown. What a rehearsal does not see is at its end.
Exit codes: the command's where it failed (128 + signal) · 0 · 1 error, or cannot be rehearsed · 2 usage ·
3 out of memory on the card · 4 outside `--tolerance` of the plan";

pub const WHY: &str = "\
Examples:
  vramplan why server.log
  llama-server -m model.gguf -c 65536 2>&1 | vramplan why -
  vramplan why crash.log --model model-Q4_K_M.gguf --gpu 'RTX 3060'
  journalctl -u ollama -n 2000 | vramplan why - --json
  vramplan why -        # and paste the message

Logs of llama.cpp, Ollama, LM Studio, vLLM, SGLang and PyTorch are read, `nvidia-smi` and `dmesg`. The run is
planned where the log says enough; what it does not say are flags of `budget`. Each remedy is planned again, or
says that it is not. What a log names is looked for among profiles only: its text opens no file and asks no server.
Exit codes: 0 answered · 1 cannot be read · 2 usage";

pub const FLEET: &str = "\
Examples:
  sinfo --json | vramplan fleet plan - --json > plan.json
  vramplan fleet plan --ask kubectl
  vramplan fleet emit slurm plan.json --reports /shared/vramplan | sh
  vramplan fleet emit k8s plan.json --reports /reports --image IMAGE --claim reports | kubectl apply -f -
  vramplan fleet merge /shared/vramplan --out fleet.jsonl
  vramplan fleet status plan.json --evidence /shared/vramplan --max-age 90 --prometheus fleet.prom

A kind is a card under a driver. Jobs run `vramplan fleet run`, which leaves a mark of how each ended, and write
records into the directory that they share: any number at once. What is measured there, plans take with `--evidence`.
Exit codes: 0 done, every kind calibrated · 1 error · 2 usage · 4 `status`: a kind lacks a calibration, or it is old
or drifted; `run`: the command's";

pub const DOCTOR: &str = "\
Examples:
  vramplan doctor
  vramplan doctor --format json

VRAMPLAN_NVML_LIB names the driver's library where it is not found.
Exit codes: 0 nothing prevents planning · 1 something does · 2 usage";

pub const PROFILES: &str = "\
Examples:
  vramplan profiles list gpus
  vramplan profiles show qwen2.5-14b
  vramplan profiles import model.gguf > my-profiles/models/my-model.toml
  vramplan budget --profiles my-profiles --gpu L4 --model my-model";

pub const MCP: &str = "\
Examples:
  vramplan mcp                      # an agent starts this, and asks on its standard input
  vramplan mcp --offline            # no tool asks a server, whatever a call says
  claude mcp add vramplan -- vramplan mcp

Its tools are budget, quants, compare, why and profiles (docs/agents.md). Nothing is written anywhere, and nothing is run.
As on the command line a server is asked only for the headers of a model that is nowhere on this machine.";

pub const SYNTH: &str = "\
Examples:
  vramplan synth --model qwen2.5-14b -o qwen2.5-14b-q4_k_m.gguf
  vramplan synth --model llama-3.1-8b --weights q8_0 --seed 7 -o random.gguf
  vramplan synth --model deepseek-v3 --weights iq1_s --sparse -o header.gguf

Names, dimensions, types and sizes are those of the real file, so that memory and speed can be measured
without a download; what such a model says means nothing. Exit codes: 0 done · 1 error · 2 usage";

pub const SPARSE: &str = "\
Examples:
  vramplan sparse llama-3.1-70b checkpoint
  vramplan sparse ./Qwen2.5-14B-Instruct checkpoint --weights f16
  vramplan sparse qwen2.5-14b model.gguf --weights q4_k_m

A checkpoint takes its `config.json` and tokenizer from the model's own directory where MODEL is one;
by name it gets a tokenizer of one token per byte. Exit codes: 0 done · 1 error · 2 usage";

pub const COMPLETIONS: &str = "\
Examples:
  vramplan completions bash > ~/.local/share/bash-completion/completions/vramplan
  vramplan completions zsh > ~/.zfunc/_vramplan
  vramplan completions fish > ~/.config/fish/completions/vramplan.fish";

pub const MAN: &str = "\
Examples:
  vramplan man | man -l -
  vramplan man ~/.local/share/man/man1";
