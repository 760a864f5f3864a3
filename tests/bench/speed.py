"""How long is a step of HyGRPO, what of it is sampling, rewards and loss, how much memory, and how long is TRL's GRPOTrainer's?

    python tests/bench/speed.py --peer --json FILE                           # the small one, minutes on two cores; pip install trl
    python tests/bench/speed.py --size qwen-3b --device cuda --json FILE     # real dimensions in four bits: a card, 8 GB of disk
    python tests/bench/speed.py --size llava-7b --device cuda --peer --questions 4 --json FILE

The models are of the real classes with random weights, which time and memory do not ask about. Real dimensions run as `--vram 12`
has it: gradients in checkpoints, four questions at once. TRL gets the same text model (LLaVA's, without pictures), prompts, answers
to each, answer length, LoRA, precision and a text reward that costs nothing; it knows no poses, so beside it none are asked for, and
neither side makes checkpoints or saves memory. It has one question of real dimensions at once, which takes it 27 GiB of a LLaVA-7B
(a row an answer); of ours, which reads a prompt once, `--at-once` says how many: compare where the memory is alike. The first step
of each is left out, of the others the middle one is told.
"""

import argparse
import gc
import itertools
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from alignment import made_by
from transformers import (AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, CLIPVisionConfig, LlamaConfig,
                          LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration, Qwen2_5_VLConfig, SmolVLMConfig)

from minirft import policy as policies
from minirft import train
from minirft.body import DATA, load_body
from minirft.critics import Critics, give_rewards, rft_loss, weigh
from minirft.data import Sample, words
from minirft.files import write_json
from minirft.head import PoseHead
from minirft.machine import DIAL
from minirft.policy import LORA_LAYERS, PosePolicy
from minirft.runs import make_optimizer

PROMPT, ANSWER, RANK = 512, 32, 16  # tokens, tokens, LoRA's
QWEN_EYES = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "fullatt_block_indexes": [7, 15, 23, 31]}
SIZES = {  # dimensions of the text model, and of the vision tower: of what is on the hub
    "qwen-3b": ("qwen2_5_vl", {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
                               "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}, QWEN_EYES),
    "qwen-7b": ("qwen2_5_vl", {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
                               "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False}, QWEN_EYES),
    "llava-7b": ("llava", {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
                           "vocab_size": 32064, "tie_word_embeddings": False},
                 {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336,
                  "patch_size": 14, "projection_dim": 768}),
    "smolvlm-2b": ("smolvlm", {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
                               "vocab_size": 49280, "tie_word_embeddings": False},
                   {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 378,
                    "patch_size": 14}),
    # To try the path of the others where there is no card.
    "tiny": ("qwen2_5_vl", {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                            "vocab_size": 4096, "tie_word_embeddings": True},
             QWEN_EYES | {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "fullatt_block_indexes": [1]}),
}
SMALL = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8, "max_position_embeddings": 1024}


def small(tokenizer, *, causal=False):
    """A text model of 30 million parameters, in LLaVA or by itself; the same weights either way."""
    text = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **SMALL)
    eyes = CLIPVisionConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1, image_size=28, patch_size=14)
    torch.manual_seed(0)
    whole = LlavaForConditionalGeneration(LlavaConfig(vision_config=eyes, text_config=text, tie_word_embeddings=True,
                                                      image_token_index=tokenizer.convert_tokens_to_ids("<image>")))
    if not causal:
        return whole
    alone = LlamaForCausalLM(text)
    alone.model.load_state_dict(whole.model.language_model.state_dict())
    return alone


def alone(policy):
    """The text model of a LLaVA that has no adapter yet, in whatever precision, for those who know no pictures."""
    whole = policy.model
    with torch.device("meta"):
        text = LlamaForCausalLM(whole.config.text_config)
    text.model, text.lm_head = whole.model.language_model, whole.lm_head
    for name in ("is_loaded_in_4bit", "is_quantized", "hf_quantizer", "quantization_method"):
        setattr(text, name, getattr(whole, name))
    text.config.quantization_config = whole.config.quantization_config
    return text


def write(size, folder, device, *, filled=True):
    """A checkpoint of real dimensions in a folder, of random weights, or where memory alone is asked for of whatever is there."""
    kind, text, eyes = SIZES[size]
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizer")
    tokenizer.add_tokens(["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<fake_token_around_image>", "<global-img>"], special_tokens=True)
    ids, text = tokenizer.get_vocab(), text | {"max_position_embeddings": 4096}
    if kind == "llava":
        config = LlavaConfig(vision_config=CLIPVisionConfig(**eyes), text_config=LlamaConfig(**text), image_token_index=ids["<image>"],
                             tie_word_embeddings=text["tie_word_embeddings"])
    elif kind == "smolvlm":
        config = SmolVLMConfig(vision_config=eyes, text_config={"model_type": "llama"} | text, scale_factor=3, image_token_id=ids["<image>"],
                               tie_word_embeddings=text["tie_word_embeddings"])
    else:
        heads = text["hidden_size"] // text["num_attention_heads"] // 2
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [heads // 4, heads * 3 // 8, heads * 3 // 8]}
        config = Qwen2_5_VLConfig(vision_config=eyes | {"out_hidden_size": text["hidden_size"]}, text_config=text | {"rope_parameters": rope},
                                  image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
                                  vision_start_token_id=ids["<|vision_start|>"], tie_word_embeddings=text["tie_word_embeddings"])
    with torch.device(device if filled else "meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    (model if filled else model.to_empty(device=device)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images = {"llava": "CLIPImageProcessor", "smolvlm": "SmolVLMImageProcessor", "qwen2_5_vl": "Qwen2VLImageProcessor"}[kind]
    write_json(Path(folder) / "preprocessor_config.json", {"image_processor_type": images})


def questions(tokenizer, count, length):
    """Sentences of no meaning, each of about so many tokens."""
    known = sorted(words(" ".join((DATA / "prompts.txt").read_text().split())))
    rng = random.Random(0)
    found = []
    for _ in range(count):
        said = []
        while len(tokenizer(" ".join(said)).input_ids) < length:
            said += rng.choices(known, k=8)
        found.append(" ".join(said))
    return found


def ours(policy, asked, config, steps, *, posed):
    """Seconds of each part of each step: a list of {"sampling", "rewards", "loss", "whole"}."""
    body = load_body()
    critics, pose = Critics.load(body).to(policy.device), torch.eye(3).repeat(24, 1, 1)
    if not policy.adapters:
        policy.add_lora("rft", rank=RANK).eval()
    optimizer = make_optimizer([p for p in policy.parameters() if p.requires_grad], policy.device, lr=1e-5)
    samples = [Sample(q, "<POSE>", pose if posed else None, task="text" if posed else "talk", caption=q) for q in asked]
    times, take = [], policies._take
    for step in range(steps):
        spoken = itertools.cycle(range(ANSWER))  # a part of the answers after the other
        if posed:  # a random model would never say <POSE>
            policies._take = lambda *a: torch.full_like(take(*a), policy.pose_id) if next(spoken) == ANSWER // 2 else take(*a)
        marks = [time.perf_counter()]

        def mark():
            if policy.device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

        rollout = policy.sample(asked, group_size=config.group_size, poses_per_answer=config.poses_per_answer, max_tokens=ANSWER,
                                micro_batch=len(asked), generator=torch.Generator(policy.device).manual_seed(step))
        mark()
        batch = weigh(policy, rollout, *give_rewards(rollout, policy.decode(rollout), samples, critics), samples, config)
        mark()
        optimizer.zero_grad()
        for part in batch.parts(config.micro_batch, config.group_size):
            rft_loss(policy, part, config, prompts=len(asked))[0].backward()
        optimizer.step()
        mark()
        parts = (b - a for a, b in zip(marks, marks[1:]))
        times.append(dict(zip(("sampling", "rewards", "loss"), parts)) | {"whole": marks[-1] - marks[0]})
    policies._take = take
    return times


def theirs(model, tokenizer, asked, group_size, micro_batch, steps):
    """Seconds of each step of TRL's GRPOTrainer, micro_batch questions at once."""
    import pyarrow
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        times = []

        def on_step_begin(self, *arguments, **more):
            self.began = time.perf_counter()

        def on_step_end(self, *arguments, **more):
            self.times.append({"whole": time.perf_counter() - self.began})

    clock, table = Clock(), InMemoryTable(pyarrow.Table.from_pydict({"prompt": asked * steps}))
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(output_dir=folder, num_generations=group_size, per_device_train_batch_size=micro_batch * group_size,
                            gradient_accumulation_steps=len(asked) // micro_batch,
                            max_completion_length=ANSWER, max_steps=steps, beta=0.02, temperature=1.0, learning_rate=1e-5, report_to=[],
                            use_cpu=next(model.parameters()).device.type == "cpu", bf16=False, gradient_checkpointing=False, save_strategy="no",
                            logging_strategy="no", disable_tqdm=True)
        layers = LORA_LAYERS.rsplit("(", 1)[1].rstrip(")").split("|")
        trainer = GRPOTrainer(model, reward_funcs=lambda completions, **more: [float(len(c) % 7) for c in completions], args=config,
                              train_dataset=Dataset(table, fingerprint="asked"), processing_class=tokenizer,
                              peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=layers), callbacks=[clock])
        trainer.train()
    return clock.times


def middle(times):
    """The middle one of every part, the first step left out."""
    return {part: statistics.median(row[part] for row in times[1:]) for part in times[0]}


def table(report):
    """Markdown, a row a setting: seconds of a step, and of what in it."""
    lines = ["| | G | K | seconds a step | sampling | rewards | loss | peak GiB |", "|---" * 8 + "|"]
    for row in report["rows"]:
        parts = [f"{row['seconds'][part]:.2f}" if part in row["seconds"] else "" for part in ("whole", "sampling", "rewards", "loss")]
        memory = f"{row['peak_gib']:.1f}" if report["card"] else ""  # a process's peak says nothing of one setting
        setting = [row["name"], str(row["group_size"]), str(row["poses_per_answer"] or "words alone")]
        lines.append("| " + " | ".join([*setting, *parts, memory]) + " |")
    return "\n".join(lines) + (
        f"\n\n{report['size']} model, {report['questions']} questions of {report['prompt_tokens']} tokens, answers of "
        f"{report['answer_tokens']}; {report['card'] or report['machine']}, commit {report['commit']}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["small", *SIZES], default="small"), parser.add_argument("--device", default="cpu")
    parser.add_argument("--peer", action="store_true", help="TRL beside it: small, or a LLaVA")
    parser.add_argument("--questions", type=int, default=2), parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--groups", type=int, nargs="+", default=[8]), parser.add_argument("--poses", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--at-once", type=int, default=DIAL[12].micro_batch, help="questions in a part of ours, at real dimensions")
    parser.add_argument("--model", help="folder in which a model of real dimensions stays for the next time"), parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tokenizer, images = (kind.from_pretrained(DATA / "tokenizer") for kind in (AutoTokenizer, AutoImageProcessor))
    asked, rows = questions(tokenizer, arguments.questions, PROMPT), []
    on_card, real = arguments.device == "cuda", arguments.size != "small"
    at_once = arguments.at_once if real else arguments.questions

    def one(name, measure, **settings):
        if on_card:
            torch.cuda.reset_peak_memory_stats()
        times = measure()
        memory = torch.cuda.max_memory_allocated() if on_card else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rows.append({"name": name, **settings, "seconds": middle(times), "peak_gib": memory / 2**30})
        if on_card:
            rows[-1]["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
        print(name, settings, {k: round(v, 2) for k, v in rows[-1]["seconds"].items()}, f"{memory / 2**30:.2f} GiB", flush=True)
        if arguments.json:
            card = torch.cuda.get_device_name() if on_card else None
            about = {"size": arguments.size, "card": card, "prompt_tokens": PROMPT, "answer_tokens": ANSWER}
            write_json(arguments.json, about | {"questions": arguments.questions, "at_once": at_once, "rows": rows} | made_by())

    def fresh():
        gc.collect()
        if on_card:
            torch.cuda.empty_cache()
        if real:
            return PosePolicy.from_backbone(folder, device=arguments.device)
        return PosePolicy(small(tokenizer), tokenizer, PoseHead(SMALL["hidden_size"]), name="small", images=images).to(arguments.device)

    if arguments.peer and SIZES.get(arguments.size, ["llava"])[0] != "llava":
        parser.error("--peer goes with the small size, or a LLaVA")
    with tempfile.TemporaryDirectory() as folder:
        folder = arguments.model or folder
        if real and not Path(folder, "config.json").exists():
            write(arguments.size, folder, arguments.device)
        policy = fresh()
        if arguments.peer:
            policy.cache_gib = None
        elif real:
            policy.checkpoint_gradients()
        for group in arguments.groups:
            for poses in [None] * arguments.peer + arguments.poses:
                config = train.RFTConfig(group_size=group, poses_per_answer=poses or 1, micro_batch=at_once)
                one("minirft", lambda: ours(policy, asked, config, arguments.steps, posed=poses is not None), group_size=group,
                    poses_per_answer=poses)
        del policy
        for group in arguments.groups * arguments.peer:
            model = alone(fresh()) if real else small(tokenizer, causal=True)
            one("TRL", lambda: theirs(model, tokenizer, asked, group, 1 if real else len(asked), arguments.steps), group_size=group, poses_per_answer=None)
            del model


if __name__ == "__main__":
    main()
