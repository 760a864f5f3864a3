"""An encoder from a file: ViTPose's transformer, held against one written out here."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import conv2d, gelu, layer_norm, linear

from minirft.encoders import MEAN, STD, ViTEncoder
from minirft.errors import InputError
from minirft.vision import Person, Region, crop_person

WIDTH, HEADS = 160, 2  # of ViTPose's 80 numbers a head


def weights(depth=2):
    """As HMR2.0's checkpoint names them, random."""
    torch.manual_seed(0)
    sizes = {"pos_embed": (1, 193, WIDTH), "patch_embed.proj.weight": (WIDTH, 3, 16, 16), "patch_embed.proj.bias": (WIDTH,),
             "last_norm.weight": (WIDTH,), "last_norm.bias": (WIDTH,)}
    for i in range(depth):
        for name, (out, inside) in {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH), "mlp.fc1": (4 * WIDTH, WIDTH),
                                    "mlp.fc2": (WIDTH, 4 * WIDTH)}.items():
            sizes |= {f"blocks.{i}.{name}.weight": (out, inside), f"blocks.{i}.{name}.bias": (out,)}
        for name in ("norm1", "norm2"):
            sizes |= {f"blocks.{i}.{name}.weight": (WIDTH,), f"blocks.{i}.{name}.bias": (WIDTH,)}
    return {name: 0.1 * torch.randn(size) for name, size in sizes.items()}


def plain(w, pixels, depth=2):
    """The network as its authors write it: (3, 256, 192) to (192, WIDTH)."""
    x = conv2d(pixels[None], w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=16, padding=2)
    x = x.flatten(2).mT + w["pos_embed"][:, 1:] + w["pos_embed"][:, :1]
    for i in range(depth):
        def part(name):
            return w[f"blocks.{i}.{name}.weight"], w[f"blocks.{i}.{name}.bias"]

        q, k, v = linear(layer_norm(x, (WIDTH,), *part("norm1"), eps=1e-6), *part("attn.qkv")).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        mixed = (q @ k.mT / (WIDTH // HEADS) ** 0.5).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), *part("attn.proj"))
        x = x + linear(gelu(linear(layer_norm(x, (WIDTH,), *part("norm2"), eps=1e-6), *part("mlp.fc1"))), *part("mlp.fc2"))
    return layer_norm(x, (WIDTH,), w["last_norm.weight"], w["last_norm.bias"], eps=1e-6)[0]


@pytest.fixture(scope="module")
def seen():
    """A picture and somebody in the middle of it."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8))
    points = np.random.default_rng(1).uniform((150, 80), (250, 220), (33, 2))
    return image, Person(points, np.zeros((33, 3)), np.ones(33), 1.0, Region.whole(image))


@pytest.mark.parametrize("form", ["lightning", "bare", "safetensors"])
def test_the_tokens_are_those_of_the_network_written_out(seen, form, tmp_path):
    w = weights()
    path = tmp_path / ("vit.safetensors" if form == "safetensors" else "vit.ckpt")
    if form == "safetensors":
        save_file(w, path)
    elif form == "bare":
        torch.save(w, path)
    else:
        torch.save({"state_dict": {f"backbone.{k}": v for k, v in w.items()} | {"smpl_head.x": torch.zeros(1)}}, path)
    encoder = ViTEncoder(path)
    square = (np.asarray(crop_person(*seen, 256, across=256 / 192), np.float32) / 255 - MEAN) / STD
    expected = plain(w, torch.from_numpy(square[:, 32:-32]).permute(2, 0, 1))
    assert encoder.shape == expected.shape == (192, WIDTH)
    torch.testing.assert_close(encoder(*seen), expected, rtol=1e-4, atol=1e-4)


class _Evil:
    def __reduce__(self):
        return (print, ("run!",))


def test_what_is_no_backbone_is_refused_and_nothing_in_it_is_run(tmp_path, capsys):
    torch.save({"state_dict": weights(), "hyper_parameters": _Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match="more than weights, which is not run.*safetensors"):
        ViTEncoder(tmp_path / "evil.ckpt")
    assert "run!" not in capsys.readouterr().out
    (tmp_path / "text.pt").write_text("no weights")
    lacking = weights()
    del lacking["blocks.1.attn.qkv.weight"]
    torch.save(lacking, tmp_path / "lacking.pt")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "other.pt").read_bytes()[:-100])
    (tmp_path / "stop.pt").write_bytes(b"\x80\x02.")  # a pickle that gives back what it never put down
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    torch.save({3: torch.zeros(2)}, tmp_path / "numbers.pt")
    torch.save(weights() | {"pos_embed": 3}, tmp_path / "shapeless.pt")
    torch.save(weights() | {"pos_embed": torch.zeros(1, 193, 0)}, tmp_path / "narrow.pt")
    for name in ("text.pt", "lacking.pt", "other.pt", "missing.pt", "text.safetensors", "missing.safetensors", "empty.pt", "cut.pt",
                 "stop.pt", "list.pt", "numbers.pt", "shapeless.pt", "narrow.pt"):
        with pytest.raises(InputError, match=name):
            ViTEncoder(tmp_path / name)


@pytest.mark.parametrize(("width", "heads"), [(384, 12), (768, 12), (1024, 16), (1280, 16)])
def test_each_size_of_vitpose_has_its_own_number_of_heads(monkeypatch, tmp_path, width, heads):
    monkeypatch.setitem(globals(), "WIDTH", width)
    save_file(weights(depth=1), tmp_path / "vit.safetensors")
    encoder = ViTEncoder(tmp_path / "vit.safetensors")
    assert encoder.shape == (192, width) and encoder._network.config.num_attention_heads == heads


def test_the_columns_that_are_cut_off_hold_nobodys_hands():
    """Of the square 192 of 256 columns are seen: a person with arms out must fit into these."""
    from PIL import Image

    from minirft.vision import Person, crop_person

    wide = np.zeros((400, 600, 3), np.uint8)
    wide[180:220, 100:110] = wide[180:220, 490:500] = 255  # hands
    person = Person(np.array([[100.0, 200.0], [500.0, 200.0], [300.0, 100.0], [300.0, 390.0]]), None, None, 1.0, None)
    crop = np.asarray(crop_person(Image.fromarray(wide), person, 256, across=256 / 192))
    assert (crop[:, :32] == 0).all() and (crop[:, -32:] == 0).all() and (crop.max((0, 2)) > 128).sum() > 4
