use super::*;
use crate::spec::Runtime;

fn one(text: &str) -> Engine {
    let mut engines = manifest(text).unwrap();
    assert_eq!(engines.len(), 1, "{engines:?}");
    engines.remove(0)
}

fn model(engine: &Engine) -> &str {
    engine.served.question.model.as_deref().unwrap_or_default()
}

const DEPLOYMENT: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: chat}
spec: {ports: [{port: 8000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  template:
    spec:
      nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}
      initContainers:
      - {name: fetch, image: vllm/vllm-openai, command: [vllm, serve, other/model]}
      containers:
      - name: proxy
        image: nginx:1.27
        command: ["/bin/server", "--port=80"]
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        command: ["/bin/sh", "-c"]
        args:
        - |
          # it starts late otherwise
          export VLLM_LOGGING_LEVEL=INFO
          exec vllm serve $(MODEL) --max-model-len ${LEN:-32768} \
            --gpu-memory-utilization 0.92
        env:
        - {name: MODEL, value: Qwen/Qwen3-14B}
        - name: HF_TOKEN
          valueFrom: {secretKeyRef: {name: hf, key: token}}
        resources: {limits: {nvidia.com/gpu: "1"}}
        livenessProbe: {exec: {command: [ollama, run, nothing]}}
"#;

#[test]
fn a_deployment_runs_what_its_shell_is_given() {
    let engine = one(DEPLOYMENT);
    assert_eq!((engine.name.as_str(), model(&engine)), ("vllm", "Qwen/Qwen3-14B"));
    assert_eq!(engine.place, "Deployment/chat, container `vllm`");
    let question = &engine.served.question;
    assert_eq!((question.context, question.runtime), (Some(32768), Some(Runtime::Vllm)));
    assert_eq!(question.runtime_version.as_deref(), Some("0.11.0"));
    assert_eq!(engine.card.as_ref().map(|card| card.name.as_str()), Some("NVIDIA-L4"));
    let other = Question { gpu: Some("T4".to_owned()), ..Question::default() };
    assert_eq!(engine.question_beside(&other).gpu, None);
    assert_eq!(engine.question_beside(&Question::default()).gpu.as_deref(), Some("NVIDIA-L4"));
    assert!(engine.served.remarks.is_empty(), "{:?}", engine.served.remarks);
}

#[test]
fn arguments_alone_are_those_of_the_image_s_program() {
    let of = |image: &str, args: &str, limits: &str| {
        one(&format!(
            "kind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n    image: {image}\n    \
             args: {args}\n    resources: {{limits: {{{limits}}}}}\n"
        ))
    };
    let vllm = of(
        "docker.io/vllm/vllm-openai:v0.11.0",
        "[--model=Qwen/Qwen3-32B, --tensor-parallel-size=2]",
        "nvidia.com/gpu: 2",
    );
    assert_eq!((model(&vllm), vllm.served.question.gpus), ("Qwen/Qwen3-32B", Some(2)));
    assert_eq!(vllm.served.question.runtime_version.as_deref(), Some("0.11.0"));
    assert_eq!(vllm.command, "vllm serve --model=Qwen/Qwen3-32B --tensor-parallel-size=2");
    // One card of four, where nothing spreads it.
    let idle = of("vllm/vllm-openai", "[--model=a/b]", "nvidia.com/gpu: 4");
    assert_eq!(idle.served.question.gpus, None);
    assert!(idle.served.remarks[0].contains("runs on 1, which is planned"));
    let more = of("vllm/vllm-openai", "[--model=a/b, -tp, '8']", "amd.com/gpu: 4");
    assert!(more.served.remarks[0].contains("planned are 8"), "{:?}", more.served.remarks);
    let llama = of(
        "ghcr.io/ggml-org/llama.cpp:server-cuda-b6123",
        "[-hf, a/b-GGUF, -c, '8192']",
        "nvidia.com/gpu: 2",
    );
    let question = &llama.served.question;
    assert_eq!((model(&llama), question.gpus), ("a/b-GGUF", Some(2)));
    assert_eq!(question.runtime_version.as_deref(), Some("b6123"));
    let sglang = of("registry.io/mirror/sglang:v0.5", "[--model-path, a/b, --tp, '2']", "");
    assert_eq!((model(&sglang), sglang.served.question.gpus), ("a/b", Some(2)));
    let full = of("ggml-org/llama.cpp:full", "[--server, -m, m.gguf]", "");
    assert_eq!(full.command, "llama-server -m m.gguf");
    let slice = of("vllm/vllm-openai", "[--model, a/b]", "nvidia.com/mig-3g.40gb: 1");
    assert_eq!(slice.given.unwrap().slice(), Some("3g.40gb"));
    for args in ["[a/b, --enforce-eager]", "[serve, a/b]", "[vllm, serve, a/b]"] {
        assert_eq!(model(&of("vllm/vllm-openai", args, "")), "a/b", "{args}");
    }
}

#[test]
fn services_of_compose() {
    let text = "
x-gpu: &gpu
  deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}}}
services:
  ui: {image: 'ghcr.io/open-webui/open-webui:ollama', environment: [OLLAMA_BASE_URL=http://ollama]}
  ollama:
    <<: *gpu
    image: ollama/ollama:0.32.1
    environment:
      - OLLAMA_CONTEXT_LENGTH=8192
      - OLLAMA_NUM_PARALLEL=2
";
    let engine = one(text);
    assert_eq!((engine.name.as_str(), engine.place.as_str()), ("ollama", "service `ollama`"));
    let question = &engine.served.question;
    assert_eq!((question.context, question.gpus), (Some(8192), Some(2)));
    assert_eq!(question.runtime, Some(Runtime::Ollama));
    assert_eq!(question.model, None);
    let text = "
services:
  a:
    image: vllm/vllm-openai:latest
    command: >
      --model ${MODEL:-Qwen/Qwen3-8B}
      --max-model-len 8192
    gpus: all
  b:
    image: lmsysorg/sglang:latest
    entrypoint: python3 -m sglang.launch_server
    command: [--model-path, a/b, --context-length, '4096']
    environment: {X: 1}
";
    let engines = manifest(text).unwrap();
    assert_eq!((engines[0].name.as_str(), model(&engines[0])), ("a", "Qwen/Qwen3-8B"));
    assert_eq!(engines[0].given.as_ref().unwrap().count, None);
    assert_eq!((engines[1].name.as_str(), model(&engines[1])), ("b", "a/b"));
    let question = |at: usize| &engines[at].served.question;
    assert_eq!((question(0).context, question(1).context), (Some(8192), Some(4096)));
}

#[test]
fn a_leader_of_several_machines() {
    let text = "
kind: LeaderWorkerSet
metadata: {name: big}
spec:
  leaderWorkerTemplate:
    size: 2
    leaderTemplate:
      spec:
        containers:
        - name: leader
          image: vllm/vllm-openai:v0.8.5
          command:
          - sh
          - -c
          - \"bash /multi-node-serving.sh leader --ray_cluster_size=$(LWS_GROUP_SIZE);
             vllm serve meta-llama/Llama-3.1-405B-Instruct --port 8080 --tensor-parallel-size 8 --pipeline_parallel_size 2\"
          resources: {limits: {nvidia.com/gpu: '8'}}
    workerTemplate:
      spec:
        containers:
        - name: worker
          image: vllm/vllm-openai:v0.8.5
          command: [sh, -c, 'bash /multi-node-serving.sh worker --ray_address=$(LWS_LEADER_ADDRESS)']
          resources: {limits: {nvidia.com/gpu: '8'}}
";
    let engine = one(text);
    assert_eq!((engine.name.as_str(), engine.served.question.gpus), ("leader", Some(16)));
}

#[test]
fn resources_that_name_a_model_themselves() {
    let kserve = "
kind: InferenceService
metadata: {name: llama3}
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      args: [--model_name=llama3, --model_id=meta-llama/Meta-Llama-3-8B-Instruct, --max_model_len=4096]
      resources: {limits: {nvidia.com/gpu: '1'}}
";
    let engine = one(kserve);
    assert_eq!(model(&engine), "meta-llama/Meta-Llama-3-8B-Instruct");
    assert_eq!((engine.name.as_str(), engine.served.question.context), ("llama3", Some(4096)));
    assert!(engine.served.left_out.is_empty(), "{:?}", engine.served.left_out);
    let stored = kserve.replace("--model_id=meta-llama/Meta-Llama-3-8B-Instruct", "--dtype=half");
    let stored = stored.replace("args:", "storageUri: hf://org/name\n      args:");
    assert_eq!(model(&one(&stored)), "org/name");

    let preset = "
kind: LLMInferenceService
metadata: {name: qwen}
spec:
  model: {uri: 'hf://Qwen/Qwen3-8B', name: q}
  template:
    containers:
    - name: main
      env: [{name: VLLM_ADDITIONAL_ARGS, value: '--max-model-len=16384 --gpu-memory-utilization 0.85'}]
      resources: {limits: {nvidia.com/gpu: '1'}}
";
    let engine = one(preset);
    assert_eq!((model(&engine), engine.served.question.context), ("Qwen/Qwen3-8B", Some(16384)));
    assert!(engine.served.left_out.is_empty(), "{:?}", engine.served.left_out);

    let stack = "
servingEngineSpec:
  modelSpec:
  - name: llama3
    repository: lmcache/vllm-openai
    tag: 2025-05-27-v1
    modelURL: meta-llama/Llama-3.1-8B-Instruct
    requestGPU: 2
    nodeSelectorTerms:
    - matchExpressions: [{key: nvidia.com/gpu.product, operator: In, values: [NVIDIA-L40S]}]
    vllmConfig:
      maxModelLen: 4096
      tensorParallelSize: 2
      gpuMemoryUtilization: 0.85
      extraArgs: [--max-num-seqs, '8']
";
    let engine = one(stack);
    let question = &engine.served.question;
    assert_eq!(model(&engine), "meta-llama/Llama-3.1-8B-Instruct");
    assert_eq!(
        (question.context, question.gpus, question.max_seqs),
        (Some(4096), Some(2), Some(8))
    );
    assert_eq!(engine.card.unwrap().name, "NVIDIA-L40S");
    assert!(question.no_enable_prefix_caching);

    let kubeai = "kind: Model\nmetadata: {name: m}\nspec: {url: 'hf://a/b', engine: VLLM, args: [--max-model-len=2048]}\n";
    assert_eq!((model(&one(kubeai)), one(kubeai).name.as_str()), ("a/b", "m"));
}

#[test]
fn values_and_settings() {
    let values = "
replicaCount: 1
image:
  repository: vllm/vllm-openai
  tag: v0.9.2
  command: [vllm, serve, /data/, --dtype, bfloat16]
resources: {limits: {nvidia.com/gpu: 1}}
";
    let engine = one(values);
    assert_eq!(engine.served.question.runtime_version.as_deref(), Some("0.9.2"));
    let count = engine.given.as_ref().and_then(|given| given.count);
    assert_eq!((model(&engine), count), ("/data/", Some(1)));

    let beside = "vllm:\n  image: {repository: vllm/vllm-openai}\n  model: a/b\n  extraArgs: --max-model-len 8192\n";
    let engine = one(beside);
    assert_eq!((engine.name.as_str(), model(&engine)), ("vllm", "a/b"));
    assert_eq!(engine.served.question.context, Some(8192));

    let swap = "models:\n  small:\n    cmd: |\n      /app/llama-server --port ${PORT}\n      -m small.gguf -c 4096\n  big:\n    cmd: llama-server -m big.gguf\n";
    let engines = manifest(swap).unwrap();
    assert_eq!((engines[0].name.as_str(), model(&engines[0])), ("small", "small.gguf"));
    assert_eq!((engines[1].name.as_str(), engines.len()), ("big", 2));

    let settings = "model: Qwen/Qwen3-8B\nmax-model-len: 8192\n";
    assert_eq!(one(settings).served.question.context, Some(8192));
}

#[test]
fn a_script_pulls_what_its_server_runs() {
    let text = "services: {o: {image: 'ollama/ollama', entrypoint: [/bin/sh, -c], command: ['ollama serve & sleep 3; ollama pull qwen3:8b; wait']}}";
    assert_eq!(model(&one(text)), "qwen3:8b");
}

#[test]
fn what_is_not_planned_says_why() {
    let none =
        "services:\n  web: {image: 'nginx:1'}\n  db: {image: 'postgres:17', command: [postgres]}\n";
    assert_eq!(
        manifest(none),
        Err(ManifestError::NoEngine(vec!["nginx:1".into(), "postgres:17".into()]))
    );
    for text in ["", "a: 1", "- 1", "just words"] {
        assert_eq!(manifest(text), Err(ManifestError::NoEngine(Vec::new())), "{text}");
    }
    let template = "{{- if .Values.x }}\nkind: Pod\n{{- end }}\n";
    assert_eq!(manifest(template), Err(ManifestError::Template));
    let expression = "jobs: {a: {container: {image: 'rust:1'}, env: {A: '${{ github.sha }}'}}}";
    assert_eq!(manifest(expression), Err(ManifestError::NoEngine(vec!["rust:1".into()])));
    assert!(matches!(manifest("a: [1"), Err(ManifestError::Yaml(_))));
    let wrong =
        "services: {a: {image: 'vllm/vllm-openai', command: --model a/b --max-model-len many}}";
    assert!(
        matches!(manifest(wrong), Err(ManifestError::Unread(place, _)) if place == "service `a`")
    );
    let other = "services: {a: {image: 'ghcr.io/huggingface/text-generation-inference:3', command: --model-id a/b}}";
    assert!(matches!(manifest(other), Err(ManifestError::Unread(_, Unread::NotModelled(_)))));
    let elsewhere = "services: {a: {image: 'vllm/vllm-openai', command: '--model ${MODEL}'}}";
    let engine = one(elsewhere);
    assert_eq!(engine.served.question.model, None);
    assert!(engine.served.remarks[0].contains("is set elsewhere"), "{:?}", engine.served.remarks);
}
