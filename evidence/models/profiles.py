"""Makes profiles of published models: `profiles/models/NAME.toml` from an index of the Hub and `vramplan profiles import`.

    cargo download llmfit-core                                   # or look into ~/.cargo/registry/src after a build
    python profiles.py index data/hf_models.json > index.csv     # what the index says of those in wanted.csv
    python profiles.py write PATH/TO/vramplan                    # profiles/models/*.toml; says what does not add up

The index states the numbers of a `config.json` and how many elements a repository's safetensors files hold. A model is
written only where the elements of its shape, tensor by tensor, are that number, but for what the Hub's files hold besides
(a head that is tied, tables of frequencies, layers that predict further tokens, a tower), to the last element. What the
index does not say stands in `wanted.csv`, with its source.
"""

import csv
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROFILES = HERE / "../../profiles/models"
INDEX = "llmfit-core 1.1.18, data/hf_models.json"
FIELDS = {
    "name": "hub",
    "architecture": "model_type",
    "num_hidden_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "moe_intermediate_size": "width",
    "shared_expert_intermediate_size": "shared_expert_intermediate_size",
    "num_experts": "num_experts",
    "active_experts": "num_experts_per_tok",
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "parameters_raw": "elements",
    "hf_downloads": "downloads",
}
TEXTS = ("hub", "model_type")


def rows(file):
    with open(HERE / file, newline="") as lines:
        return list(csv.DictReader(lines))


def index(path):
    """The rows of the index that are wanted, in their order."""
    known = {model["name"]: model for model in json.load(open(path))}
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(FIELDS.values())
    hubs = [hub for wanted in rows("wanted.csv") for hub in (wanted["hub"], keys_of(wanted).get("of"))]
    stated = {wanted["hub"] for wanted in rows("wanted.csv") if "num_hidden_layers" in wanted["keys"]}
    for hub in dict.fromkeys(hubs):
        model = known.get(hub)
        if model is None or not (model.get("num_hidden_layers") or hub in stated):
            continue
        out.writerow(["" if model.get(key) is None else model[key] for key in FIELDS])


def keys_of(wanted):
    return json.loads(wanted["keys"] or "{}")


def number(text):
    return int(text) if text else None


def config(model, keys):
    """A `config.json` of what the index says, and of `keys`, which win."""
    width, experts = number(model["width"]), number(model["num_experts"])
    made = {"model_type": model["model_type"]}
    left_out = (*TEXTS, "width", "elements", "downloads", "num_experts", "num_experts_per_tok")
    for key in FIELDS.values():
        if key not in left_out and model[key]:
            made[key] = number(model[key])
    if experts:
        used = number(model["num_experts_per_tok"])
        made |= {"num_experts": experts, "num_experts_per_tok": used, "moe_intermediate_size": width}
    if width:
        made["intermediate_size"] = width
    return {**made, **{key: value for key, value in keys.items() if key not in ("text_config", "vision_config")}}


def file_of(made, keys):
    """The `config.json`: the language model apart where something sees beside it."""
    if "text_config" in keys:
        text = {**made, **keys["text_config"]}
        text.setdefault("tie_word_embeddings", made.get("tie_word_embeddings", False))
        made = {"model_type": made["model_type"], "text_config": text}
    return {**made, **({"vision_config": keys["vision_config"]} if "vision_config" in keys else {})}


class Command:
    """What `vramplan` makes of a configuration."""

    def __init__(self, path, folder):
        self.path, self.folder = path, Path(folder)

    def run(self, *args):
        done = subprocess.run([self.path, *args, "--offline"], capture_output=True, text=True)
        if done.returncode:
            raise ValueError(done.stderr.strip().replace("\n", " "))
        return done.stdout

    def profile(self, name, made):
        """The profile of a `config.json`, its elements and those of its tower."""
        place, own = self.folder / "config" / name, self.folder / "own" / name / "models"
        for folder in (place, own):
            folder.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps(made))
        text = self.run("profiles", "import", str(place), "--name", name)
        (own / f"{name}.toml").write_text(text)
        shown = self.run("profiles", "show", name, "--profiles", str(own.parent))
        tower = re.search(r"and (\d+) of the vision", shown)
        elements = int(re.search(r"computed from the shape: (\d+)", shown)[1])
        return text, elements, int(tower[1]) if tower else 0


def predicting(command, name, made, elements):
    """Elements of a layer that predicts further tokens, as DeepSeek-V3 has it: one more layer, a projection of two states,
    three norms; embedding and head may be stored again."""
    deeper = {**made, "num_hidden_layers": made["num_hidden_layers"] + 1}
    _, more, _ = command.profile(f"{name}.deeper", deeper)
    hidden = made["hidden_size"]
    return more - elements + 2 * hidden * hidden + 3 * hidden


def explain(command, wanted, made, found, stored):
    """What the Hub's files hold besides the language model; nothing where the numbers differ otherwise."""
    _, elements, tower = found
    hidden, layers = made["hidden_size"], made["num_hidden_layers"]
    head_dim = made.get("head_dim") or hidden // made["num_attention_heads"]
    besides = {
        "": 0,
        "its tower": tower,
        "its head, which is tied": made["vocab_size"] * hidden if made.get("tie_word_embeddings") else 0,
        "its head, which is tied, and its tower": tower + made["vocab_size"] * hidden if made.get("tie_word_embeddings") else 0,
        "a table of frequencies of each layer": layers * (head_dim // 2),
        "a table of frequencies": head_dim // 2,
    }
    if made["model_type"] == "apertus":
        besides["less two constants of each layer's activation"] = -2 * layers
    if made["model_type"] == "gpt_neox":
        mask = made["max_position_embeddings"] ** 2
        besides["a mask and a table of frequencies of each layer"] = layers * (mask + head_dim // 8)
    if wanted["count"]:
        more, what = wanted["count"].split(maxsplit=1)
        besides[what if int(more) > 0 else f"less {what}"] = int(more)
    for what, more in besides.items():
        if elements + more == stored and (more or not what):
            return what
    if made["model_type"] in ("glm4_moe", "deepseek_v3", "glm4_moe_lite"):
        again = 2 * hidden * made["vocab_size"]
        if stored - elements - predicting(command, wanted["name"], made, elements) in (0, again):
            return "a layer that predicts further tokens"
    return None


def fit(command, wanted, model, keys):
    """The configuration whose elements are those of the Hub: tied or not is what the index does not say."""
    name = wanted["name"]
    if wanted["count"] == "estimated":
        made = config(model, {"tie_word_embeddings": False, **keys})
        return command.profile(name, file_of(made, keys)), None
    stored, off = int(model["elements"]), []
    for tied in [keys["tie_word_embeddings"]] if "tie_word_embeddings" in keys else [False, True]:
        made = config(model, {**keys, "tie_word_embeddings": tied})
        found = command.profile(name, file_of(made, keys))
        besides = explain(command, wanted, made, found, stored)
        if besides is not None:
            return found, besides
        off.append(stored - found[1])
    raise ValueError(f"{stored} elements, {' or '.join(f'{n:+}' for n in off)} from its shape")


def write(path):
    models = {model["hub"]: model for model in rows("index.csv")}
    with tempfile.TemporaryDirectory() as folder:
        command = Command(path, folder)
        for wanted in rows("wanted.csv"):
            keys = keys_of(wanted)
            try:
                made = alike(models, wanted, keys) if "like" in keys else fitted(command, models, wanted, keys)
            except ValueError as error:
                print(f"{wanted['hub']}: {str(error)[:300]}", file=sys.stderr)
                continue
            (PROFILES / f"{wanted['name']}.toml").write_text(made)


def fitted(command, models, wanted, keys):
    """The profile of a model whose numbers the index has."""
    stated = "num_hidden_layers" in keys and wanted["count"] == "estimated"
    if wanted["hub"] not in models and not stated:
        raise ValueError("not in the index")
    model = models.get(wanted["hub"]) or dict.fromkeys(FIELDS.values(), "") | {"model_type": keys["model_type"]}
    (text, elements, tower), besides = fit(command, wanted, model, keys)
    facts = []
    if besides is not None:
        said = "elements of the Hub's safetensors files"
        if besides:
            said += f", {besides}" if besides.startswith("less") else f", which hold {besides} too"
        facts.append(fact("parameters", elements, "modelled" if besides else "exact", said))
    if besides == "its tower":
        facts.append(fact("total_parameters", elements + tower, "exact", "elements of the Hub's safetensors files"))
    listed = f"{wanted['hub']} on the Hub, as {INDEX} lists it"
    return document(wanted, listed if wanted["hub"] in models else wanted["hub"], shape_of(text), facts)


def alike(models, wanted, keys):
    """The profile of a model that has another one's shape: `of` is the repository with as many elements."""
    shape = shape_of((PROFILES / f"{keys['like']}.toml").read_text())
    own, other = models.get(wanted["hub"]), models.get(keys.get("of"))
    source = f"the shape of {keys['like']}"
    if "of" in keys:
        if not own or not other or own["elements"] != other["elements"]:
            raise ValueError(f"not as many elements as {keys['of']}")
        source = f"{wanted['hub']} on the Hub, as {INDEX} lists it: as many elements as {keys['of']}, whose shape it has"
    if own and own["max_position_embeddings"]:
        shape = re.sub(r"context_len = \d+", f"context_len = {own['max_position_embeddings']}", shape)
    return document(wanted, source, shape, [])


def shape_of(text):
    """The tables of a profile that describe the model's shape."""
    return re.split(r"\n\[(?:total_)?parameters\]", text[text.index("[shape]"):])[0].strip()


def document(wanted, source, shape, facts):
    """A profile with its names and its source."""
    aliases = list(dict.fromkeys([wanted["hub"], *wanted["aliases"].split()]))
    note = f"; {wanted['note']}" if wanted["note"] else ""
    head = f"schema = 1\nname = {json.dumps(wanted['name'])}\naliases = {json.dumps(aliases)}\nsource = {json.dumps(source + note)}\n"
    return "\n".join([head, f"{shape}\n", *facts])


def fact(table, value, basis, source):
    return f"[{table}]\nvalue = {value}\nbasis = \"{basis}\"\nsource = \"{source}, as {INDEX} counts them\"\n"


if __name__ == "__main__":
    verbs = {"index": index, "write": write}
    if len(sys.argv) != 3 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    verbs[sys.argv[1]](sys.argv[2])
