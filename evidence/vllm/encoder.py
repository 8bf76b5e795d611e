#!/usr/bin/env python3
"""Asks vLLM's encoders of images what they hold while they encode, without a GPU, as `ask.py`.

    pip install -r requirements.txt
    python encoder.py [SEED]

Every tower is vLLM's own class, built on the meta device from the numbers of vramplan's profiles, for one of several ranks.
It encodes items of a given size; `../transformers/track.py` sees every storage that appears and goes. Attention is what
FlashAttention allocates: its output and a sum in f32 for every head and patch. Writes `encoder-RELEASE.csv`, or with a seed
`holdout-encoder-RELEASE.csv`, whose towers, ranks and items are drawn by it:

| column | meaning |
|---|---|
| `ranks`, `items`, `frames` | of tensor parallelism; items that are encoded at once, pairs of frames of each |
| `patches` | of all items |
| `pixels`, `output` | bytes that go in, in 16 bits, and that come out |
| `peak` | the most bytes that are held at once beside the weights and the pixels, the output included |
"""

import csv
import multiprocessing
import random
import sys
import traceback
import types
from importlib.metadata import version

import card
import configs
import torch
import track
import transformers
from shapes import profile
from torch.overrides import TorchFunctionMode
from vllm.model_executor.layers import activation
from vllm.model_executor.layers.attention import mm_encoder_attention
from vllm.model_executor.models import qwen3_vl
from vllm.vllm_flash_attn.layers import rotary

MODELS = """qwen2-vl-2b qwen2-vl-7b qwen2.5-vl-3b qwen2.5-vl-7b qwen2.5-vl-72b qwen3-vl-4b qwen3-vl-8b qwen3-vl-30b-a3b
    qwen3.5-0.8b qwen3.5-9b qwen3.5-27b gemma-3-4b gemma-3-27b mistral-small-3.2-24b-2506""".split()


class Unpinned(TorchFunctionMode):
    """Main memory without a driver is not pinned."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        return func(*args, **kwargs)


class OfCard(track.LiveStorages):
    """Storages on the card: those on the meta device."""

    def register(self, tensor, func):
        if tensor.device.type == "meta":
            super().register(tensor, func)


def flash(q, k, v, **_):
    """What FlashAttention allocates."""
    q.new_empty(q.shape[0], q.shape[2], q.shape[1], dtype=torch.float32)
    return torch.empty_like(q, memory_format=torch.contiguous_format)


mm_encoder_attention.vit_flash_attn_wrapper = lambda q, k, v, **kwargs: flash(q, k, v)
mm_encoder_attention.vit_torch_sdpa_wrapper = lambda q, k, v, **kwargs: flash(q, k, v)


def rotated(x, *_, inplace=False, **__):
    """What FlashAttention's kernel for rotations allocates."""
    return x if inplace else torch.empty_like(x)


rotary.apply_rotary = rotated


def gated(self, x):
    """What a gate and its product with the rest allocate where they are compiled, as vLLM does it outside of a model that is."""
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


for kind in (activation.SiluAndMul, activation.GeluAndMul, activation.MulAndSilu):
    kind.forward_native = kind.forward_cuda = gated


def interpolated(weight, t, h, w, side, merge, dtype):
    """What Qwen3-VL's kernel for positions allocates."""
    return torch.empty(t * h * w, weight.shape[1], dtype=dtype, device=weight.device)


qwen3_vl.triton_pos_embed_interpolate = interpolated


def qwen2(vision, width):
    from vllm.model_executor.models.qwen2_vl import Qwen2VisionTransformer

    config = transformers.models.qwen2_vl.configuration_qwen2_vl.Qwen2VLVisionConfig(
        depth=vision["n_layers"], embed_dim=vision["hidden_size"], hidden_size=width, num_heads=vision["n_heads"],
        mlp_ratio=vision["ffn_size"] // vision["hidden_size"], patch_size=vision["patch_size"],
    )
    return Qwen2VisionTransformer(config)


def qwen2_5(vision, width):
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VisionTransformer

    config = transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLVisionConfig(
        depth=vision["n_layers"], hidden_size=vision["hidden_size"], intermediate_size=vision["ffn_size"],
        num_heads=vision["n_heads"], out_hidden_size=width, patch_size=vision["patch_size"], window_size=112,
        fullatt_block_indexes=[7, 15, 23, 31],
    )
    return Qwen2_5_VisionTransformer(config)


def qwen3(vision, width):
    from vllm.model_executor.models.qwen3_vl import Qwen3_VisionTransformer

    count = vision.get("deepstack", 0)
    config = transformers.models.qwen3_vl.configuration_qwen3_vl.Qwen3VLVisionConfig(
        depth=vision["n_layers"], hidden_size=vision["hidden_size"], intermediate_size=vision["ffn_size"],
        num_heads=vision["n_heads"], out_hidden_size=width, patch_size=vision["patch_size"],
        deepstack_visual_indexes=[5, 11, 17][:count], num_position_embeddings=vision["positions"],
    )
    return Qwen3_VisionTransformer(config)


class Gemma3(torch.nn.Module):
    def __init__(self, vision, width):
        from vllm.model_executor.models.gemma3_mm import Gemma3MultiModalProjector
        from vllm.model_executor.models.siglip import SiglipVisionModel

        super().__init__()
        side = vision["patch_size"] * 64
        config = transformers.SiglipVisionConfig(
            hidden_size=vision["hidden_size"], intermediate_size=vision["ffn_size"], num_hidden_layers=vision["n_layers"],
            num_attention_heads=vision["n_heads"], image_size=side, patch_size=vision["patch_size"], vision_use_head=False,
        )
        self.tower = SiglipVisionModel(config, None)
        text = transformers.Gemma3TextConfig(hidden_size=width)
        self.projector = Gemma3MultiModalProjector(
            transformers.Gemma3Config(text_config=text, vision_config=config, mm_tokens_per_image=256)
        )

    def forward(self, pixels):
        # `gemma3_mm.py`, `_process_image_input`.
        features = self.tower(pixels)
        embeds = self.projector(features)
        return [e.flatten(0, 1) for e in embeds.split([1] * len(pixels))]


class Pixtral(torch.nn.Module):
    def __init__(self, vision, width):
        from vllm.model_executor.models.mistral3 import Mistral3MultiModalProjector
        from vllm.model_executor.models.pixtral import PixtralHFVisionModel

        super().__init__()
        config = transformers.PixtralVisionConfig(
            hidden_size=vision["hidden_size"], intermediate_size=vision["ffn_size"], num_hidden_layers=vision["n_layers"],
            num_attention_heads=vision["n_heads"], image_size=1540, patch_size=vision["patch_size"],
        )
        self.tower = PixtralHFVisionModel(config, None)
        self.merges = vision["merge"] > 1
        text = transformers.MistralConfig(hidden_size=width)
        made = types.SimpleNamespace(vision_config=config, text_config=text, patch_size=config.patch_size)
        self.projector = Mistral3MultiModalProjector(
            vision_hidden_size=config.hidden_size, text_hidden_size=width, spatial_merge_size=vision["merge"],
            patch_size=config.patch_size, projector_hidden_act="gelu", multimodal_projector_bias=False,
        )

    def forward(self, images):
        # `mistral3.py`, `_process_image_input`.
        features = self.tower(images)
        sizes = [f.shape[0] // 4 for f in features]
        embeds = self.projector(torch.cat(features), [images[0].shape[-2:]] * len(images))
        return embeds.split(sizes)


def grid(vision, patches):
    """The most square grid of so many patches whose sides are merged."""
    merge = vision["merge"]
    blocks = patches // merge**2
    height = int(blocks**0.5)
    while blocks % height:
        height -= 1
    return height * merge, blocks // height * merge


def values(vision):
    """Values of a patch."""
    frames = 2 if vision["tower"].startswith("qwen") else 1
    return 3 * frames * vision["patch_size"] ** 2


TOWERS = {"qwen2_vl": qwen2, "qwen2_5_vl": qwen2_5, "qwen3_vl": qwen3, "siglip": Gemma3, "pixtral": Pixtral}


def given(vision, patches, frames, items):
    """What the encoder is called with."""
    if vision["tower"].startswith("qwen"):
        height, width = grid(vision, patches)
        pixels = torch.empty(items * frames * patches, values(vision), dtype=torch.bfloat16, device="meta")
        return pixels, (pixels, [[frames, height, width]] * items)
    side = vision["patch_size"]
    height, width = grid(vision, patches)
    pixels = torch.empty(items, 3, height * side, width * side, dtype=torch.bfloat16, device="meta")
    return pixels, (pixels if vision["tower"] == "siglip" else list(pixels),)


def ask(case):
    model, tp, items, frames, patches = case
    shape = profile(model)
    vision = shape["vision"]
    card.insert("h100")
    vllm_config = card.engine(configs.of("qwen2.5-7b"), tp)
    with card.ranks(vllm_config):
        from vllm.utils.torch_utils import set_default_torch_dtype

        with set_default_torch_dtype(torch.bfloat16), card.OnMeta(), torch.device("meta"):
            tower = TOWERS[vision["tower"]](vision, shape["hidden_size"])
        pixels, arguments = given(vision, patches, frames, items)
        known = [*tower.parameters(), *tower.buffers(), pixels]
        tracker = OfCard(known)
        with torch.inference_mode(), card.OnMeta(), Unpinned(), tracker:
            out = tower(*arguments)
        outputs = [out] if isinstance(out, torch.Tensor) else list(out)
        output = sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in outputs}.values())
    return [model, tp, items, frames, items * frames * patches, pixels.nbytes, output, tracker.peak]


def cases(rng):
    """Model, ranks, items at once, pairs of frames, patches of a frame."""
    if rng:
        for _ in range(24):
            model = rng.choice(MODELS)
            tower = profile(model)["vision"]
            most, merged = tower["max_patches"], tower["merge"] ** 2
            is_qwen = tower["tower"].startswith("qwen")
            side = rng.randint(8, 64)
            patches = side * side * merged if is_qwen else most
            yield model, rng.choice((1, 2, 4)), rng.randint(1, 8), rng.randint(1, 8) if is_qwen else 1, min(patches, most)
        return
    for model in MODELS:
        tower = profile(model)["vision"]
        most = tower["max_patches"]
        for ranks in (1, 2, 4):
            if tower["n_heads"] % ranks == 0:
                yield model, ranks, 1, 1, most
        yield model, 1, 3, 1, most
        if tower["tower"].startswith("qwen"):
            yield model, 1, 1, 7, most


def answer(case):
    try:
        return case, ask(case)
    except Exception:
        return case, traceback.format_exc()


def main():
    seed = sys.argv[1:]
    rng = random.Random(int(seed[0])) if seed else None
    release = version("vllm")
    with open(card.HERE / f"{'holdout-' if rng else ''}encoder-{release}.csv", "w", encoding="utf-8", buffering=1) as file:
        made = csv.writer(file, lineterminator="\n")
        made.writerow("vllm model ranks items frames patches pixels output peak".split())
        with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
            for case, row in pool.imap(answer, cases(rng), chunksize=1):
                if isinstance(row, str):
                    print(*case, row.strip().splitlines()[-1], file=sys.stderr)
                    continue
                made.writerow([release, *row])


if __name__ == "__main__":
    main()
