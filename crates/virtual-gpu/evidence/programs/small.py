"""small.py FOLDER NAME...: one small use of a library each, on random weights, each in a child of its own.

The libraries are imported once; a child starts before the card is used. Prints what PyTorch reserved, and the
child's time and host memory. FOLDER is for what the uses write.
"""
import os
import sys
import time
import traceback

import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM

MIB = 1 << 20


def qwen2(layers):
    config = Qwen2Config(
        hidden_size=896, intermediate_size=4864, num_hidden_layers=layers, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True)
    return Qwen2ForCausalLM(config).to(torch.bfloat16)


def tokens(rows, columns):
    return torch.randint(0, 1000, (rows, columns), device="cuda")


def generate(folder):
    model = qwen2(24).cuda().eval()
    out = model.generate(tokens(2, 100), max_new_tokens=32, do_sample=True, top_p=0.9, eos_token_id=None,
                         pad_token_id=0)
    return f"{out.shape[1] - 100} tokens, in the vocabulary: {int(out.max()) < 151936}"


def mixtral(folder):
    config = transformers.MixtralConfig(
        hidden_size=1024, intermediate_size=3584, num_hidden_layers=4, num_attention_heads=16,
        num_key_value_heads=4, num_local_experts=8, vocab_size=32000)
    model = transformers.MixtralForCausalLM(config).to(torch.bfloat16).cuda().eval()
    model.set_experts_implementation("eager")
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        model(tokens(1, 512), use_cache=True, logits_to_keep=1)
    return f"{(torch.cuda.max_memory_allocated() - weights) / MIB:.2f} MiB beyond the weights"


def accelerate(folder):
    from accelerate import dispatch_model, infer_auto_device_map
    model = qwen2(24).eval()
    model.tie_weights()
    places = infer_auto_device_map(model, max_memory={0: "600MiB", "cpu": "8GiB"},
                                   no_split_module_classes=["Qwen2DecoderLayer"])
    model = dispatch_model(model, places)
    out = model.generate(tokens(1, 20), max_new_tokens=3, eos_token_id=None, pad_token_id=0)
    there = sum(place == "cpu" for place in places.values())
    return f"{there} of {len(places)} parts on the CPU, {out.shape[1] - 20} tokens"


def peft(folder):
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(qwen2(8).cuda(), LoraConfig(r=16, target_modules=["q_proj", "v_proj"],
                                                       task_type="CAUSAL_LM"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for _ in range(3):
        batch = tokens(2, 256)
        model(input_ids=batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return "3 steps"


def sentence_transformers(folder):
    from sentence_transformers import SentenceTransformer, models
    path = os.path.join(folder, "bert")
    os.makedirs(path, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"word{n}" for n in range(1000)]
    with open(os.path.join(path, "vocab.txt"), "w") as file:
        file.write("\n".join(words))
    transformers.BertTokenizerFast(os.path.join(path, "vocab.txt")).save_pretrained(path)
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=384, num_hidden_layers=6,
                                     num_attention_heads=12, intermediate_size=1536)
    transformers.BertModel(config).save_pretrained(path)
    model = SentenceTransformer(modules=[models.Transformer(path, max_seq_length=256), models.Pooling(384)],
                                device="cuda")
    found = model.encode([f"word{n} word{n + 1}" for n in range(200)], batch_size=64, convert_to_tensor=True)
    return f"{tuple(found.shape)}, nearest {tuple(model.similarity(found[:5], found).topk(3).indices.shape)}"


def diffusers(folder):
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    half = dict(device="cuda", dtype=torch.float16)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).to(**half)
    decoder = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4).to(**half)
    scheduler = EulerDiscreteScheduler()
    scheduler.set_timesteps(4, device="cuda")
    image = torch.randn(2, 4, 64, 64, **half) * scheduler.init_noise_sigma
    text = torch.randn(2, 77, 768, **half)
    with torch.no_grad():
        for step in scheduler.timesteps:
            noise = unet(scheduler.scale_model_input(image, step), step, encoder_hidden_states=text).sample
            image = scheduler.step(noise, step, image).prev_sample
        image = decoder.decode(image).sample
    return f"an image {tuple(image.shape)}"


def whisper(folder):
    config = transformers.WhisperConfig(
        d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6, decoder_attention_heads=6,
        encoder_ffn_dim=1536, decoder_ffn_dim=1536)
    model = transformers.WhisperForConditionalGeneration(config).to("cuda", torch.float16).eval()
    sound = torch.randn(1, 80, 3000, device="cuda", dtype=torch.float16)
    out = model.generate(sound, max_new_tokens=20, min_new_tokens=20, do_sample=False)
    return f"{out.shape[1]} tokens"


def quantized(folder, **how):
    path = os.path.join(folder, "qwen2")
    if not os.path.exists(path):
        qwen2(4).save_pretrained(path)
    config = transformers.BitsAndBytesConfig(**how)
    model = transformers.AutoModelForCausalLM.from_pretrained(path, quantization_config=config,
                                                              device_map={"": 0})
    out = model.generate(tokens(1, 20), max_new_tokens=8, eos_token_id=None, pad_token_id=0)
    return f"{out.shape[1] - 20} tokens"


def nf4(folder):
    return quantized(folder, load_in_4bit=True, bnb_4bit_quant_type="nf4",
                     bnb_4bit_compute_dtype=torch.bfloat16)


def int8(folder):
    return quantized(folder, load_in_8bit=True)


def compiled(folder):
    model = qwen2(4).cuda().eval()
    with torch.no_grad():
        torch.compile(model.forward)(input_ids=tokens(1, 64))
    return "torch.compile, Inductor, Triton"


USES = {use.__name__: use for use in (generate, mixtral, accelerate, peft, sentence_transformers, diffusers, whisper,
                                      nf4, int8, compiled)}


def run(name, folder):
    try:
        said = USES[name](folder)
        torch.cuda.synchronize()
        reserved = torch.cuda.max_memory_reserved() / MIB
        print(f"{name}: {said}; reserved at most {reserved:.0f} MiB", flush=True)
        return 0
    except BaseException:
        traceback.print_exc()
        return 1


def main(folder, names):
    import atexit
    for name in names or USES:
        began = time.time()
        child = os.fork()
        if child == 0:
            code = run(name, folder)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(code)
        _, status, used = os.wait4(child, 0)
        seconds = used.ru_utime + used.ru_stime
        print(f"{name}: exit {os.waitstatus_to_exitcode(status)}, {time.time() - began:.1f} s, "
              f"{seconds:.1f} s of the CPU, {used.ru_maxrss // 1024} MiB of the host", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
