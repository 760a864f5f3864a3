"""Vision-language models of transformers: loaded in four bits, and what differs between their families in one table.

A pose policy asks little of its backbone: where the language model is, what stands for a picture in a prompt, how the vision
tower takes it, and which positions tokens have. All else the families have in common. A picture is one square crop of a fixed
side, so that each is the same number of tokens.
"""

import contextlib
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import cached_file

from .data import POSE
from .errors import InputError, in_short

HERE = "\ue000"  # of no language: what no chat template changes


@dataclass(frozen=True)
class Family:
    """What differs. look(model, pixels): N pictures, as the image processor gives them, to (N, 1, marks, H), or more than one where
    later layers see something of them too. merge(config): so many patches in a row make a token. fixed: whether the vision tower
    takes one side only. text: what stands for a picture. language: the language model's name. settings(side): of the image
    processor."""

    look: Callable
    merge: Callable = lambda config: 1
    fixed: bool = True
    text: str = "{}"
    language: str = "language_model"
    settings: Callable = lambda side: {}


def _look(model, pixels):
    return torch.stack(list(model.model.get_image_features(pixels, return_dict=True).pooler_output))[:, None]


def _look_qwen(model, pixels):
    high = int(pixels.shape[1] ** 0.5)  # patches above each other; the tower wants those of all pictures in one row
    grid = torch.tensor([[1, high, high]], device=pixels.device).expand(len(pixels), 3)
    seen = model.model.get_image_features(pixels.flatten(0, 1), grid, return_dict=True)
    parts = [seen.pooler_output, *getattr(seen, "deepstack_features", [])]  # each in one piece or a picture a piece, by version
    parts = [part if torch.is_tensor(part) else torch.cat(list(part)) for part in parts]
    return torch.stack([part.unflatten(0, (len(pixels), -1)) for part in parts], 1)


QWEN = Family(_look_qwen, merge=lambda config: config.vision_config.spatial_merge_size, fixed=False)
FAMILIES = {
    "llava": Family(_look, settings=lambda side: {"do_center_crop": False}),
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "smolvlm": Family(_look, merge=lambda config: config.scale_factor,
                      text="<fake_token_around_image><global-img>{}<fake_token_around_image>", language="text_model",
                      settings=lambda side: {"do_image_splitting": False, "max_image_size": {"longest_edge": side}}),
}


class Backbone:
    """A vision-language model behind one interface. model: of transformers, one of FAMILIES; tokenizer: with <POSE>; images: its
    image processor; side: pixels of the crops it sees, where the model leaves that open."""

    def __init__(self, model, tokenizer, images, *, side=224):
        kind = model.config.model_type
        if kind not in FAMILIES:
            raise InputError(f"a model of type {kind!r} is not supported; these are: {', '.join(FAMILIES)}")
        self.model, self.tokenizer, self.images, self.family = model, tokenizer, images, FAMILIES[kind]
        vision = model.config.vision_config
        unit = vision.patch_size * self.family.merge(model.config)  # pixels a token spans
        self.side = vision.image_size if self.family.fixed else side // unit * unit
        self.marks = (self.side // unit) ** 2  # tokens a picture is
        self.mark = tokenizer.convert_ids_to_tokens(model.config.image_token_id)

    @property
    def language(self):
        """The language model, without the layer that makes logits."""
        return getattr(self.model.model, self.family.language)

    def prompt(self, question, *, pictured, others):
        """A question as the model's own chat has it, after a picture if it is `pictured`, and `others` more places for inputs,
        where <POSE> stands in for them."""
        said = (HERE + " ") * (others > 0) + question
        if self.lists:
            content = [{"type": "image"}] * pictured + [{"type": "text", "text": said}]
        else:
            content = self.mark * pictured + " " * (pictured and not others) + said
        text = self._chat(content)
        text = text.replace(self.mark, self.family.text.format(self.mark * self.marks), 1) if pictured else text
        return text.replace(HERE, POSE * others, 1) if others else text

    def _chat(self, content):
        asked = [{"role": "user", "content": content}]
        return self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)

    @functools.cached_property
    def lists(self):
        """Whether a message of this chat is a list of pictures and texts, not a string."""
        try:
            return self.mark in self._chat([{"type": "image"}, {"type": "text", "text": "?"}])
        except Exception:  # whatever a template that joins strings makes of a list
            return False

    def pixels(self, pictures):
        """Square crops, (S, S, 3) uint8, as the vision tower wants them: (N, ...)."""
        crops = [Image.fromarray(crop).resize((self.side, self.side), Image.Resampling.BICUBIC) for crop in pictures]
        settings = {"do_resize": False, "return_tensors": "pt"} | self.family.settings(self.side)
        made = [self.images(images=crop, **settings)["pixel_values"] for crop in crops]
        return torch.stack([one[0] if len(one) == 1 else one for one in made])

    def look(self, pixels):
        """What the vision tower makes of (N, ...): (N, 1, marks, H) for the language model, more of them for its layers."""
        return self.family.look(self.model, pixels)

    @property
    def frozen(self):
        """Whether nothing of the vision tower is trained, so that each picture need be looked at once only."""
        return not any(p.requires_grad for name, p in self.model.named_parameters() if f".{self.family.language}." not in name
                       and "lm_head" not in name)

    def positions(self, prompt, mask, pictured):
        """Where each of the tokens (N, L) stands, padding left out: (N, L), or (3, N, L) where time, row and column are told
        apart. pictured: (N, L) bool, the places of the picture's tokens."""
        if not hasattr(self.model.model, "get_rope_index"):
            return count_positions(mask)
        high = self.side // self.model.config.vision_config.patch_size
        grid = torch.tensor([[1, high, high]], device=prompt.device).expand(int(pictured.any(1).sum()), 3)
        return self.model.model.get_rope_index(prompt, mm_token_type_ids=pictured.int(), image_grid_thw=grid,
                                               attention_mask=mask.long())[0]

    def more(self, seen, places, *, behind=0):
        """What Qwen3-VL's first layers want to know of pictures beside their tokens; nothing for the others.

        seen: (n, 1 + layers, marks, H) of those of N prompts that show one; places: (N, L) bool; behind: tokens after a prompt."""
        if seen is None or seen.shape[1] == 1:
            return {}
        rows = seen[:, 1:].transpose(0, 1).flatten(1, 2)  # (layers, n * marks, H)
        return {"visual_pos_masks": nn.functional.pad(places, (0, behind)), "deepstack_visual_embeds": list(rows)}


def count_positions(mask):
    """Positions that count real tokens only, so that padding on the left changes nothing: (N, L)."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def load_backbone(name, *, four_bit=True, device="cpu"):
    """A model by its hub name, its folder or the word smol: it, its tokenizer with <POSE>, its image processor.

    four_bit: NF4 with double quantisation for the language model's layers, computing in bf16; else bf16 on cuda and
    fp32 on the CPU. Raises InputError where it cannot be had or is of no family that is known.
    """
    device = str(device)
    dtype = torch.bfloat16 if four_bit or device != "cpu" else torch.float32
    kept = ["lm_head", *(f"model.{part}" for part in ("visual", "vision_tower", "vision_model", "multi_modal_projector", "connector"))]
    bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=kept)
    if name == "smol":
        from .smol import fetch_smol

        name = fetch_smol()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        images = AutoImageProcessor.from_pretrained(name)
        model = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, device_map={"": device}, use_safetensors=True,
                                                            **({"quantization_config": bits} if four_bit else {}))
        tokenizer.chat_template = _processors_chat(name) or tokenizer.chat_template
        if tokenizer.chat_template is None:
            raise ValueError("it has no chat template")
    except (MemoryError, torch.OutOfMemoryError):  # the command says what to do
        raise
    except Exception as error:  # whatever the libraries raise of hubs, files and versions
        raise InputError(f"{name}: cannot be loaded as a vision-language model ({in_short(error)})") from None
    odd = [layer.in_features for layer in model.modules() if type(layer).__name__ == "Linear4bit" and layer.in_features % 64]
    if odd and device == "cpu":  # bitsandbytes 0.50 gives other weights back than it was given
        raise InputError(f"{name}: has layers of {odd[0]} inputs, no multiple of 64, which four bits on a CPU get wrong; load it without")
    for layer in model.modules():  # once it has answered, bitsandbytes would keep its weights in a form for CPUs without gradients
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    torch.backends.cuda.enable_cudnn_sdp(False)  # on an H100 its gradient of a padded row in bf16 was nan (cuDNN's of torch 2.11)
    add_pose(model, tokenizer)
    return model.requires_grad_(False), tokenizer, images


def _processors_chat(name):
    """The chat template in the older of the processor's files, which knows pictures where the tokenizer's own does not (Qwen2.5-VL's
    is of the language model alone); None where there is none or a newer file, which the tokenizer reads itself."""
    with contextlib.suppress(OSError):
        cached_file(name, "chat_template.jinja")
        return None
    with contextlib.suppress(OSError):
        return json.loads(Path(cached_file(name, "chat_template.json")).read_text())["chat_template"]
    return None


@torch.no_grad()
def add_pose(model, tokenizer):
    """Teach a tokenizer the token <POSE>, and give it a row of its own among the model's embeddings, in and out."""
    if POSE in tokenizer.get_vocab():
        return
    before = len(tokenizer)
    tokenizer.add_tokens([POSE], special_tokens=True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    row = tokenizer.convert_tokens_to_ids(POSE)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.weight[row] = layer.weight[:before].mean(0)  # between all words, as good a start as any
