"""Samples: what a policy is asked, what it should answer, and where their poses and sentences come from."""

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import captions
from .body import DATA, flip_pose, to_matrix
from .errors import InputError
from .files import check_arrays, read_arrays
from .prior import PosePrior

POSE = "<POSE>"


@dataclass(frozen=True)
class Picture:
    """What a question shows. pixels: (S, S, 3) uint8, for the vision tower; features: (T, C), of the pose-aware encoder
    (vision.tokens); None for what is not to be looked at."""

    pixels: np.ndarray | None = None
    features: torch.Tensor | None = None


SEE = ("features", "pixels", "both")  # which parts of a picture a policy looks at


def to_picture(image, features, see):
    """What a policy that sees by `see` takes of a PIL image and the encoder's features of the person in it."""
    return Picture(None if see == "features" else np.asarray(image), None if see == "pixels" else features)


@dataclass(frozen=True)
class Sample:
    """One exchange. pose: (24, 3, 3) rotations or None where the answer holds none; task: "text", "image" or "talk".

    Poses of "text" are in the canonical frame, of "image" as the camera sees them."""

    question: str
    answer: str
    pose: torch.Tensor | None = None
    picture: Picture | None = None
    task: str = "text"
    caption: str = ""  # the part of the question that describes the pose
    statements: tuple = ()  # what the caption asserts: indices into captions.STATEMENTS
    key: str = ""  # its name in the dataset it is from
    joints: torch.Tensor | None = None  # (J, 3) metres, where a dataset measured them, NaN where not; protocols.py names the rows


@dataclass(frozen=True)
class PoseSet:
    """Poses (M, 24, 3, 3) with the clip, frame and subject each came from."""

    pose: torch.Tensor
    clip: np.ndarray
    frame: np.ndarray
    subject: np.ndarray

    def __len__(self):
        return len(self.pose)


def load_poses(path):
    """Read a pose file: npz with `pose` (M, 72) axis-angle and, if there, `clip`, `frame`, `subject`; or one that `minirft generate`
    wrote, whose sentences are then the clips.

    Raises InputError for a file that is missing, broken, empty, not finite, or holds Python objects.
    """
    arrays = check_arrays(path, _as_rows(path, read_arrays(path)), required={"pose": ("float", "M", 72)})
    count = len(arrays["pose"])
    if count == 0:
        raise InputError(f"{path}: holds no poses; `minirft data` makes a pose file from motion capture")
    fields = {}
    for name, default in (("clip", np.full(count, "")), ("frame", np.arange(count)), ("subject", np.full(count, ""))):
        fields[name] = np.atleast_1d(arrays.get(name, default))
        if len(fields[name]) != count:
            raise InputError(f"{path}: {name} has {len(fields[name])} rows for {count} poses")
    pose = torch.cat([to_matrix(part) for part in torch.from_numpy(arrays["pose"]).split(8192)])  # roma needs many times the memory
    if not pose.isfinite().all():
        raise InputError(f"{path}: 'pose' holds numbers too large to be angles; give axis-angles in radians")
    return PoseSet(pose, **fields)


DRAWN = 10_000


def _as_rows(path, arrays):
    """Of generate's poses (P, n, 72), NaN where an answer holds none, a row for each that is there; other arrays as they are."""
    pose, prompt = arrays.get("pose"), arrays.get("prompt")
    if pose is None or prompt is None or pose.dtype.kind != "f" or pose.ndim != 3 or len(pose) != len(prompt):
        return arrays
    if str(arrays.get("frame")) == "camera":
        raise InputError(f"{path}: holds poses as a camera saw them; a pose file's stand upright and without yaw")
    there = np.isfinite(pose).all(-1)
    which, frame = there.nonzero()
    return {"pose": pose[there], "clip": prompt[which], "frame": frame}


def poses_from(where, seed):
    """Poses to learn from (M, 24, 3, 3): a file's, or for "prior" DRAWN by the prior, and behind these the rare ones, since capture
    lacks whole families."""
    if where == "prior":
        poses = PosePrior.load().sample(DRAWN, generator=torch.Generator().manual_seed(seed))
    else:
        poses = load_poses(where).pose
    return torch.cat([poses, load_poses(DATA / "rare.npz").pose])


_EXCHANGE = json.loads((DATA / "exchange.json").read_text(encoding="utf-8"))
QUESTIONS = ("{}",) * 16 + tuple(_EXCHANGE["questions"])  # a person most often writes the sentence and nothing else
SHOWN = tuple(_EXCHANGE["shown"])  # about a picture
ANSWERS = tuple(_EXCHANGE["answers"])
# Questions that are answered by words alone: (ways to ask, ways to answer).
TALK = tuple((tuple(talk["asked"]), tuple(talk["answered"])) for talk in _EXCHANGE["talk"])


def talk_sample(rng):
    """A question about something else, with an answer of words only."""
    asked, answers = rng.choice(TALK)
    question = rng.choice(asked)
    if rng.random() < 0.5:  # how a question ends must not be what gives it away
        question = question.rstrip("?!.") + rng.choice(("", ".", "!", "?", " please", ", please."))
    return Sample(question, rng.choice(answers), task="talk")


def text_sample(pose, holds, rng, *, body, weights=None):
    """A pose, a fresh sentence that is true of it, and an answer that shows it.

    pose: (24, 3, 3); holds: (S,) bool, which of captions.STATEMENTS hold; weights: captions.weights_for(how common each is).
    """
    caption = captions.describe(holds, rng, weights=weights)
    pose, statements = to_the_right(caption, pose, body)
    question = rng.choice(QUESTIONS).format(caption.text)
    return Sample(question, rng.choice(ANSWERS), pose, caption=caption.text, statements=statements)


def image_sample(pose, picture, rng):
    """A question about a picture and an answer that shows the pose in it, (24, 3, 3), as the camera sees it."""
    return Sample(rng.choice(SHOWN), rng.choice(ANSWERS), pose, picture=picture, task="image")


def to_the_right(caption, pose, body):
    """A sentence that names no side ("a soldier salutes") means the right one: its pose and statements, mirrored if they
    are of the left. Otherwise such a sentence would have two answers, and a mean pose between them that is neither."""
    sided = [captions.STATEMENTS[i].name for i in caption.statements if captions.MIRROR[i] not in caption.statements]
    if not sided or re.search("left|right", caption.text.lower()):
        return pose, caption.statements
    mirrored, statements = flip_pose(pose), tuple(sorted(captions.MIRROR[i] for i in caption.statements))
    of_the_left = all(re.search("left|right", name)[0] == "left" for name in sided)
    # No body is quite symmetric: what held by a hair's breadth may not hold of the mirror image.
    if of_the_left and captions.satisfied(statements, body.joints(mirrored)).all():
        return mirrored, statements
    return pose, caption.statements


def known_words():
    """Every lower-case word that occurs in training questions: the mini policy has met no other."""
    asked = " ".join(QUESTIONS + SHOWN + tuple(q for questions, _ in TALK for q in questions)).replace("{}", " ")
    return captions.vocabulary() | frozenset(words(asked))


def words(sentence):
    """The lower-case words of a sentence, punctuation and digits apart.

    >>> words("Don't move: T-pose, both arms UP!")
    ["don't", 'move', 't', 'pose', 'both', 'arms', 'up']
    """
    letters = "".join(c if c.isalpha() or c == "'" else " " for c in sentence.lower().replace("\u2019", "'"))
    return [w.strip("'") for w in letters.split() if w.strip("'")]


def read_prompts(sentence=None, path=None):
    """The sentences to pose: one given directly, or a file with one a line. Empty ones are an error."""
    if path is None:
        lines = [sentence or ""]
    else:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")  # Windows' editors put a mark before the text
            lines = [line for line in text.splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error})") from None
    if not lines or not all(line.strip() for line in lines):
        raise InputError("there is no sentence to pose; give one, or --prompts FILE with one a line")
    if any("\ud800" <= c <= "\udfff" for line in lines for c in line):  # how Python keeps an argument's stray bytes
        raise InputError(f"{lines[0]!r} holds bytes that are not UTF-8 text; give plain text")
    return [" ".join(line.split()) for line in lines]


def check_words(sentences):
    """Warn of words the mini policy has never met; raise InputError for a sentence in which it knows none."""
    known = known_words()
    for sentence in sentences:
        said = words(sentence)
        strange = [w for w in dict.fromkeys(said) if w not in known]
        if len(strange) == len(set(said)):
            raise InputError(f"no word of {sentence!r} occurs in the mini policy's training; describe a body's pose in "
                             "plain English, such as 'arms raised, left knee bent', or ask --model smol-sft")
        if strange:
            warnings.warn(f"never met in training: {', '.join(strange)} (in {sentence!r}); --model smol-sft may know more", stacklevel=2)


def grow(poses, *, count, generator):
    """Mirror images and bodies put together from two poses: one's legs and pelvis, the other's spine, arms and head.

    poses: (M, 24, 3, 3). Returns (count, 24, 3, 3), drawn at random. Words combine freely ("kneel and wave"), mocap
    does not: half of the draws are such pairs, half are real poses.
    """
    legs = [0, 1, 2, 4, 5, 7, 8, 10, 11]
    pick = torch.randint(len(poses), (2, count), generator=generator)
    mixed = poses[pick[0]].clone()
    swap = torch.rand(count, generator=generator) < 0.5
    upright = poses[pick][:, :, 0, 1, 1].gt(0.8).all(0)  # a lying body's legs under a standing one's arms mean nothing
    upper = [j for j in range(24) if j not in legs]
    both = (swap & upright).nonzero()[:, 0]
    mixed[both[:, None], upper] = poses[pick[1][both]][:, upper]
    mirrored = torch.rand(count, generator=generator) < 0.5
    mixed[mirrored] = flip_pose(mixed[mirrored])
    return mixed
