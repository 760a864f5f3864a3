"""The command line: `minirft demo | generate | sft | evaluate | data | caption`."""

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from . import captions
from .body import DATA, InputError, load_body, to_axis_angle
from .data import check_words, load_poses, read_prompts
from .evaluate import evaluate as measure
from .files import save_npz, write_json
from .motion import read_folder, read_names
from .prior import PosePrior
from .render import pose_sheet, write_mesh

SHOWN = 60  # pictures on poses.png, and answers on the terminal


def main(argv=None):
    """Run one command. Returns 0, or 2 after one line on stderr about something the user can mend."""
    with contextlib.suppress(AttributeError):  # a notebook's streams take every letter, a terminal's may not
        sys.stdout.reconfigure(errors="backslashreplace"), sys.stderr.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest: print(f"minirft: warning: {message}", file=sys.stderr)
        try:
            arguments = _parser().parse_args(argv)
            arguments.command(arguments)
            sys.stdout.flush()  # a reader that went away is noticed here; at exit it would be a traceback
            return 0
        except InputError as error:
            reason = str(error)
        except BrokenPipeError:  # as with `minirft caption poses.npz | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:  # a disk that fills up or fails where nobody looked for it
            reason = f"{error.filename or 'a file'}: {error.strerror or error}; give a place with room that works"
        except (MemoryError, RuntimeError) as error:
            if "memory" not in f"{error!r}".lower():  # torch says so by a RuntimeError
                raise
            reason = "out of memory; ask for fewer sentences or samples at once"
        except KeyboardInterrupt:
            print("minirft: stopped", file=sys.stderr)
            return 130
    print("minirft: error:", " ".join(reason.split()), file=sys.stderr)
    return 2


def demo(arguments):
    """Sentences to pictures with the weights that ship."""
    _pose(read_prompts(path=DATA / "prompts.txt"), out=arguments.out, seed=arguments.seed, device=arguments.device)
    print('Your own: minirft generate "kneel on one knee, arms out to the sides" --out poses')


def generate(arguments):
    """Sentences to poses.npz, poses.png and, if asked for, meshes."""
    if (arguments.sentence is None) == (arguments.prompts is None):
        raise InputError('give either a sentence, as in: minirft generate "arms up" --out poses, or --prompts FILE')
    _pose(read_prompts(arguments.sentence, arguments.prompts), model=arguments.model, body=arguments.body,
          n=arguments.n, seed=arguments.seed, obj=arguments.obj, out=arguments.out, device=arguments.device)


def _pose(sentences, *, out, model="mini-sft", body=None, n=1, seed=0, obj=False, device="cpu"):
    """Answer each sentence with n poses; write poses.npz, poses.png and, if `obj`, a mesh of every pose."""
    from .policy import PosePolicy  # here and below, not above: transformers takes seconds to load

    body, policy, out = load_body(body), PosePolicy.from_pretrained(model, device=device), Path(out)
    if policy.name == "mini":
        check_words(sentences)
    _check_writable(out)
    size = max(1, 256 // n)  # sentences at once
    starts = tqdm(range(0, len(sentences), size), desc="generate", disable=len(sentences) <= size)
    parts = [policy.generate(sentences[i : i + size], n=n, seed=seed + i) for i in starts]
    pose, log_prob = (torch.cat([part[i] for part in parts]).cpu() for i in (0, 2))  # (P, n, 24, 3, 3), (P, n)
    answers = [said for part in parts for said in part[1]]
    there = ~pose.isnan().flatten(2).any(-1)
    axis_angle, joints = to_axis_angle(pose.nan_to_num()), body.joints(pose)
    axis_angle[~there], joints[~there] = torch.nan, torch.nan
    save_npz(out / "poses.npz", pose=axis_angle.numpy(), joints=joints.numpy(), answer=np.array(answers),
             frame=np.array("canonical"), log_prob=log_prob.numpy(), prompt=np.array(sentences))

    across = min(n, 8)
    shown = pose[: max(1, SHOWN // across), :across]
    pose_sheet(body, shown, sentences[: len(shown)], path=out / "poses.png")
    if shown.shape != pose.shape:
        print(f"poses.png shows {across} of {n} poses of {len(shown)} of {len(sentences)} sentences; poses.npz has all")
    for p, k in there.nonzero().tolist() if obj else ():
        write_mesh(out / f"pose_{p:03d}_{k:02d}.obj", body.vertices(pose[p, k]), body.faces)
    for sentence, said in list(zip(sentences, answers))[:SHOWN]:
        print(f"{sentence}\n    {said[0]}")
    print(f"Wrote {out / 'poses.npz'} and {out / 'poses.png'} ({body.name} body, model {model}).")


def sft(arguments):
    """Teach a fresh mini policy, or go on with a run."""
    from . import train
    from .policy import PosePolicy

    body, out = load_body(arguments.body), Path(arguments.out)
    if arguments.poses == "prior":
        poses = PosePrior.load().sample(10_000, generator=torch.Generator().manual_seed(arguments.seed))
    else:
        poses = load_poses(arguments.poses).pose
    poses = torch.cat([poses, load_poses(DATA / "rare.npz").pose])  # kneeling, lying ...: capture lacks whole families
    validation = load_poses(arguments.validation).pose if arguments.validation else None
    policy = PosePolicy.mini(seed=arguments.seed).to(arguments.device)
    config = train.SFTConfig(steps=arguments.steps, seed=arguments.seed)
    train.sft(policy, poses, config, body=body, out=out, validation=validation, resume=arguments.resume)
    print(f'Wrote {out / "last"}. Try: minirft generate "raise both arms" --model {out} --out poses')


def evaluate(arguments):
    """Measure a model on a pose file and write the report as JSON."""
    from .policy import PosePolicy

    if arguments.json:
        _check_writable(Path(arguments.json).parent, file=arguments.json)
    poses, body = load_poses(arguments.poses), load_body(arguments.body)
    policy = PosePolicy.from_pretrained(arguments.model, device=arguments.device)
    report = measure(policy, poses, body=body, seed=arguments.seed, limit=arguments.limit, name=arguments.model)
    if arguments.json:
        write_json(arguments.json, report)
    print(json.dumps(report, indent=2))


def data(arguments):
    """Motion capture files to a pose file."""
    names = read_names(arguments.names) if arguments.names else None
    _check_writable(Path(arguments.out).parent, file=arguments.out)
    arrays, failed = read_folder(arguments.path, hz=arguments.hz, fps=arguments.fps, names=names)
    save_npz(arguments.out, **arrays)
    clips = len(set(zip(arrays["subject"], arrays["clip"])))
    print(f"Wrote {arguments.out}: {len(arrays['pose'])} poses of {clips} clips" +
          (f"; {len(failed)} files could not be read, named above." if failed else "."))


def caption(arguments):
    """Sentences that are true of poses."""
    poses, rng = load_poses(arguments.poses), random.Random(arguments.seed)
    true = captions.holds(load_body(arguments.body).joints(poses.pose[: arguments.limit]))
    for clip, frame, row in zip(poses.clip, poses.frame, true):
        for _ in range(arguments.n):
            print(f"{clip}\t{frame}\t{captions.describe(row, rng).text}")


def _check_writable(folder, *, file=None):
    """Make the folder; a place that can't be written, or a folder where the file should be, is told before the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror}); pass another place") from None
    if file and Path(file).is_dir():
        raise InputError(f"{file}: is a folder; pass the name of a file in it")


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


def _parser():
    parser = _Parser(prog="minirft", description="A sentence in, a 3D human pose out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function, *options):
        one = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        one.set_defaults(command=function)
        for flag, text, settings in options:
            default = f" (default {settings['default']})" if "default" in settings else ""
            one.add_argument(flag, help=text + default, **settings)

    count, rate, file = _number(int, 1, 1_000_000), _number(float, 0.001, 1e5), {"metavar": "FILE"}
    few, folder, must = _number(int, 1, 1000) | {"default": 1}, {"metavar": "DIR"}, file | {"required": True}
    seed = "--seed", "of every random draw", _number(int, 0, 2**32 - 1) | {"default": 0}
    body = "--body", "SMPL_NEUTRAL.pkl or .npz instead of the open body", file
    device = "--device", "cpu or cuda", {"type": _device, "default": "cpu"}
    model = "--model", "a shipped name or a checkpoint folder", {"default": "mini-sft"}
    out = "--out", "folder for the results", folder | {"required": True}

    add(demo, ("--out", "folder for the results", folder | {"default": "demo"}), seed, device)
    add(generate, ("sentence", "what the body does", {"nargs": "?"}),
        ("--prompts", "a text file, one sentence a line", file), model, body,
        ("-n", "poses a sentence: the mean pose, then N - 1 samples", few), seed, out,
        ("--obj", "also write every pose as a mesh", {"action": "store_true"}), device)
    add(sft, ("--base", "the model to start from", {"choices": ["mini"], "default": "mini"}),
        ("--poses", "a pose file, or the word prior", must),
        ("--validation", "a pose file of other subjects to watch progress on", file), out,
        ("--steps", "optimiser steps", count | {"default": 6000}),
        ("--resume", "go on with the run in --out", {"action": "store_true"}), seed, body, device)
    add(evaluate, model, ("--poses", "a pose file, as `minirft data` writes it", must), seed,
        ("--json", "write the report here", file), body, device,
        ("--limit", "poses asked for, drawn by seed", count | {"default": 1000}))
    add(data, ("path", "a BVH or AMC file, or a folder of them", {}),
        ("--out", "the pose file to write (.npz)", must), ("--hz", "poses a second", rate | {"default": 8.0}),
        ("--fps", "frames a second, where the file does not say (AMC: 120)", rate),
        ("--names", "JSON file: source joint name to SMPL joint name", file))
    add(caption, ("poses", "a pose file", {}), seed, body, ("-n", "sentences a pose", few),
        ("--limit", "only the first so many poses", count))
    return parser


if __name__ == "__main__":
    sys.exit(main())
