"""Elements of the model classes of transformers, built on the meta device.

    python meta.py configs > configs.csv        # of the published `config.json` files in a folder
    python meta.py --defaults defaults > defaults.csv   # of each class's own defaults, which are written to a folder

A row counts what is not a vision or audio tower apart from those, parameters apart from buffers that a checkpoint
holds (corrections of a router's scores, a layer's scalar), and what is kept in f32.
"""

import csv
import glob
import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

transformers.logging.set_verbosity_error()

# `model_type`s of files whose class has another name.
ALIASES = {"kimi_k2": "deepseek_v3", "deepseek_ref": "deepseek_v4", "minimax_m3": "minimax_m3_vl_text"}
# Language models that only a class with a tower holds.
INSIDE = {"muse_glimmer_text": "muse_glimmer", "glm5_next_text": "glm5_next"}
# Files without the `text_config` that the class reads.
WRAPPED = {"step3p7"}
# What the names of modules that are not the language model begin with.
TOWERS = ("vision", "visual", "audio", "projector", "connector", "embed_vision", "embed_audio", "image", "mm_",
          "multi_modal", "vit_")
LANGUAGE = {"language_model", "text_model", "lm_head"}
DEFAULTS = """llama mistral mixtral qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next gemma gemma2 gemma3_text gemma3n_text
gemma4_text phi3 phi phimoe gpt_oss deepseek_v3 deepseek_v32 deepseek_v4 glm_moe_dsa glm4_moe_lite
glm4 glm mistral4 minicpm3 kimi_linear minimax_m2 llama4_text nemotron_h nemotron mimo_v2_flash seed_oss ernie4_5
ernie4_5_moe hunyuan_v1_dense hunyuan_v1_moe exaone4 exaone_moe olmo2 olmo3 olmoe cohere cohere2 granite granitemoe
granitemoeshared granitemoehybrid apertus arcee afmoe dots1 stablelm smollm3 starcoder2 lfm2 lfm2_moe falcon_h1
bamba hy_v3 laguna muse_glimmer_text mellum cohere2_moe solar_open granite_swa glm5_next_text gpt_neox
gemma4_unified_text cwm iquestcoder jais2 helium vaultgemma bitnet olmo flex_olmo nanochat sarvam_moe sarvam_mla youtu
axk1 kolibri1 granitemoe_swa hyperclovax aria_text gpt2 gpt_bigcode gptj codegen gpt_neo opt bloom mpt falcon persimmon
internlm3 ministral3 apertus1p5_text llama4 minimax_m3_vl step3p7 glm4v glm46v glm5_next glm_ocr muse_glimmer internvl
idefics3 smolvlm paligemma llava llava_next llava_next_video llava_onevision vipllava lfm2_vl paddleocr_vl
cohere2_vision qwen2_audio voxtral qwen2_5_omni_thinker qwen3_asr mllama exaone4_5 gemma4
mistral3 kimi_k25""".split()


def build_on(device, config):
    errors = []
    for auto in (AutoModelForMultimodalLM, AutoModelForImageTextToText, AutoModelForCausalLM):
        try:
            with torch.device(device):
                return auto.from_config(config, dtype=torch.bfloat16)
        except Exception as error:
            errors.append(f"{auto.__name__}: {error}"[:200])
    raise RuntimeError(" | ".join(errors))


def is_tower(name):
    parts = name.split(".")[:3]
    return not LANGUAGE.intersection(parts) and any(part.startswith(TOWERS) for part in parts)


def read(path):
    raw = json.load(open(path))
    for place in (raw, raw.get("text_config") or {}):
        place.pop("quantization_config", None)
        place.pop("auto_map", None)
    kind = raw.pop("model_type")
    kind = ALIASES.get(kind, kind)
    if kind in WRAPPED and "text_config" not in raw:
        raw = {"text_config": raw, "tie_word_embeddings": raw.get("tie_word_embeddings", False)}
    return CONFIG_MAPPING[kind].from_dict({**raw, "model_type": kind})


def agree(config):
    """A language model within others is tied as those say, and says so, as in published files."""
    inner = config.get_text_config()
    if inner is not config and hasattr(config, "tie_word_embeddings"):
        inner.tie_word_embeddings = config.tie_word_embeddings


def row(name, model):
    elements = {"text": 0, "tower": 0}
    f32 = buffers = 0
    for parameter, value in model.named_parameters():
        elements["tower" if is_tower(parameter) else "text"] += value.numel()
        f32 += value.numel() if value.dtype == torch.float32 else 0
    held = set(model.state_dict())
    for buffer, value in model.named_buffers():
        if buffer in held and value.is_floating_point() and not is_tower(buffer):
            buffers += value.numel()
    return [name, type(model).__name__, elements["text"], buffers, elements["tower"], f32]


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["name", "class", "text", "buffers", "tower", "f32"])
    defaults = sys.argv[1] == "--defaults"
    folder = sys.argv[-1]
    if defaults:
        os.makedirs(folder, exist_ok=True)
        names = DEFAULTS
    else:
        names = [os.path.basename(path)[:-5] for path in sorted(glob.glob(os.path.join(folder, "*.json")))]
    for name in names:
        try:
            if defaults:
                config = CONFIG_MAPPING[INSIDE.get(name, name)]()
                own = config.get_text_config() if name in INSIDE else config
                agree(own)
                with open(os.path.join(folder, f"{name}.json"), "w") as file:
                    json.dump(own.to_dict(), file, indent=1, sort_keys=True, default=str)
                    file.write("\n")
            else:
                config = read(os.path.join(folder, f"{name}.json"))
            out.writerow(row(name, build_on("meta", config)))
            sys.stdout.flush()
        except Exception as error:
            print(name, repr(error)[:300], file=sys.stderr)


if __name__ == "__main__":
    main()
