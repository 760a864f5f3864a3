"""The options of the command `minirft`: what each takes, what it may be, and what is said where it may not."""

import argparse
import contextlib

import torch

from .data import SEE
from .errors import InputError
from .machine import DIAL


def _device(name):
    usable = ["cpu"] + ["cuda"] * torch.cuda.is_available()  # not mps: nobody has tried it
    if name not in usable:
        raise argparse.ArgumentTypeError(f"{name!r} cannot be used here; use {' or '.join(usable)}")
    return name


def _number(kind, low, high):
    """What add_argument needs to read numbers from low to high."""
    def read(text):
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"{text!r}: give {kind.__name__} from {low} to {high}")
    return {"type": read, "metavar": "N"}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message}; see {self.prog} --help")


COUNT, RATE, FEW = _number(int, 1, 1_000_000), _number(float, 1e-9, 1e5), _number(int, 1, 1000) | {"default": 1}
FILE, FOLDER, ON = {"metavar": "FILE"}, {"metavar": "DIR"}, {"action": "store_true"}
SEED = "--seed", "of every random draw", _number(int, 0, 2**32 - 1) | {"default": 0}
BODY = "--body", "SMPL_NEUTRAL.pkl or .npz instead of the open body", FILE
DEVICE = "--device", "cpu or cuda", {"type": _device, "default": "cpu"}
MODEL = "--model", "a shipped name or a checkpoint folder", {"default": "mini-sft"}
OUT = "--out", "folder for the results", FOLDER | {"required": True}
ENCODER = "--encoder", "a file with ViTPose's or HMR2.0's weights, in place of BlazePose's landmarks", FILE
POSES = "--poses", "a pose file, or the word prior", FILE | {"required": True}
RESUME = "--resume", "go on with the run in --out", ON
MORE = {"action": "append", "default": [], "metavar": "NAME=VALUE"}


def build_parser(*commands):
    """The parser of the command line. commands: a function of the parsed arguments for each command, its name and, as help, its docstring."""
    named = {function.__name__: function for function in commands}
    parser = _Parser(prog="minirft", description="A sentence or a photograph in, a 3D human pose out.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name, *options):
        function = named[name]
        one = parsers.add_parser(name, help=function.__doc__, description=function.__doc__)
        one.set_defaults(command=function)
        for flag, text, settings in options:
            default = f" (default {settings['default']})" if settings.get("default") not in (None, []) else ""
            one.add_argument(flag, help=text + default, **settings)

    _add_answering(add), _add_learning(add), _add_data(add)
    add("doctor")
    return parser


def _add_answering(add):
    add("demo", ("--out", "folder for the results", FOLDER | {"default": "demo"}),
        ("--steps", "of HyGRPO", COUNT | {"default": 75}), SEED, DEVICE)
    add("generate", ("sentence", "what the body does, or with --image a question about it", {"nargs": "*"}),
        ("--image", "a photograph (jpg, png) whose largest person is posed, in the camera's frame", FILE),
        ("--prompts", "a text file, one sentence a line", FILE),
        ("--model", "a shipped name or a checkpoint folder (default mini-rft; with --image mini-sft, which knows how sure it is)", {}),
        BODY,
        ("-n", "poses a sentence: the mean pose, then N - 1 samples", FEW),
        ("--width", "the share of the std that the samples of -n or --best-of take: less makes them more like bodies, and more alike",
         _number(float, 0, 10) | {"default": 1.0}),
        ("--best-of", "draw so many poses, keep the -n that the reward models like best; with --image the first is put together of them, "
         "joint by joint, to fit the picture", _number(int, 1, 1000)),
        ("--refine", "move each pose to where the reward models like it best, near what bodies do; with --image to the landmarks seen", ON),
        ENCODER, SEED, OUT,
        ("--obj", "also write every pose as a mesh", ON), DEVICE)
    add("evaluate", MODEL, ("--poses", "a pose file, as `minirft data` writes it", FILE), SEED,
        ("--protocol", "in place of --poses: 3dpw-14, h36m-14, h36m-17, rpe-22, open-24, posescript-full or posescript-pool",
         {"metavar": "NAME"}), ("--data", "for --protocol: a folder with the datasets as they are published", FOLDER),
        ("--task", "text: sentences about the poses; image: photographs of them, made up", {"choices": ["text", "image"], "default": "text"}),
        ENCODER, ("--json", "write the report here", FILE), BODY, DEVICE,
        ("--limit", "poses asked for, drawn by seed (default 1000; of a protocol all)", COUNT))


def _add_learning(add):
    validation = "--validation", "a pose file of other subjects to watch progress on", FILE
    share = "--image-share", "share of questions about a picture", _number(float, 0, 1) | {"default": 0.0}
    pictures = "--album", "a folder that `minirft album` made, for half of these; the others are landmarks alone", FOLDER
    own = "--data", "a folder of published datasets or .jsonl files of your own, to learn from beside what is made up", FOLDER
    own_share = "--data-share", "share of questions that are from --data", _number(float, 0, 0.99) | {"default": 0.5}
    see = "--see", "what of a picture to look at", {"choices": SEE, "default": SEE[0]}
    vram = "--vram", "GiB of the card, for a model of the hub's: chooses what fits", {"type": int, "choices": list(DIAL)}
    add("sft", ("--base", "what to start from: mini (fresh weights), a shipped name, a checkpoint, or a vision-language model by its "
              "hub name or folder", {"default": "mini"}), vram, POSES, validation, OUT,
        ("--steps", "optimiser steps", COUNT | {"default": 6000}),
        ("--lr", "peak learning rate; by default 2e-3, for a model of the hub's 2e-4", RATE),
        ("--set", "any other number of train.SFTConfig, as in batch_size=48; repeatable", MORE), share, pictures, see, ENCODER,
        ("--teacher", "a model whose mean poses to imitate, such as mini-rft, in place of the poses that sentences were made of",
         {"default": ""}), own, own_share, RESUME, SEED, BODY, DEVICE)
    add("rft", MODEL, vram, POSES, validation, OUT, ("--steps", "batches of answers", COUNT | {"default": 150}),
        ("--algorithm", "hygrpo, or grpo: the words alone", {"choices": ["hygrpo", "grpo"], "default": "hygrpo"}),
        ("--poses-per-answer", "K; the paper draws 1", FEW | {"default": 64}),
        ("--questions", "a step", COUNT | {"default": 64, "dest": "prompts"}),
        ("--lr", "peak learning rate; by default 1e-3, for a model of the hub's 2e-4", RATE),
        ("--set", "any other number of train.RFTConfig, as in pose_beta=3e-3; repeatable", MORE), share, pictures, ENCODER,
        ("--reward", "NAME=WEIGHT of a reward of ours, or FILE.py:FUNCTION[=WEIGHT], one of yours; repeatable",
         MORE | {"metavar": "REWARD"}),
        ("--sentence-encoder", "for the text similarity: BAAI/bge-m3, a folder", {"metavar": "NAME"}), own, own_share,
        RESUME, SEED, BODY, DEVICE)


def _add_data(add):
    add("data", ("path", "a BVH, AMC or AMASS file, or a folder of them; or the word check and a folder of datasets", {"nargs": "+"}),
        ("--out", "the pose file to write (.npz)", FILE), ("--hz", "poses a second", RATE | {"default": 8.0}),
        ("--fps", "frames a second, instead of what the files say (AMC says nothing: 120)", RATE),
        ("--names", "JSON file: source joint name to SMPL joint name", FILE))
    add("album", POSES, ("--count", "pictures, some fifteen a second", COUNT | {"default": 12_000}), SEED,
        ("--out", "a folder; what is there already is not made again", FOLDER | {"required": True}), ENCODER)
    add("caption", ("poses", "a pose file", {}), SEED, BODY, ("-n", "sentences a pose", FEW),
        ("--limit", "only the first so many poses", COUNT))
