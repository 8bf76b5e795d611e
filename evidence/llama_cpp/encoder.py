#!/usr/bin/env python3
"""Files that `--mmproj` takes, with a hole for the weights: the encoder of Gemma 3 (SigLIP, 896 pixels), as convert_hf_to_gguf.py writes it.
usage: encoder.py NAME FILE.gguf      (needs: gguf, as in the venv that source.sh makes)"""
import sys
import gguf, numpy

# Width of the model behind it.
NAMES = {"gemma-3-4b": 2560, "gemma-3-12b": 3840, "gemma-3-27b": 5376}
LAYERS, HIDDEN, FFN, HEADS, PATCH, SIDE = 27, 1152, 4304, 16, 14, 896

def tensors(width):
    """Names and shapes: matrices are f16, the rest f32; what converters of Gemma 3 call ffn_up makes the results smaller again."""
    yield "v.patch_embd.weight", (HIDDEN, 3, PATCH, PATCH)
    yield "v.patch_embd.bias", (HIDDEN,)
    yield "v.position_embd.weight", ((SIDE // PATCH) ** 2, HIDDEN)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield f"v.blk.{layer}.{name}.weight", (HIDDEN, HIDDEN)
            yield f"v.blk.{layer}.{name}.bias", (HIDDEN,)
        for name in ("ln1", "ln2"):
            yield f"v.blk.{layer}.{name}.weight", (HIDDEN,)
            yield f"v.blk.{layer}.{name}.bias", (HIDDEN,)
        for name, rows, columns in (("ffn_down", FFN, HIDDEN), ("ffn_up", HIDDEN, FFN)):
            yield f"v.blk.{layer}.{name}.weight", (rows, columns)
            yield f"v.blk.{layer}.{name}.bias", (rows,)
    yield "v.post_ln.weight", (HIDDEN,)
    yield "v.post_ln.bias", (HIDDEN,)
    yield "mm.input_projection.weight", (HIDDEN, width)
    yield "mm.soft_emb_norm.weight", (HIDDEN,)

def write(name, path):
    width = NAMES[name]
    out = gguf.GGUFWriter(path, "clip")
    out.add_bool("clip.has_vision_encoder", True)
    out.add_string("clip.projector_type", "gemma3")
    for key, value in dict(image_size=SIDE, patch_size=PATCH, embedding_length=HIDDEN, feed_forward_length=FFN, block_count=LAYERS, projection_dim=width).items():
        out.add_uint32(f"clip.vision.{key}", value)
    out.add_uint32("clip.vision.attention.head_count", HEADS)
    out.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    out.add_array("clip.vision.image_mean", [0.5] * 3)
    out.add_array("clip.vision.image_std", [0.5] * 3)
    out.add_bool("clip.use_gelu", True)
    for tensor, shape in tensors(width):
        # Patches and positions stay in f32 (`conversion/gemma.py`, `tensor_force_quant`).
        half = len(shape) > 1 and "embd" not in tensor
        size = int(numpy.prod(shape)) * (2 if half else 4)
        out.add_tensor_info(tensor, shape, numpy.dtype(numpy.float16 if half else numpy.float32), size)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    file = out.fout[0]
    out.write_padding(file, file.tell())
    file.truncate(file.tell() + sum(gguf.GGUFWriter.ggml_pad(info.nbytes, out.data_alignment) for info in out.tensors[0].values()))
    out.close()

if __name__ == "__main__": write(*sys.argv[1:3])
