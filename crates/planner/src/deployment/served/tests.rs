//! Commands as they are typed and pasted.

use super::*;
use crate::spec::{Attention, Count};

fn of(line: &str) -> Served {
    let words: Vec<&str> = line.split(' ').collect();
    served(&words).unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

#[test]
fn ollama_is_told_by_variables() {
    let line = "OLLAMA_CONTEXT_LENGTH=8192 OLLAMA_NUM_PARALLEL=4 OLLAMA_KV_CACHE_TYPE=q8_0 OLLAMA_FLASH_ATTENTION=1 \
                OLLAMA_NEW=1 ollama run llama3.1:8b";
    let Served { question, left_out, note, .. } = of(line);
    assert_eq!(question.model.as_deref(), Some("llama3.1:8b"));
    assert_eq!((question.context, question.cache_tokens), (Some(8192), Some(8192)));
    assert_eq!((question.users, question.attention), (Some(4), Some(Attention::Flash)));
    assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("q8_0"));
    assert_eq!((left_out, note), (vec!["OLLAMA_NEW".to_owned()], None));
    let plain = of("ollama run x").question;
    assert!(plain.own_context);
    assert_eq!(plain.model.as_deref(), Some("x:latest"));
    let other = of("OLLAMA_CONTEXT_LENGTH=0 OLLAMA_SCHED_SPREAD=1 ollama run a:8b").question;
    assert!(other.own_context && other.split.is_some());
    let two = of("CUDA_VISIBLE_DEVICES=0,1 ollama run a:8b").remarks;
    assert!(two[0].contains("2 cards"), "{two:?}");
}

#[test]
fn formats_of_checkpoints_are_told_by_methods() {
    let of_method = |method: &str| {
        let Served { question, remarks, .. } =
            of(&format!("vllm serve a/b --quantization {method}"));
        (question.dtype.map(|format| format.to_string()), remarks.len())
    };
    assert_eq!(of_method("modelopt_fp4"), (Some("nvfp4".to_owned()), 0));
    assert_eq!(of_method("compressed-tensors"), (None, 1));
    let kv = |ty: &str| of(&format!("vllm serve a/b --kv-cache-dtype {ty}")).question.kv;
    assert_eq!(kv("bfloat16").map(|kv| kv.to_string()).as_deref(), Some("bf16"));
    assert_eq!(kv("auto"), None);
}

#[test]
fn containers_and_modules_are_looked_into() {
    let line = "docker run --gpus all -p 8000:8000 -e HF_TOKEN=x vllm/vllm-openai:v0.11 --model a/b --max-model-len 32k \
                --quantization fp8 --frobnicate 3 --dtype auto";
    let Served { question, left_out, .. } = of(line);
    assert_eq!((question.model.as_deref(), question.context), (Some("a/b"), Some(32_000)));
    assert_eq!(question.runtime_version.as_deref(), Some("0.11"));
    assert_eq!(question.dtype.map(|format| format.to_string()).as_deref(), Some("fp8"));
    assert_eq!(left_out, ["--frobnicate 3"]);
    let line = "docker run --gpus all lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path a/b --tp 2";
    let Served { question, .. } = of(line);
    assert_eq!((question.runtime, question.gpus), (Some(Runtime::Sglang), Some(2)));
    let line = "python3 -m sglang.launch_server --model-path a/b --tp 8 --dp 8 --enable-dp-attention --ep-size 8 \
                --page-size 64 --max-total-tokens 100000 --frobnicate";
    let Served { question, left_out, .. } = of(line);
    assert!(question.enable_dp_attention && question.enable_expert_parallel);
    assert_eq!(question.gpus, Some(8));
    assert_eq!((question.data_parallel_size, question.block_size), (Some(8), Some(64)));
    assert_eq!((question.max_total_tokens, left_out.len()), (Some(100_000), 1));
    let Served { question, .. } =
        of("python -m vllm.entrypoints.openai.api_server --model a/b --gpu_memory_utilization=0.8");
    assert_eq!(
        question.gpu_memory_utilization.map(|share| share.to_string()).as_deref(),
        Some("0.8")
    );
    assert_eq!(question.gpus, None);
}

#[test]
fn slots_of_a_server_give_way_to_users_and_to_older_releases() {
    let asked = |line: &str, other: Question| of(line).question_beside(&other);
    let silent = Question::default;
    let older = Question { runtime_version: Some("b6000".to_owned()), ..silent() };
    assert_eq!(asked("llama-server -m a.gguf -c 8192", older).parallel, None);
    let users = Question { users: Some(2), ..silent() };
    assert_eq!(asked("llama-server -m a.gguf -c 8192", users).parallel, None);
}

#[test]
fn the_tag_of_an_image_is_the_release() {
    let version = |line: &str| of(line).question.runtime_version;
    let run = |image: &str| version(&format!("docker run --gpus all {image} --model a/b"));
    assert_eq!(run("vllm/vllm-openai:v0.14.1").as_deref(), Some("0.14.1"));
    assert_eq!(run("registry:5000/vllm/vllm-openai:v0.8.5.post1").as_deref(), Some("0.8.5.post1"));
    assert_eq!(run("vllm/vllm-openai:v0.26.0-cu129").as_deref(), Some("0.26.0"));
    assert_eq!(run("ghcr.io/ggml-org/llama.cpp:server-cuda-b6123").as_deref(), Some("b6123"));
    for image in ["vllm/vllm-openai", "vllm/vllm-openai:latest", "vllm/vllm-openai:cu130-nightly"] {
        assert_eq!(run(image), None, "{image}");
    }
    let sglang =
        "docker run lmsysorg/sglang:v0.5.5 python3 -m sglang.launch_server --model-path a/b";
    assert_eq!(version(sglang).as_deref(), Some("0.5.5"));
}

#[test]
fn programs_of_llama_cpp_are_read() {
    let Served { question, note, .. } =
        of("./llama-server -m a.gguf -ngl 99 -cb --jinja --reasoning-format none");
    assert_eq!((question.ngl, question.cache_tokens), (Some(Count::All), None));
    assert!(note.is_some());
    let Served { question, .. } = of("./main -m a.gguf -c 4096 -ngl 33");
    assert_eq!((question.context, question.ngl), (Some(4096), Some(Count::Some(33))));
    let Served { question, .. } =
        of("koboldcpp --model a.gguf --contextsize 8192 --gpulayers 30 --quantkv 1");
    assert_eq!((question.context, question.ngl), (Some(8192), Some(Count::Some(30))));
    let Served { question, .. } = of("lms load qwen/qwen3-8b --context-length 8192 --gpu max");
    assert_eq!(
        (question.model.as_deref(), question.ngl),
        (Some("qwen/qwen3-8b"), Some(Count::All))
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    let read = |line: &str| served(&line.split(' ').collect::<Vec<_>>());
    for (line, why) in [
        ("llama-server -m a -c x", "`-c x`"),
        ("vllm serve a --max-model-len", "has no value"),
        ("lms load a --gpu 0.5", "share of the layers"),
    ] {
        let Err(Unread::Value(said)) = read(line) else { panic!("{line}: {:?}", read(line)) };
        assert!(said.contains(why), "{line}: {said}");
    }
    for line in ["python serve.py", "docker run nginx", "", "vllm bench serve"] {
        assert!(matches!(read(line), Err(Unread::Program(_))), "{line}");
    }
    assert!(is_program("vllm") && is_program("ollama") && !is_program("qwen3-8b"));
    assert_eq!(changes_no_memory("--jinja"), Some(false));
    assert_eq!(changes_no_memory("--threads"), Some(true));
    assert_eq!(changes_no_memory("--ctx-size"), None);
}

fn not_planned(line: &str) -> Vec<String> {
    let served = of(line);
    assert_eq!(served.left_out, Vec::<String>::new(), "{line}");
    served.not_planned
}

#[test]
fn predictions_of_sglang_are_read() {
    let server = "python -m sglang.launch_server --model-path a/b";
    for (flags, mtp, draft, tokens) in [
        ("--speculative-algorithm NEXTN", Some(3), None, None),
        ("--speculative-algorithm EAGLE", Some(3), None, None),
        ("--speculative-algo nextn --speculative-draft-model-path a/b", Some(3), None, None),
        (
            "--speculative-algorithm EAGLE --speculative-draft-model-path lmsys/DeepSeek-V3-NextN --speculative-num-steps 2 \
             --speculative-eagle-topk 1 --speculative-num-draft-tokens 3",
            Some(2),
            None,
            None,
        ),
        // One token after the other is one step for each, whatever is said.
        (
            "--speculative_algorithm=EAGLE3 --speculative_draft_model_path=c/d --speculative_num_steps=4 \
             --speculative_eagle_topk=1 --speculative_num_draft_tokens=16",
            None,
            Some("eagle3"),
            Some(4),
        ),
        (
            "--speculative-algorithm EAGLE --speculative-draft-model c/d --speculative-num-steps 5 --speculative-eagle-topk 8 \
             --speculative-num-draft-tokens 64",
            None,
            Some("eagle"),
            Some(63),
        ),
        (
            "--speculative-algorithm EAGLE3 --speculative-draft-model-path c/d",
            None,
            Some("eagle3"),
            None,
        ),
        (
            "--speculative-algorithm STANDALONE --speculative-draft-model-path c/d",
            None,
            Some("c/d"),
            None,
        ),
    ] {
        let Served { question, left_out, not_planned, .. } = of(&format!("{server} {flags}"));
        assert_eq!(question.mtp, mtp, "{flags}");
        assert_eq!((question.draft.as_deref(), question.draft_tokens), (draft, tokens), "{flags}");
        assert_eq!((left_out.len(), not_planned.len()), (0, 0), "{flags}");
    }
    for flags in [
        "--speculative-algorithm NGRAM --speculative-num-draft-tokens 16",
        "--speculative-algorithm DFLASH --speculative-draft-model-path c/d",
        "--speculative-algorithm NEXTN --speculative-draft-model-path google/gemma-4-E4B-it-assistant",
        "--speculative-num-steps 3",
        "--speculative-token-map hot.pt",
    ] {
        assert_eq!(not_planned(&format!("{server} {flags}")), [flags], "{flags}");
    }
    for (flags, why) in [
        ("--speculative-algorithm EAGLE3", "needs `--speculative-draft-model-path`"),
        ("--speculative-algorithm NEXTN --speculative-num-steps 3", "together or none"),
        ("--speculative-algorithm NEXTN --speculative-num-steps x", "not a number of tokens"),
        ("--speculative-algorithm", "has no value"),
    ] {
        let line = format!("{server} {flags}");
        let words: Vec<&str> = line.split(' ').collect();
        let Err(Unread::Value(said)) = served(&words) else { panic!("{line}") };
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[test]
fn what_vllm_is_told_of_images_is_read() {
    let with = |words: &[&str]| {
        let command = ["vllm", "serve", "a/b"].iter().chain(words).copied().collect::<Vec<_>>();
        served(&command).unwrap()
    };
    for (words, said) in [
        (&["--limit-mm-per-prompt", "image=2,video=0"][..], "image=2,video=0"),
        (&["--limit-mm-per-prompt", r#"{"image": 2, "video": 0}"#], "image=2,video=0"),
        (&["--limit-mm-per-prompt", "image=4"], "image=4"),
        (&["--limit-mm-per-prompt.video", "0", "--limit-mm-per-prompt.image=1"], "image=1,video=0"),
    ] {
        let Served { question, not_planned, .. } = with(words);
        let limits = question.limit_mm_per_prompt.map(|limits| limits.to_string());
        assert_eq!((limits.as_deref(), not_planned.len()), (Some(said), 0), "{words:?}");
        assert_eq!(question.images, None);
    }
    let Served { question, not_planned, .. } = with(&[
        "--language-model-only",
        "--skip-mm-profiling",
        "--mm-processor-kwargs",
        r#"{"min_pixels": 784, "max_pixels": 1003520}"#,
    ]);
    assert!(question.language_model_only && question.skip_mm_profiling && not_planned.is_empty());
    assert_eq!(question.max_pixels, Some(1_003_520));
    let other = with(&["--mm-processor-kwargs", r#"{"fps": 1, "max_pixels": 1003520}"#]);
    assert_eq!(other.question.max_pixels, Some(1_003_520));
    assert_eq!(
        other.not_planned,
        [r#"--mm-processor-kwargs {"fps": 1, "max_pixels": 1003520}"#],
        "what is not planned is said"
    );
    let sized = with(&["--mm-processor-kwargs", r#"{"size": {"longest_edge": 1003520}}"#]);
    assert_eq!(sized.question.max_pixels, Some(1_003_520));
}

#[test]
fn predictions_of_vllm_are_read() {
    let with =
        |json: &str| served(&["vllm", "serve", "a/b", "--speculative-config", json]).unwrap();
    for (json, mtp, draft, tokens) in [
        (r#"{"method":"mtp","num_speculative_tokens":1}"#, Some(1), None, None),
        (
            r#"{"model":"yuhuili/EAGLE3-LLaMA3.1-Instruct-8B","num_speculative_tokens":2}"#,
            None,
            Some("eagle3"),
            Some(2),
        ),
        (
            r#"{"model":"RedHatAI/Qwen3-8B-speculator.eagle3","num_speculative_tokens":3,"revision":"main"}"#,
            None,
            Some("eagle3"),
            Some(3),
        ),
        (
            r#"{"model":"Qwen/Qwen3-0.6B","num_speculative_tokens":5}"#,
            None,
            Some("Qwen/Qwen3-0.6B"),
            Some(5),
        ),
        (
            r#"{"method":"dflash","model":"z-lab/Qwen3.6-27B-DFlash","num_speculative_tokens":7}"#,
            None,
            Some("z-lab/Qwen3.6-27B-DFlash"),
            Some(7),
        ),
        (
            r#"{"model":"/models/gemma-4-31b-it-assistant","num_speculative_tokens":4}"#,
            None,
            Some("/models/gemma-4-31b-it-assistant"),
            Some(4),
        ),
        (
            r#"{"method":"ngram","num_speculative_tokens":5,"prompt_lookup_max":4}"#,
            None,
            Some("ngram"),
            Some(5),
        ),
    ] {
        let Served { question, not_planned, .. } = with(json);
        assert_eq!((question.mtp, question.draft.as_deref()), (mtp, draft), "{json}");
        assert_eq!((question.draft_tokens, not_planned.len()), (tokens, 0), "{json}");
    }
    for json in [
        r#"{"method":"medusa","model":"a/medusa","num_speculative_tokens":5}"#,
        r#"{"method":"dflash","model":"z-lab/Kimi-K3-DFlash","num_speculative_tokens":5}"#,
        r#"{"model":"google/gemma-9-assistant","num_speculative_tokens":5}"#,
        r#"{"model":"a/b","num_speculative_tokens":5,"draft_tensor_parallel_size":1}"#,
        "no JSON",
    ] {
        let Served { question, not_planned, .. } = with(json);
        assert_eq!((question.draft.as_deref(), question.mtp), (Some("unknown"), None), "{json}");
        let tokens = if json == "no JSON" { 1 } else { 5 };
        assert_eq!(question.draft_tokens, Some(tokens), "{json}");
        assert_eq!(not_planned, [format!("--speculative-config {json}")]);
    }
    for line in [
        "vllm serve a/b --speculative-model c/d --num-speculative-tokens 5",
        "vllm serve a/b --speculative-config.method draft_model --speculative-config.model c/d \
         --speculative-config.num_speculative_tokens 5",
        "vllm serve a/b -sc.model c/d -sc.num_speculative_tokens 5",
    ] {
        let Served { question, .. } = of(line);
        assert_eq!(
            (question.draft.as_deref(), question.draft_tokens),
            (Some("c/d"), Some(5)),
            "{line}"
        );
    }
}

#[test]
fn a_server_that_is_told_no_slots_has_four_that_share_its_context() {
    let slots = |line: &str| {
        let Served { question, .. } = of(line);
        (question.parallel, question.kv_unified, question.cache_tokens)
    };
    let shared = (Some(4), true, Some(4096));
    assert_eq!(slots("llama-server -m a.gguf -c 4096"), shared);
    assert_eq!(slots("C:\\llama\\llama-server.exe -m a.gguf -c 4096"), shared);
    assert_eq!(slots("docker run ghcr.io/ggml-org/llama.cpp:server-cuda -m a -c 4096"), shared);
    for one in [
        "llama-server -m a.gguf -c 4096 -np 1",
        "llama-server -m a.gguf -c 4096 --parallel=1",
        "LLAMA_ARG_N_PARALLEL=1 llama-server -m a.gguf -c 4096",
        "llama-cli -m a.gguf -c 4096",
    ] {
        assert_eq!(slots(one), (None, false, Some(4096)), "{one}");
    }
    assert_eq!(slots("llama-server -m a.gguf -c 4096 -np 2"), (Some(2), false, Some(2048)));
}

#[test]
fn predictions_of_llama_cpp_are_read() {
    let server = "llama-server -m a.gguf -c 4096";
    let Served { question, note, .. } =
        of(&format!("{server} -md d.gguf --spec-type draft-simple --spec-draft-n-max 8"));
    assert_eq!((question.draft_tokens, note), (Some(8), None));
    // Nothing uses a draft without a type.
    assert!(of(&format!("{server} -md d.gguf")).note.is_some());
    for (flags, mtp, draft) in [
        ("-md d.gguf -ngld 99 --draft-max 16 --draft-min 4 -cd 0", None, Some("d.gguf")),
        ("-hfd a/d-GGUF:Q8_0 --draft-p-min 0.5", None, Some("a/d-GGUF:Q8_0")),
        ("--spec-type draft-mtp", Some(3), None),
        ("--spec-type draft-mtp --spec-draft-n-max 2", Some(2), None),
        ("--spec-type none", None, None),
    ] {
        let Served { question, left_out, not_planned, .. } = of(&format!("{server} {flags}"));
        assert_eq!((question.mtp, question.draft.as_deref()), (mtp, draft), "{flags}");
        assert_eq!((left_out.len(), not_planned.len()), (0, 0), "{flags}");
    }
    for flags in
        ["--spec-type ngram-simple", "-ngld 0", "-devd CUDA1", "-ctkd q8_0", "--rpc host:50052"]
    {
        assert_eq!(not_planned(&format!("{server} {flags}")), [flags]);
    }
}

#[test]
fn the_largest_captured_batch_is_read() {
    let line = "python -m sglang.launch_server --model-path a/b --cuda-graph-max-bs 16 --enable-torch-compile \
                --cuda-graph-bs 1 2 4 --port 30000";
    let Served { question, left_out, not_planned, .. } = of(line);
    assert_eq!(question.max_cudagraph_capture_size, Some(16));
    assert_eq!(not_planned, ["--enable-torch-compile", "--cuda-graph-bs 1 2 4"]);
    assert_eq!(left_out.len(), 0);
}

#[test]
fn commands_are_found_in_what_runs_them() {
    let model = |words: &[&str]| {
        let served = served(words).unwrap_or_else(|error| panic!("{words:?}: {error:?}"));
        (served.question.model.unwrap_or_default(), served.question.context)
    };
    let pasted = [
        "vllm serve a/b --max-model-len 4096",
        "$ HF_TOKEN=x vllm serve a/b \\\n  --max-model-len 4096",
        "uv run --with vllm vllm serve a/b --max-model-len 4096",
        "uvx vllm serve a/b --max-model-len=4096",
        "conda run -n serving python -u -m vllm.entrypoints.openai.api_server --model a/b --max-model-len 4096",
        "bash -lc 'cd /srv && vllm serve a/b --max-model-len 4096'",
        "docker run --rm --gpus all --entrypoint bash vllm/vllm-openai -c 'vllm serve a/b --max-model-len 4096'",
        "docker run --gpus all --ipc=host rocm/vllm:latest vllm serve a/b --max-model-len 4096",
        "podman run --device nvidia.com/gpu=all docker.io/vllm/vllm-openai:latest --model a/b --max-model-len 4096",
        "numactl --cpunodebind=0 python3 -m sglang.launch_server --model-path a/b --context-length 4096",
        "docker run --gpus all ghcr.io/ggml-org/llama.cpp:full-cuda --server -m a/b -c 4096",
        "docker run -e LLAMA_ARG_MODEL=a/b -e LLAMA_ARG_CTX_SIZE=4096 ghcr.io/ggml-org/llama.cpp:server-cuda",
        "python -m llama_cpp.server --model a/b --n_ctx 4096 --n_gpu_layers -1",
        "python koboldcpp.py --model a/b --contextsize 4096 --usecublas",
        "export OLLAMA_CONTEXT_LENGTH=4096; ollama run a/b",
        "docker run -d --gpus=all -e OLLAMA_CONTEXT_LENGTH=4096 ollama/ollama run a/b",
    ];
    for line in pasted {
        assert_eq!(model(&[line]), ("a/b".to_owned(), Some(4096)), "{line}");
        let words = shlex::split(line).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if !words.contains(&"export") && !line.contains("; ") {
            assert_eq!(model(&words), ("a/b".to_owned(), Some(4096)), "{line}");
        }
    }
    let named = model(&["docker exec -it ollama ollama run a:8b"]);
    assert_eq!(named, ("a:8b".to_owned(), None));
}

#[test]
fn variables_of_llama_cpp_are_flags() {
    let line = "LLAMA_ARG_HF_REPO=a/b-GGUF LLAMA_ARG_N_PARALLEL=4 LLAMA_ARG_CTX_SIZE=8192 LLAMA_ARG_FLASH_ATTN=on \
                LLAMA_ARG_CACHE_TYPE_K=q8_0 LLAMA_ARG_N_GPU_LAYERS=99 LLAMA_ARG_KV_UNIFIED=1 LLAMA_ARG_CPU_MOE=0 \
                LLAMA_ARG_ENDPOINT_METRICS=1 LLAMA_ARG_NEW=1 llama-server -c 16384";
    let Served { question, left_out, .. } = of(line);
    assert_eq!((question.model.as_deref(), question.parallel), (Some("a/b-GGUF"), Some(4)));
    assert_eq!((question.cache_tokens, question.ngl), (Some(16_384), Some(Count::All)));
    assert!(question.kv_unified && !question.cpu_moe);
    assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("q8_0/f16"));
    assert_eq!(left_out, ["LLAMA_ARG_NEW"]);
}

#[test]
fn variables_of_pytorch_say_how_segments_are_made() {
    let grows = |line: &str| of(line).question.expandable_segments;
    assert!(grows("env PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True vllm serve a/b"));
    assert!(grows(
        "docker run -e PYTORCH_ALLOC_CONF=max_split_size_mb:512,expandable_segments:True vllm/vllm-openai a/b"
    ));
    assert!(!grows("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False vllm serve a/b"));
    assert!(!grows("vllm serve a/b --disable-custom-all-reduce"));
}

#[test]
fn the_last_word_on_prefixes_counts() {
    let said = |flags: &str| {
        let Served { question, not_planned, .. } = of(&format!("vllm serve a/b {flags}"));
        assert!(not_planned.is_empty(), "{not_planned:?}");
        (question.enable_prefix_caching, question.no_enable_prefix_caching)
    };
    assert_eq!(said(""), (false, false));
    assert_eq!(said("--enable-prefix-caching"), (true, false));
    assert_eq!(said("--enable-prefix-caching --no-enable-prefix-caching"), (false, true));
}

#[test]
fn what_others_take_of_ollamas_card_is_read() {
    let Served { question, .. } = of("OLLAMA_GPU_OVERHEAD=1073741824 ollama run a:8b");
    assert_eq!(question.other_use.map(crate::units::Bytes::get), Some(1 << 30));
}

/// What stands before and behind an engine's command, in one text, is not it.
#[test]
fn of_several_commands_the_engines_is_read() {
    let line = "cd /srv && export CUDA_VISIBLE_DEVICES=0 && vllm serve a/b --max-model-len 8192 | tee log; echo done";
    let plain = "vllm serve a/b --max-model-len 8192; echo done";
    let read = served(&["bash", "-c", line]).unwrap();
    assert_eq!((read.question.model.as_deref(), read.question.context), (Some("a/b"), Some(8192)));
    assert_eq!(read.left_out, Vec::<String>::new());
    assert_eq!(served(&["bash", "-c", plain]).unwrap(), read);
    let none = served(&["bash", "-c", "cd /srv && ls"]);
    assert_eq!(none, Err(Unread::Program("ls".to_owned())));
}

#[test]
fn runners_in_runners_end_somewhere() {
    for runner in [&["docker", "exec", "c"][..], &["docker", "run", "rocm/vllm"], &["uv", "sudo"]] {
        let deep: Vec<&str> = runner.iter().copied().cycle().take(300_000).collect();
        assert!(matches!(served(&deep), Err(Unread::Program(_))), "{runner:?}");
    }
}

#[test]
fn a_wrong_number_is_told_without_what_commands_a_terminal() {
    let words = ["sglang", "serve", "--model-path", "a/b", "--speculative-num-steps", "\u{1b}[2J"];
    let Err(Unread::Value(said)) = served(&words) else { panic!("{:?}", served(&words)) };
    assert!(said.contains("is not a number of tokens") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn an_image_may_be_told_its_own_program() {
    let Served { question, left_out, .. } = of(
        "docker run --gpus all vllm/vllm-openai:v0.14.1 vllm serve Qwen/Qwen3-8B --max-model-len 8192",
    );
    assert_eq!(question.model.as_deref(), Some("Qwen/Qwen3-8B"));
    assert_eq!(question.context, Some(8192));
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn engines_that_share_nothing_are_planned_by_themselves() {
    let Served { question, remarks, .. } =
        of("python -m sglang.launch_server --model-path Qwen/Qwen3-8B --dp 2 --tp 2");
    assert_eq!((question.data_parallel_size, question.gpus), (None, Some(2)));
    assert!(remarks[0].contains("`--dp 2` runs 2 engines"), "{remarks:?}");
    let Served { question, remarks, .. } = of(
        "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --dp 2 --tp 2 --enable-dp-attention",
    );
    assert_eq!(question.data_parallel_size, Some(2));
    assert!(remarks.is_empty());
}

#[test]
fn what_is_not_modelled_of_a_cache_is_named() {
    let command = ["vllm", "serve", "a", "--kv-cache-dtype", "turboquant_k8v4"];
    let Err(Unread::Value(why)) = served(&command) else { panic!() };
    assert!(
        why.contains("`--kv-cache-dtype turboquant_k8v4` is not modelled: TurboQuant"),
        "{why}"
    );
}

#[test]
fn ollama_creates_from_a_file() {
    assert_eq!(of("ollama create mine -f Mine").question.model.as_deref(), Some("Mine"));
    let Served { question, note, .. } = of("ollama create mine");
    assert_eq!((question.model.as_deref(), note), (Some("Modelfile"), None));
}

/// vllm#28228 and sglang#8362 have such commands.
#[test]
fn the_beginning_of_a_flag_is_the_flag() {
    let Served { question, left_out, not_planned, .. } = of(
        "vllm serve a/b --tensor_parallel 2 --gpu-mem=0.8 --max-model 16384 --kv-cache-mem 4G --max-num-batched 8k",
    );
    assert_eq!((question.gpus, question.context), (Some(2), Some(16_384)));
    assert_eq!(
        question.gpu_memory_utilization.map(|share| share.to_string()).as_deref(),
        Some("0.8")
    );
    assert_eq!(question.kv_cache_memory_bytes.map(crate::units::Bytes::get), Some(4 << 30));
    assert_eq!(question.prefill_chunk, Some(8000));
    assert!(left_out.is_empty() && not_planned.is_empty(), "{left_out:?} {not_planned:?}");
    let Served { question, left_out, .. } = of(
        "python -m sglang.launch_server --model a/b --tp 2 --mem-fraction 0.85 --context-len 32768 --quant fp8",
    );
    assert_eq!(
        question.mem_fraction_static.map(|share| share.to_string()).as_deref(),
        Some("0.85")
    );
    assert_eq!(question.context, Some(32_768));
    assert!(left_out.is_empty(), "{left_out:?}");
    // A flag that is whole is no beginning of another.
    assert!(of("vllm serve a/b --enable-lora").question.max_loras.is_some());
    let words = ["vllm", "serve", "a/b", "--max-num", "4"];
    let Err(Unread::Value(why)) = served(&words) else { panic!() };
    assert!(why.contains("`--max-num-seqs`") && why.contains("write it out"), "{why}");
    // llama.cpp's parser takes no beginnings.
    assert_eq!(of("llama-server -m a.gguf -c 4096 --n-gpu 4").left_out, ["--n-gpu 4"]);
}

#[test]
fn what_vllm_is_to_choose_is_left_to_it() {
    for said in ["auto", "-1", "AUTO"] {
        let Served { question, .. } = of(&format!("vllm serve a/b --max-model-len {said}"));
        assert!(question.auto_max_model_len && question.context.is_none(), "{said}");
    }
    assert_eq!(
        of("vllm serve a/b --kv-cache-memory-bytes 36864M")
            .question
            .kv_cache_memory_bytes
            .map(crate::units::Bytes::get),
        Some(36 << 30)
    );
}
