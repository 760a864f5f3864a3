"""Other pose-aware encoders than BlazePose's landmarks: ViTPose's transformer, as HMR2.0 trained it, from a file of yours.

An encoder is any function of a PIL image and the vision.Person in it that gives a picture's features (T, C), float32. HMR2.0's
(the paper's: ViT-H, 192 tokens of 1,280 numbers) may be had from its authors, under their terms; transformers runs it.
"""

import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import VitPoseBackbone, VitPoseBackboneConfig

from .errors import InputError, in_short
from .vision import crop_person

# ImageNet's, which these networks take off the colours and divide them by.
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
HEIGHT, WIDTH, PATCH = 256, 192, 16  # pixels
HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}  # of attention, by width: ViTPose-S, -B, -L, -H
# What ViTPose's authors call the parts of the network, and what transformers does.
PARTS = {"pos_embed": "embeddings.position_embeddings", "patch_embed.proj": "embeddings.patch_embeddings.projection",
         "blocks.": "encoder.layer.", "norm1": "layernorm_before", "norm2": "layernorm_after",
         "attn.proj": "attention.output.dense", "last_norm": "layernorm"}


class ViTEncoder:
    """ViTPose's transformer, frozen: (PIL image, Person) to the tokens of its last layer (192, C). path: a .safetensors, .pt or
    .ckpt file of weights named as ViTPose and HMR2.0 name them, with or without "backbone." before. Raises InputError."""

    def __init__(self, path):
        weights = _read(path)
        try:
            width, depth = weights["pos_embed"].shape[-1], 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("blocks."))
            config = VitPoseBackboneConfig(image_size=(HEIGHT, WIDTH), patch_size=(PATCH, PATCH), hidden_size=width,
                                           num_hidden_layers=depth, layer_norm_eps=1e-6,
                                           num_attention_heads=HEADS.get(width, max(1, width // 80)),
                                           mlp_ratio=weights["blocks.0.mlp.fc1.weight"].shape[0] // width, qkv_bias=True)
            self._network = VitPoseBackbone(config).eval().requires_grad_(False)
            self._network.load_state_dict(_renamed(weights))
        except Exception as error:  # whatever names and shapes of something else lead to
            raise InputError(f"{path}: no ViTPose backbone ({in_short(error)})") from None
        self.name, self.shape = Path(path).name, ((HEIGHT // PATCH) * (WIDTH // PATCH), width)

    @torch.no_grad()
    def __call__(self, image, person):
        square = np.asarray(crop_person(image, person, HEIGHT, across=HEIGHT / WIDTH), np.float32) / 255
        margin = (HEIGHT - WIDTH) // 2
        pixels = torch.from_numpy(((square - MEAN) / STD)[:, margin : HEIGHT - margin]).permute(2, 0, 1)[None]
        return self._network(pixels).feature_maps[-1][0]


def _read(path):
    """The weights in a file by name, "backbone." taken off; nothing that the file may hold besides is run."""
    try:
        if str(path).endswith(".safetensors"):
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = weights.get("state_dict", weights)
        inside = {name.removeprefix("backbone."): value for name, value in weights.items() if name.startswith("backbone.")}
        return inside or weights
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than weights, which is not run; where you trust it, save its state_dict alone with "
                         "safetensors.torch.save_file and pass that") from None
    except Exception as error:  # torch raises a dozen kinds on broken files
        raise InputError(f"{path}: cannot be read as weights ({in_short(error, 200) or type(error).__name__})") from None


def _renamed(weights):
    """ViTPose's names of weights to transformers'."""
    out = {}
    for name, value in weights.items():
        ours = name
        for theirs, part in PARTS.items():
            ours = ours.replace(theirs, part)
        if ".attn.qkv." in ours:
            for which, third in zip(("query", "key", "value"), value.chunk(3)):
                out[ours.replace("attn.qkv", f"attention.attention.{which}")] = third
        elif ours != name:  # else the network does not have it
            out[ours] = value
    return out
