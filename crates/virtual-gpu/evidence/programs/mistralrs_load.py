"""mistralrs_load.py FOLDER FILE.gguf CHAT_TEMPLATE.json: loads a model on the card, through mistral.rs (candle)."""
import sys

from mistralrs import Runner, Which

folder, name, template = sys.argv[1:]
runner = Runner(which=Which.GGUF(quantized_model_id=folder, quantized_filename=name, tok_model_id=None),
                chat_template=template)
print(runner)
