"""Defaults of the configuration classes of language models, as their fields state them.

    python classes.py > ../../crates/planner/src/read/hf_config/defaults.json

For `text_config`s, of which transformers writes only what differs from these. Numbers that a class works out from others
are not among them, nor what has no part in a model's shape.
"""

import dataclasses
import json
import os
import re

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers.models.auto import modeling_auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

MAPPINGS = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")
# Keys that no shape depends on.
IDLE = re.compile(
    r"(_token_id|_token_index|dropout|_range|_factor|_act|activation|_eps|epsilon|_coef|_loss\w*|theta|scaling|_std|_id"
    r"|_jitter\w*|_temperature|_method|^n_group|^topk_\w*|^\w*norm_topk\w*|^scoring_func|^is_\w*|^cross_att\w*|^id2label"
    r"|^label2id|^use_cache|^output_\w*|^return_\w*|^problem_type|^chunk_size_\w*|^transformers_\w*|^rope_\w*|^pretraining_tp"
    r"|^attn_temperature_tuning|^floor_scale|^use_bidirectional_attention|^query_pre_attn_scalar|^tie_word_embeddings|^architectures|^dtype|^_\w*|^swiglu_\w*)$"
)


def defaults(kind):
    found = {}
    aliases = kind.attribute_map or {}
    names = {field.name for field in dataclasses.fields(kind)}
    for field in dataclasses.fields(kind):
        value = field.default
        if value is dataclasses.MISSING or aliases.get(field.name) in names or IDLE.search(field.name):
            continue
        if isinstance(value, (bool, int, str)) or value is None:
            found[field.name] = value
    return found


def known():
    """What the table of families calls them."""
    rows = open(os.path.join(os.path.dirname(__file__), "../../crates/planner/src/spec/families/table.rs")).read()
    return set(re.findall(r'"([^"]+)"', " ".join(re.findall(r"hf: &\[(.*?)\]", rows, re.S))))


def main():
    names = []
    for mapping in MAPPINGS:
        names += getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES")
    kinds = {}
    for name in names:
        try:
            whole = CONFIG_MAPPING[name]
            inner = whole().get_text_config()
        except Exception:
            inner = None
        for kind in {whole, type(inner) if inner is not None else whole}:
            if "hidden_size" in {f.name for f in dataclasses.fields(kind)} and kind.model_type:
                kinds[kind.model_type] = kind
    table = {}
    for name in sorted(set(kinds) & known()):
        table[name] = {"keys": defaults(kinds[name])}
        if kinds[name].attribute_map:
            table[name]["aliases"] = dict(kinds[name].attribute_map)
    print("{")
    lines = (f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'), sort_keys=True)}" for name, row in table.items())
    print(",\n".join(lines))
    print("}")


main()
