"""The command line: `minirft demo | generate | sft | evaluate | data | caption`."""

import argparse
import os
import random
import sys
import warnings
from pathlib import Path

from .body import InputError

DEMO = (
    "Raise both arms straight up.", "A person doing a T-pose.", "Kneel on both knees.", "Squat down with your arms stretched forward.",
    "He sits as if on a chair.", "Stand on your left leg, right knee raised high.", "Her hands are on her hips.",
    "Bend forward and touch your toes.", "The man is waving with his right hand.", "Lunge forward with the left leg, arms out to the sides.",
    "Arms folded, standing upright.", "What is the capital of France?",
)


def main(argv=None):
    """Run one command; the exit code is 0, or 2 with one line on stderr for something the user can mend."""
    warnings.showwarning = lambda message, *rest: print(f"minirft: warning: {message}", file=sys.stderr)
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
        return 0
    except InputError as error:
        print(f"minirft: error: {error}", file=sys.stderr)
    except MemoryError:
        print("minirft: error: out of memory; ask for fewer sentences or samples at once", file=sys.stderr)
    except KeyboardInterrupt:
        print("minirft: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 2


def demo(arguments):
    """Sentences to pictures with the weights that ship."""
    arguments.model, arguments.prompts, arguments.sentence, arguments.body = "mini-sft", None, DEMO, None
    arguments.n, arguments.obj = 1, False
    generate(arguments)
    print("Your own: minirft generate \"kneel on one knee, arms out to the sides\" --out poses")


def generate(arguments):
    """Sentences to poses.npz, poses.png and, if asked for, meshes."""
    from .body import load_body
    from .data import check_words, read_prompts
    from .policy import PosePolicy
    from .render import pose_sheet, write_mesh

    if arguments.sentence is None and arguments.prompts is None:
        raise InputError('give a sentence, as in: minirft generate "arms up", or --prompts FILE')
    sentences = list(arguments.sentence) if isinstance(arguments.sentence, tuple) else \
        read_prompts(arguments.sentence, arguments.prompts)
    out = _out_folder(arguments.out)
    body = load_body(arguments.body)
    policy = PosePolicy.from_pretrained(arguments.model, device=arguments.device)
    if policy.name == "mini":
        check_words(sentences)
    pose, answers, log_prob = policy.generate(sentences, n=arguments.n, seed=arguments.seed)
    pose, log_prob = pose.cpu(), log_prob.cpu()
    joints = body.joints(pose)
    _save_poses(out / "poses.npz", pose, joints, answers, log_prob, sentences)
    shown = pose[:60] if arguments.n == 1 else pose[: max(1, 60 // arguments.n)]
    titles = sentences[: len(shown)]
    pose_sheet(body, shown[:, 0] if arguments.n == 1 else shown, titles, path=out / "poses.png")
    if len(shown) < len(sentences):
        print(f"poses.png shows the first {len(shown)} of {len(sentences)} sentences; poses.npz holds all")
    if arguments.obj:
        for p, n in [(p, n) for p in range(len(pose)) for n in range(arguments.n) if not pose[p, n].isnan().any()]:
            write_mesh(out / f"pose_{p:03d}_{n:02d}.obj", body.vertices(pose[p, n]), body.faces)
    for sentence, said in list(zip(sentences, answers))[:60]:
        print(f"{sentence}\n    {said[0]}")
    print(f"Wrote {out / 'poses.npz'} and {out / 'poses.png'} ({body.name} body, model {arguments.model}).")


def _save_poses(path, pose, joints, answers, log_prob, sentences):
    import numpy as np

    from .body import to_axis_angle
    from .files import save_npz

    missing = pose.isnan().flatten(2).any(-1)
    axis_angle = to_axis_angle(pose.nan_to_num())
    axis_angle[missing] = float("nan")
    save_npz(path, pose=axis_angle.numpy(), joints=joints.numpy(), frame=np.array("canonical"), answer=np.array(answers),
             log_prob=log_prob.numpy(), prompt=np.array(sentences))


def sft(arguments):
    """Teach a fresh mini policy, or go on with a run."""
    from .body import load_body
    from .data import load_poses
    from .policy import PosePolicy
    from .train import SFTConfig
    from .train import sft as train

    body = load_body(arguments.body)
    poses = _training_poses(arguments.poses, arguments.seed)
    validation = load_poses(arguments.validation).pose if arguments.validation else None
    policy = PosePolicy.mini(seed=arguments.seed).to(arguments.device)
    config = SFTConfig(steps=arguments.steps, seed=arguments.seed)
    out = _out_folder(arguments.out)
    train(policy, poses, config, body=body, out=out, validation=validation, resume=arguments.resume)
    print(f"Wrote {out / 'last'}. Try: minirft generate \"raise both arms\" --model {out} --out poses")


def _training_poses(source, seed):
    """Poses of a file, or drawn from the prior together with the rare ones that ship."""
    import torch

    from .body import DATA
    from .data import load_poses

    if source != "prior":
        return load_poses(source).pose
    from .prior import PosePrior

    drawn = PosePrior.load().sample(20_000, generator=torch.Generator().manual_seed(seed))
    return torch.cat([drawn, load_poses(DATA / "rare.npz").pose])


def evaluate(arguments):
    """Measure a model on a pose file and write the report as JSON."""
    import json

    from .body import load_body
    from .data import load_poses
    from .evaluate import evaluate as measure
    from .files import write_json
    from .policy import PosePolicy

    poses, body = load_poses(arguments.poses), load_body(arguments.body)
    policy = PosePolicy.from_pretrained(arguments.model, device=arguments.device)
    report = measure(policy, poses, body=body, seed=arguments.seed, limit=arguments.limit, name=arguments.model)
    if arguments.json:
        write_json(arguments.json, report)
    print(json.dumps(report, indent=2))


def data(arguments):
    """Motion capture files to a pose file."""
    from .files import save_npz
    from .motion import read_folder, read_names

    names = read_names(arguments.names) if arguments.names else None
    arrays, failed = read_folder(arguments.path, hz=arguments.hz, fps=arguments.fps, names=names)
    save_npz(arguments.out, **arrays)
    clips = len(set(zip(arrays["subject"], arrays["clip"])))
    print(f"Wrote {arguments.out}: {len(arrays['pose'])} poses of {clips} clips" +
          (f"; {len(failed)} files could not be read, named above." if failed else "."))


def caption(arguments):
    """Sentences that are true of poses."""
    from . import captions
    from .body import load_body
    from .data import load_poses

    poses = load_poses(arguments.poses)
    true = captions.holds(load_body(arguments.body).joints(poses.pose))
    rng = random.Random(arguments.seed)
    for clip, frame, row in list(zip(poses.clip, poses.frame, true))[: arguments.limit]:
        for _ in range(arguments.n):
            print(f"{clip}\t{frame}\t{captions.describe(row, rng).text}")


def _out_folder(path):
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror}); pass another --out") from None
    return path


def _device(name):
    import torch

    if name == "mps":
        raise argparse.ArgumentTypeError("mps is not supported (untested there); use cpu or cuda")
    if name not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"{name!r}: use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("torch sees no cuda device here; use cpu")
    return name


def _positive(kind):
    def parse(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
        return value

    parse.__name__ = kind.__name__
    return parse


def _parser():
    parser = argparse.ArgumentParser(prog="minirft", description="A sentence in, a 3D human pose out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function, *options):
        one = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        one.set_defaults(command=function)
        for flags, settings in options:
            one.add_argument(*flags, **settings)

    count, number = _positive(int), _positive(float)
    seed = (["--seed"], {"type": int, "default": 0, "help": "of every random draw (default 0)"})
    body = (["--body"], {"help": "SMPL_NEUTRAL.pkl or .npz instead of the open body"})
    device = (["--device"], {"type": _device, "default": "cpu", "help": "cpu (default) or cuda"})
    model = (["--model"], {"default": "mini-sft", "help": "a shipped name or a checkpoint folder (default mini-sft)"})
    poses = (["--poses"], {"required": True, "help": "a pose file, as `minirft data` writes it"})
    out = (["--out"], {"required": True, "help": "folder for the results"})

    add(demo, (["--out"], {"default": "demo", "help": "folder for the results (default demo)"}), seed, device)
    add(generate, (["sentence"], {"nargs": "?", "help": "what the body does"}),
        (["--prompts"], {"help": "a text file, one sentence a line"}), model, body,
        (["-n"], {"type": count, "default": 1, "help": "poses a sentence: the mean pose, then n - 1 samples"}), seed, out,
        (["--obj"], {"action": "store_true", "help": "also write every pose as a mesh"}), device)
    add(sft, (["--base"], {"choices": ["mini"], "default": "mini", "help": "the model to start from"}),
        (["--poses"], {"required": True, "help": "a pose file, or `prior`"}),
        (["--validation"], {"help": "a pose file of other subjects to watch progress on"}), out,
        (["--steps"], {"type": count, "default": 6000, "help": "optimiser steps (default 6000)"}),
        (["--resume"], {"action": "store_true", "help": "go on with the run in --out"}), seed, body, device)
    add(evaluate, model, poses, seed, (["--json"], {"help": "write the report here"}),
        (["--limit"], {"type": count, "default": 1000, "help": "poses asked for, drawn by seed (default 1000)"}), body, device)
    add(data, (["path"], {"help": "a BVH or AMC file, or a folder of them"}),
        (["--out"], {"required": True, "help": "the pose file to write (.npz)"}),
        (["--hz"], {"type": number, "default": 8.0, "help": "poses a second (default 8)"}),
        (["--fps"], {"type": number, "help": "frames a second, where the file does not say (AMC: 120)"}),
        (["--names"], {"help": "JSON file: source joint name to SMPL joint name"}))
    add(caption, (["poses"], {"help": "a pose file"}), seed, body,
        (["-n"], {"type": count, "default": 1, "help": "sentences a pose"}),
        (["--limit"], {"type": count, "help": "only the first so many poses"}))
    return parser


if __name__ == "__main__":
    sys.exit(main())
