"""The command line: `minirft demo | generate | sft | rft | evaluate | data | album | caption | doctor`."""

import contextlib
import json
import os
import random
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from . import captions, machine, mix, published
from .body import DATA, load_body
from .data import DRAWN, check_words, load_poses, poses_from, read_prompts
from .errors import InputError
from .files import save_npz, write_json
from .motion import read_folder, read_names
from .options import build_parser
from .photos import Eyes
from .render import pose_sheet
from .runs import check_free, with_settings
from .snapshots import exam_album, load_album, make_album

PRINTED = 60  # answers on the terminal
EXAM = 300  # poses that the demo, and training now and then, is examined with


def main(argv=None):
    """Run one command. Returns 0, or 2 after one line on stderr about something the user can mend."""
    with contextlib.suppress(AttributeError):  # a notebook's streams take every letter, a terminal's may not
        sys.stdout.reconfigure(errors="backslashreplace"), sys.stderr.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest: print(f"minirft: warning: {message}", file=sys.stderr)
        try:
            arguments = build_parser(demo, generate, sft, rft, evaluate, data, album, caption, doctor).parse_args(argv)
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
            vram = getattr(arguments, "vram", None)
            reason = f"out of memory; {machine.step_down(vram) if vram else 'ask for fewer sentences or samples at once'}"
        except KeyboardInterrupt:
            print("minirft: stopped", file=sys.stderr)
            return 130
    print("minirft: error:", " ".join(reason.split()), file=sys.stderr)
    return 2


def demo(arguments):
    """Sentences to poses, a few minutes of HyGRPO, the same sentences again, and what a judge says of it."""
    from . import train
    from .answer import answer_sentences
    from .critics import Critics
    from .evaluate import Instruments, compare, exam_samples, verdict
    from .policy import PosePolicy

    began, out, body, seed = time.time(), Path(arguments.out), load_body(), arguments.seed
    _check_writable(out)
    sentences = read_prompts(path=DATA / "prompts.txt")
    policy = PosePolicy.from_pretrained("mini-sft", device=arguments.device)
    unseen = poses_from("prior", seed + 1)  # no capture ships: "real" is what the prior draws
    tools = Instruments.load(body, unseen[:5000])
    exam = exam_samples(unseen[5000:], torch.arange(EXAM), body=body, seed=seed)
    before, first = verdict(policy, exam, tools), policy.generate(sentences, n=2, seed=seed)[0].cpu()
    with tempfile.TemporaryDirectory(dir=out) as folder:
        config = train.RFTConfig(steps=arguments.steps, seed=seed)
        train.rft(policy, poses_from("prior", seed), config, critics=Critics.load(body), out=folder)
        policy.save_pretrained(out / "model")
    after = verdict(policy, exam, tools)
    second, _ = answer_sentences(policy, sentences, body=body, out=out, seed=seed, n=2)
    pose_sheet(body, torch.cat([first, second], 1), sentences, path=out / "poses.png", views=("front right",),
               legend=f"Under each sentence the mean pose and a draw before HyGRPO, then the same after {arguments.steps} steps of it.")
    report = {"before": before, "after": after, "seconds": time.time() - began, "steps": arguments.steps, "seed": seed}
    write_json(out / "metrics.json", report)
    print(compare(before, after, EXAM))
    print(f"Wrote {out / 'poses.png'} (before and after {arguments.steps} steps), poses.npz, metrics.json, model.\n"
          f'Your own: minirft generate "kneel on one knee, arms out to the sides" --model {out / "model"} --out poses')


def generate(arguments):
    """Sentences, or the person in a photograph, to poses.npz, poses.png and, if asked for, meshes."""
    from .answer import answer_photo, answer_sentences, sheet_of_sentences, write_meshes
    from .policy import PosePolicy  # here and below, not above: transformers takes seconds to load

    photo, n, sentence = arguments.image, arguments.n, " ".join(arguments.sentence) if arguments.sentence else None
    if photo and arguments.prompts:
        raise InputError("--prompts FILE goes without --image; ask one question about a picture")
    if arguments.encoder and not photo:
        raise InputError("--encoder reads photographs; give one by --image FILE")
    if not photo and (sentence is None) == (arguments.prompts is None):
        raise InputError('give either a sentence, as in: minirft generate "arms up" --out poses, or --prompts FILE, or --image FILE')
    sentences = read_prompts(sentence, arguments.prompts) if not photo or sentence else [None]
    if arguments.best_of and arguments.best_of < n:
        raise InputError(f"--best-of {arguments.best_of} cannot give -n {n} poses; ask for at most as many as are drawn")
    body, out, model = load_body(arguments.body), Path(arguments.out), arguments.model or ("mini-sft" if photo else "mini-rft")
    policy = PosePolicy.from_pretrained(model, device=arguments.device)
    if policy.name == "mini" and sentences != [None]:
        check_words(sentences)
    for name in ("poses.npz", "poses.png"):
        _check_writable(out, file=out / name, reads=[photo])
    settings = {name: getattr(arguments, name) for name in ("n", "width", "best_of", "seed")}
    settings |= {"body": body, "out": out, "fit": arguments.refine}
    if photo:
        pose, answers, people = answer_photo(policy, photo, sentences[0], encoder=_encoder(arguments), **settings)
        if people > 1:
            print(f"{photo}: {people} people were found; this is the largest")
    else:
        pose, answers = answer_sentences(policy, sentences, **settings)
        rows, across = sheet_of_sentences(body, pose, sentences, out / "poses.png")
        if (rows, across) != pose.shape[:2]:
            print(f"poses.png shows {across} of {n} poses of {rows} of {len(sentences)} sentences; poses.npz has all")
    if arguments.obj:
        write_meshes(body, pose, out, upright=not photo)
    for sentence, said in list(zip(sentences, answers))[:PRINTED]:
        print(f"{sentence or photo}\n    {said[0]}")
    if arguments.best_of:
        chosen = f"one put together of their joints{f', and the {n - 1} nearest to what is seen' * (n > 1)}"  # if the mean pose is there
        print(f"Of {arguments.best_of} poses: {chosen if photo else f'for each sentence the {n} that the reward models like best'}.")
    print(f"Wrote {out / 'poses.npz'} and {out / 'poses.png'} ({body.name} body, model {model}).")


def sft(arguments):
    """Teach a fresh mini policy, or go on teaching a model."""
    from . import train
    from .policy import PosePolicy

    body, out = load_body(arguments.body), Path(arguments.out)
    if not arguments.resume:
        check_free(out)
    poses = poses_from(arguments.poses, arguments.seed)
    validation = load_poses(arguments.validation).pose if arguments.validation else None
    if arguments.base == "mini":
        policy = PosePolicy.mini(seed=arguments.seed)
    elif _is_backbone(arguments.base):
        arguments.vram = arguments.vram or 12
        policy = PosePolicy.from_backbone(arguments.base, side=machine.DIAL[arguments.vram].side, device=arguments.device,
                                          seed=arguments.seed)
    else:
        policy = PosePolicy.from_pretrained(arguments.base, device=arguments.device)
        arguments.vram = arguments.vram or (None if policy.raw is None else 12)
    encoder = _encoder(arguments)
    config = train.SFTConfig(steps=arguments.steps, seed=arguments.seed, lr=arguments.lr or (2e-3 if policy.raw is None else 2e-4),
                             image_share=arguments.image_share, see=arguments.see, teacher=arguments.teacher)
    if arguments.vram:
        setting = _turn_dial(arguments.vram, policy.checkpoint_gradients())
        config = replace(config, micro_batch=setting.group_size)  # HyGRPO has at least as many answers at once
    config = with_settings(config, arguments.set, but=vars(arguments))
    album = _album(arguments)
    if album:
        policy.face(album.tokens.shape[1:])
    own = _own(arguments, config.see if config.image_share else policy.sees, encoder)
    unseen = exam_album(body, validation, count=EXAM, encoder=encoder) if album and validation is not None else None
    train.sft(policy.to(arguments.device), poses, config, body=body, out=out, album=album, own=own, validation=validation,
              validation_album=unseen, resume=arguments.resume)
    print(f'Wrote {out / "last"}. Try: minirft generate "raise both arms" --model {out} --out poses')


def rft(arguments):
    """Align a model by reward: HyGRPO, or GRPO on its words alone."""
    from . import train
    from .critics import Critics, read_rewards
    from .evaluate import Instruments, evaluate_pictures, exam_samples, verdict
    from .policy import PosePolicy

    body, out, seed = load_body(arguments.body), Path(arguments.out), arguments.seed
    if not arguments.resume:
        check_free(out)
    weights, own = read_rewards(arguments.reward, train.RFTConfig().reward_weights)
    config = train.RFTConfig(steps=arguments.steps, seed=seed, algorithm=arguments.algorithm, prompts=arguments.prompts,
                             poses_per_answer=arguments.poses_per_answer, reward_weights=weights, image_share=arguments.image_share)
    album = _album(arguments)
    # Without a file: what the prior draws; the rare poses behind these are learnt from.
    unseen = load_poses(arguments.validation).pose if arguments.validation else poses_from("prior", seed + 1)[:DRAWN]
    tools = Instruments.load(body, unseen)
    pick = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(seed))[:EXAM]
    encoder = _encoder(arguments)
    pictures = exam_album(body, unseen, count=EXAM // 2, encoder=encoder) if album else None
    exam, shown = exam_samples(unseen, pick, body=body, seed=seed), read_prompts(path=DATA / "prompts.txt")[:6]

    def look(policy, step):
        pose_sheet(body, policy.generate(shown)[0].cpu(), shown, path=out / f"step_{step:05d}.png")
        metrics = verdict(policy, exam, tools)
        if pictures:
            seen = evaluate_pictures(policy, pictures, body=body, progress=False)
            metrics |= {f"image_{k}": seen[k] for k in ("mpjpe_mm", "pa_mpjpe_mm", "misfit")}
        return {f"val_{k}": v for k, v in metrics.items()}

    policy = PosePolicy.from_pretrained(arguments.model, device=arguments.device)
    lr = arguments.lr or (1e-3 if policy.raw is None else 2e-4)
    config = replace(config, lr=lr, adapter_lr=lr)
    arguments.vram = arguments.vram or (None if policy.raw is None else 12)
    if arguments.vram:
        setting = _turn_dial(arguments.vram, policy)
        config = replace(config, group_size=setting.group_size, micro_batch=setting.micro_batch)
    config = with_settings(config, arguments.set, but=vars(arguments))
    critics = Critics.load(body, encoder=arguments.sentence_encoder, own=own)
    train.rft(policy, poses_from(arguments.poses, seed), config, critics=critics, out=out, album=album, look=look,
              own=_own(arguments, policy.sees, encoder), resume=arguments.resume)
    print(f'Wrote {out / "last"}. Try: minirft generate "raise both arms" --model {out} --out poses')


def evaluate(arguments):
    """Measure a model on a pose file and write the report as JSON."""
    from . import evaluate as metrics
    from . import protocols
    from .policy import PosePolicy

    if (arguments.protocol is None) != (arguments.data is None) or (arguments.poses is None) == (arguments.data is None):
        raise InputError("give either --poses FILE, or --protocol NAME with --data DIR")
    if arguments.json:
        _check_writable(Path(arguments.json).parent, file=arguments.json, reads=[arguments.poses])
    poses, body, seed = arguments.poses and load_poses(arguments.poses), load_body(arguments.body), arguments.seed
    policy = PosePolicy.from_pretrained(arguments.model, device=arguments.device)
    if arguments.protocol:
        report = protocols.run(arguments.protocol, arguments.data, policy, body=body, seed=seed, limit=arguments.limit,
                               encoder=_encoder(arguments)) | {"model": arguments.model}
    elif arguments.task == "image":
        policy.must_see()
        album = exam_album(body, poses.pose, count=arguments.limit or 1000, seed=seed, encoder=_encoder(arguments))
        report = metrics.evaluate_pictures(policy, album, body=body, seed=seed, name=arguments.model)
    else:
        report = metrics.evaluate(policy, poses, body=body, seed=seed, limit=arguments.limit or 1000, name=arguments.model)
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.protocol:
        print("\n".join([*report["notes"], protocols.table(report)]))
    else:
        print(metrics.summary(report) if arguments.json else json.dumps(report, indent=2))


def data(arguments):
    """Motion capture (BVH, ASF/AMC, AMASS) to a pose file; `minirft data check DIR`: which of the field's datasets are there, and whole."""
    if arguments.path[0] == "check" and len(arguments.path) == 2:
        return published.check(arguments.path[1])
    if len(arguments.path) > 1 or not arguments.out:
        raise InputError("give one file or folder and --out poses.npz, or `minirft data check DIR`")
    names = read_names(arguments.names) if arguments.names else None
    _check_writable(Path(arguments.out).parent, file=arguments.out, reads=arguments.path)
    arrays, failed = read_folder(arguments.path[0], hz=arguments.hz, fps=arguments.fps, names=names)
    save_npz(arguments.out, **arrays)
    clips = len(set(zip(arrays["subject"], arrays["clip"])))
    print(f"Wrote {arguments.out}: {len(arrays['pose'])} poses of {clips} clips" +
          (f"; {len(failed)} files could not be read, named above." if failed else "."))


def album(arguments):
    """Photographs that were never taken, of bodies in given poses, and what the pose-aware encoder makes of them."""
    out = Path(arguments.out)
    _check_writable(out)
    make_album(load_body(), poses_from(arguments.poses, arguments.seed), out, count=arguments.count, seed=arguments.seed,
               part=min(arguments.count, 250), encoder=_encoder(arguments))
    print(f"Wrote {out}. To learn from it: minirft sft --base mini-sft --image-share 0.5 --album {out} --poses ... --out ...")


def caption(arguments):
    """Sentences that are true of poses."""
    poses, rng, body = load_poses(arguments.poses), random.Random(arguments.seed), load_body(arguments.body)
    true = (row for part in poses.pose[: arguments.limit].split(8192) for row in captions.holds(body.joints(part)))
    for clip, frame, row in zip(poses.clip, poses.frame, true):
        for _ in range(arguments.n):
            print(f"{clip}\t{frame}\t{captions.describe(row, rng).text}")


def doctor(arguments):
    """What this machine has, and which vision-language model fits on it."""
    print("\n".join(machine.report()))


def _is_backbone(name):
    """Whether a name or folder is a vision-language model that has not been a policy yet."""
    from .checkpoint import find_checkpoint

    hub = name == "smol" or name.count("/") == 1 and not Path(name).exists()
    return find_checkpoint(name) is None and (hub or (Path(name) / "config.json").is_file())


def _turn_dial(vram, policy):
    """The dial's setting, said aloud, and put to work on the policy."""
    setting = replace(machine.DIAL[vram], side=policy.backbone.side)
    print(f"--vram {vram}: {setting}")
    policy.cache_gib = setting.cache_gib
    if setting.checkpointing:
        policy.checkpoint_gradients()
    return setting


def _album(arguments):
    """The album to learn from, None where none is given."""
    if arguments.album and not arguments.image_share:
        raise InputError("--album is for questions about pictures; give their share too, as in --image-share 0.5")
    return load_album(arguments.album) if arguments.album else None


def _own(arguments, see, encoder):
    """The mix.Mix of --data, None where none is given; what it holds is said, and written beside the run."""
    if not arguments.data:
        return None
    samples, lines = mix.to_learn(arguments.data, see=see)
    print("\n".join(lines))
    out = Path(arguments.out) / "data.json"
    about = {"data": arguments.data, "share": arguments.data_share, "found": lines}
    before = published.read_json(out, dict) if arguments.resume and out.exists() else about
    if [before.get(name) for name in ("data", "share")] != [arguments.data, arguments.data_share]:
        raise InputError(f"{out}: the run learnt from {before.get('data')} with share {before.get('share')}; go on with that, or use "
                         "another --out")
    if not arguments.resume:  # check_free has seen that there is no run yet
        write_json(out, about)
    return mix.Mix(samples, arguments.data_share, Eyes(see, encoder))


def _encoder(arguments):
    """The pose-aware encoder that was asked for, None for BlazePose's landmarks."""
    if arguments.encoder is None:
        return None
    from .encoders import ViTEncoder

    return ViTEncoder(arguments.encoder)


def _check_writable(folder, *, file=None, reads=()):
    """Make the folder; a place that can't be written, a folder where the file should be, or a file that is read is told before the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror}); pass another place") from None
    if file and Path(file).is_dir():
        raise InputError(f"{file}: is a folder; pass the name of a file in it")
    if file and any(place and Path(place).resolve() == Path(file).resolve() for place in reads):
        raise InputError(f"{file}: would be overwritten by what is made of it; pass another name")


if __name__ == "__main__":
    sys.exit(main())
