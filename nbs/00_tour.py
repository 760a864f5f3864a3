# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %% [markdown]
# # 00 · The tour
#
# **Can a sentence, or a photograph, become a body?** "Kneel on both knees" is four words. A body is 24 joints, each with a
# rotation of its own. Between them sits a small language model that reads the sentence, or looks at the picture, answers in
# words, and wherever it writes the special word `<POSE>`, a second output reads off a body. This notebook walks once round the
# house, five minutes to read; 01 to 09 open the rooms.
#
# **Runs in about 40 seconds on a laptop's CPU.** No graphics card, no registration. Only what finds people in photographs is
# fetched, from PyPI, the first time (36 MB); without a network the notebook does without.

# %%
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

# %% [markdown]
# And of the package:

# %%
import minirft
from minirft import PosePolicy, captions, fit, load_body
from minirft.answer import pose_person
from minirft.body import from_6d, to_axis_angle, to_matrix
from minirft.data import check_words
from minirft.errors import InputError
from minirft.evaluate import Instruments, ask, exam_samples, measure, mpjpe_mm
from minirft.prior import PosePrior
from minirft.render import draw_over, photo_sheet, pose_sheet
from minirft.snapshots import snapshot
from minirft.viewer import Turntable
from minirft.vision import BlazePose, Person, Region

# %matplotlib inline
warnings.simplefilter("ignore", FutureWarning)  # between two of the libraries, about their next versions
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# ## A sentence
#
# A policy (the model), a body to show its poses on, a sentence. What comes back is a pose, `(sentences, poses, 24, 3, 3)`, the
# answer in words, and how likely the two are together (of the pose it is a density, so its logarithm may well be above 0).

# %%
body, sentence = load_body(), "Kneel on your left knee, both arms stretched out to the sides."
policy = PosePolicy.from_pretrained("mini-sft")
pose, answers, log_prob = policy.generate([sentence])
print(f"{sum(p.numel() for p in policy.parameters()) / 1e6:.1f} million parameters")
print("answer:", answers[0][0])
print("pose:", tuple(pose.shape), " log-probability:", f"{log_prob.item():.0f} nats")
assert pose.shape == (1, 1, 24, 3, 3) and "<POSE>" in answers[0][0]

# %% [markdown]
# **Turn it.** In JupyterLab, drag the body with the mouse. (On a page that only displays notebooks, three views of it stand in.)

# %%
Turntable(body, pose[0], [sentence])

# %% [markdown]
# A few more, all at once:

# %%
sentences = ["A person doing a T-pose.", "Raise both arms straight up.", "He sits as if on a chair.", "Her hands are on her hips.",
             "Stand on your left leg, right knee raised high.", "Bend forward and touch your toes."]
poses, answers, _ = policy.generate(sentences)
pose_sheet(body, poses[:, 0], sentences, columns=3)

# %% [markdown]
# ## A photograph
#
# One whose true pose is known: our own renderer takes it. A pose that no model was trained on, from the prior (which has
# learnt what bodies do), in clothes, light and from a side drawn at random. Put your own in its place, `open_photo("me.jpg")`
# of `minirft.vision`; then nobody knows the truth.

# %%
unseen = PosePrior.load().sample(12 if FAST else 48, generator=torch.Generator().manual_seed(11))
shot = snapshot(body, unseen[2], np.random.default_rng(3), size=384, obstacles=[])
photo = Image.fromarray(shot.image)

# %% [markdown]
# BlazePose finds the person, and 33 points of it, in the picture and in space; these are what the policy sees. Where its files
# cannot be fetched, the body's true points stand in.

# %%
def true_person(shot):
    points, joints = fit.landmarks(body, shot.pose), body.joints(shot.pose)
    scale = (shot.pixels.std(0) / joints[:, :2].std(0)).mean()
    image = (scale * (points - joints.mean(0))[:, :2] + shot.pixels.mean(0)).numpy()
    middle = shot.pixels[0].numpy()  # the pelvis
    region = Region(middle, 2.5 * np.linalg.norm(image - middle, axis=1).max(), 0.0)
    return Person(image, points.numpy(), np.full(33, 0.9), 1.0, region)


try:
    person = BlazePose()(photo)[0]  # the largest in it
except InputError:
    person = true_person(shot)
    print("BlazePose cannot be fetched here; the body's true points take the place of what it would see")
print(person.image.shape, "points in the picture,", person.world.shape, "in space")

# %%
seen, said, _ = pose_person(policy, photo, person, body=body)  # (1, 1, 24, 3, 3), in the camera's frame
print(said[0][0])
off = mpjpe_mm(body.joints(seen[0, 0]), shot.joints)  # the pelvis on the pelvis
print(f"its joints lie {off:.0f} mm from where they are")
assert off < 200

# %%
scale, shift = fit.camera(fit.landmarks(body, seen[0, 0]), person)
over = draw_over(shot.image, body.vertices(seen[0, 0]), body.faces, scale=scale.item(), shift=shift[0].numpy())
photo_sheet(shot.image, [over], body.vertices(seen[0]), body.faces,
            "The photograph; the model's answer drawn over it; alone, as the camera sees it and from its left")

# %% [markdown]
# One picture says little; how a picture becomes tokens, how far off the answers are and how sure the model is of what it sees:
# [07_pictures](07_pictures.ipynb).
#
# ## What happens inside
#
# The model reads the question, then adds the likeliest next word, again and again, until it says that it is done. Where it
# wrote `<POSE>`, its hidden state goes into the pose head, which gives 132 numbers: 22 joints, 6 each. Two columns of a
# rotation matrix make the third ([01_body](01_body.ipynb)). All of `generate`, for one sentence, in fourteen lines:

# %%
@torch.no_grad()
def generate_by_hand(policy, question):
    """One sentence to the likeliest answer and its mean pose (24, 3, 3)."""
    prompt = policy.encode([question]).prompt
    ids, end = prompt, policy.tokenizer.eos_token_id
    while ids.shape[1] < prompt.shape[1] + 24:
        hidden = policy.model.model(input_ids=ids).last_hidden_state  # (1, L, H)
        word = policy.model.lm_head(hidden[:, -1]).argmax(-1, keepdim=True)
        ids = torch.cat([ids, word], dim=1)
        if word.item() == end:
            break
    place = (ids[0] == policy.pose_id).nonzero()[0, 0]
    mean, std = policy.head(hidden[0, place])
    pose = torch.cat([from_6d(mean.view(22, 6)), torch.eye(3).expand(2, 3, 3)])  # the hands stay as they are
    return policy.tokenizer.decode(ids[0, prompt.shape[1] : -1]).strip(), pose


# %%
made_by_hand = [generate_by_hand(policy, each) for each in sentences]
for (answer, ours), said, theirs in zip(made_by_hand, answers, poses):
    assert answer == said[0], (answer, said[0])
    torch.testing.assert_close(ours, theirs[0], atol=1e-3, rtol=0)
print("the same answers and poses as the package's, for", len(sentences), "sentences")
pose_sheet(body, torch.stack([pose for _, pose in made_by_hand[:4]]), [answer for answer, _ in made_by_hand[:4]], views=("front",))

# %% [markdown]
# ## One sentence, many bodies
#
# A sentence leaves most of a body open. So the head gives a mean *and* a spread, and one may draw
# ([03_head](03_head.ipynb)). Sample 0 is the mean of the likeliest answer; the others are draws of answer and pose. Where the
# words decide they should agree, where the words are silent they may differ. Look closely: some of them do not wave, and some
# no one could stand in. The spread has no notion of what belongs together in a body.

# %%
sentence = "The man is waving with his right hand."
many, said, _ = policy.generate([sentence], n=9)
print("\n".join(sorted(set(said[0]))))
spread = body.joints(many[0, 1:]).std(0).norm(dim=-1)  # (24,) metres
print(f"the draws' joints lie {spread.mean() * 1000:.0f} mm from their middle, on average")
assert spread.mean() > 0.01
pose_sheet(body, many, [f"{sentence} The mean, then eight draws."], views=("front",))

# %% [markdown]
# ## Is it true?
#
# Whether a picture looks right is for you to say. Whether it *satisfies* a sentence can be computed, for sentences whose
# meaning is known. `captions` makes such sentences from any pose ([02_words](02_words.ipynb)); take the poses that the model
# never saw, let them be described, and hold the model's answers against the descriptions. Of one:

# %%
samples = exam_samples(unseen, torch.arange(len(unseen)), body=body, seed=1)
made = ask(policy, samples, draws=8)  # (P, 9, 24, 3, 3), the mean pose first
longest = max(range(12), key=lambda i: len(samples[i].statements))
print(samples[longest].caption)
verdicts = captions.satisfied(samples[longest].statements, body.joints(made[longest, 0]))
for index, verdict in zip(samples[longest].statements, verdicts):
    print("  yes" if verdict else "  no ", captions.STATEMENTS[index].name)
assert captions.satisfied(samples[longest].statements, body.joints(samples[longest].pose)).all()  # of the pose described, all

# %%
pose_sheet(body, torch.stack([samples[longest].pose, made[longest, 0]]), ["the pose described", "the pose made of the description"])

# %% [markdown]
# The two differ, and may: a hundred bodies fit the words. What counts is the list above. For all of the sentences, how much of
# one is satisfied on average, by the mean pose, by a draw, and by the *best* of eight draws:

# %%
held = captions.holds(body.joints(made.nan_to_num()))  # (P, 9, S)
share = torch.stack([row[:, list(s.statements)].float().mean(-1) for row, s in zip(held, samples)])  # (P, 9)
bars = {"mean pose": share[:, 0].mean(), "a draw": share[:, 1:].mean(), "best of 8 draws": share[:, 1:].amax(1).mean()}
print({name: f"{value:.0%}" for name, value in bars.items()})
assert bars["best of 8 draws"] >= bars["a draw"]

# %% [markdown]
# The model was taught by imitation: *this* sentence, *that* pose. It learned the middle of what was shown
# ([05_sft](05_sft.ipynb)). Yet among eight draws there is often one that fits the words better than a draw usually does. Reward
# those, and the next draws come from there: that is reinforcement fine-tuning, of words and pose together
# ([06_hygrpo](06_hygrpo.ipynb), after Pose-RFT, [2508.07804](https://arxiv.org/abs/2508.07804)).
#
# ## Before and after HyGRPO
#
# `mini-rft` is `mini-sft` after such a training. The same sentences for both: the mean pose, then two draws.

# %%
policies = {"mini-sft": policy, "mini-rft": PosePolicy.from_pretrained("mini-rft")}
asked = ["Raise both arms straight up.", "The man is waving with his right hand.", "Kneel on both knees."]
shown = torch.cat([each.generate(asked, n=3, seed=1)[0] for each in policies.values()], 1)  # (3, 6, 24, 3, 3)
pose_sheet(body, shown, [f"{each} | mean and two draws of mini-sft, then of mini-rft" for each in asked], views=("front",), columns=1)

# %% [markdown]
# The verdict, over the sentences of the last section. *Satisfied*: of all their statements, none of which the
# training counted. *Judge*: how often another network, which no training ever asked, finds the sentence's pose among the first five of
# all ([04_rewards](04_rewards.ipynb) says why it must be another). *Plausible*: poses that the prior takes for a body's.

# %%
tools = Instruments.load(body, unseen)


def verdict(poses):
    found = measure(poses, samples, tools)
    return {"satisfied": 100 * found["satisfied"], "judge": found["judge"]["t2p"]["5"], "plausible": 100 * found["plausible"]}


answered = {"mini-sft": made, "mini-rft": ask(policies["mini-rft"], samples, draws=8)}
table = {(name, what): verdict(part) for name, each in answered.items() for what, part in
         (("mean pose", each[:, :1]), ("draws", each[:, 1:]))}
for (name, what), row in table.items():
    print(f"{name}, {what:10s}", ", ".join(f"{key} {value:.0f} %" for key, value in row.items()))
for key in ("satisfied", "plausible"):
    assert table["mini-rft", "draws"][key] > table["mini-sft", "draws"][key]

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 2.2), sharey=True)
for ax, what in zip(axes, ("draws", "mean pose")):
    for offset, name in ((-0.2, "mini-sft"), (0.2, "mini-rft")):
        bar = ax.barh([y + offset for y in range(3)], list(table[name, what].values()), height=0.36, label=name)
        ax.bar_label(bar, fmt="%.0f", fontsize=8)
    ax.set(title=what, xlim=(0, 110), xlabel="%")
axes[0].set_yticks(range(3), list(table["mini-sft", "draws"]))
axes[0].invert_yaxis()
axes[1].legend(bbox_to_anchor=(1.02, 1), loc="upper left")
plt.show()

# %% [markdown]
# The draws have come much nearer to the mean pose, which was good before. A few dozen sentences tell no more than that;
# the README has a thousand, from motion that no model saw, with the price that is paid for it.
#
# ## What breaks
#
# **Words it has never met.** The model is small and met only the words of its captions. It says so; when it knows none at all,
# there is nothing to go by, and that is an error. (`generate` on the command line does both for you; from Python, ask.)

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check_words(["Raise both arms like a flabbergasted octopus."])
print("warning:", caught[0].message)
try:
    check_words(["Zwei Burgen verschwinden."])
except InputError as error:
    print("error:", error)
assert "octopus" in str(caught[0].message)

# %% [markdown]
# **No body asked for.** Then the answer has no `<POSE>`, and the pose is NaN rather than something made up:

# %%
talk, said, _ = policy.generate(["What is the capital of France?"])
print(said[0][0])
assert talk.isnan().all() and "<POSE>" not in said[0][0]

# %% [markdown]
# **Sentences of a kind it has never met.** No caption says what a body does *not* do as a whole. Every word here is known, no
# warning comes, and still the sentence is not understood as you would. Look at what it makes of it:

# %%
odd = ["Raise both arms.", "Please don't raise both arms.", "Raise no arm."]
check_words(odd)  # no warning
odd_poses, _, _ = policy.generate(odd)
up = captions.satisfied(["left_arm_raised", "right_arm_raised"], body.joints(odd_poses[:, 0].nan_to_num()))
for each, (left, right) in zip(odd, up.tolist()):
    print(f"{each:32s} left arm raised: {left}, right: {right}")
pose_sheet(body, odd_poses[:, 0], odd, columns=3)

# %% [markdown]
# ## Exercise
#
# Left and right should be mirror images: what the model makes of "left hand on right knee" ought to be the mirror image of what
# it makes of "right hand on left knee". Measure by how many millimetres it misses. You need `captions.swap_sides(text)`,
# `flip_pose` and `body.joints`.

# %%
def asymmetry_mm(sentence):
    return float("nan")  # mend it


print(f"{asymmetry_mm('Raise your left arm and bend your right knee.'):.0f} mm")

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# from minirft.body import flip_pose
#
# def asymmetry_mm(sentence):
#     pose, _, _ = policy.generate([sentence, captions.swap_sides(sentence)])
#     one, other = body.joints(pose[0, 0]), body.joints(flip_pose(pose[1, 0]))
#     return (one - other).norm(dim=-1).mean().item() * 1000
# ```
#
# It is not 0: nothing forces the network to be symmetric, it only saw each pose and its mirror image equally often.
#
# </details>
#
# ## Take this with you
#
# **Poses, to other programs.** SMPL users pass a pose around as 72 numbers, axis-angle, 24 x 3, the pelvis first. That is what
# AMASS files hold, what `minirft generate` writes, and what smplx takes: `global_orient=pose[:, :3], body_pose=pose[:, 3:]`.

# %%
smpl = to_axis_angle(poses[:, 0]).numpy()  # (6, 72)
np.savez(place := Path(tempfile.mkdtemp()) / "poses.npz", pose=smpl.astype(np.float32))
back = to_matrix(torch.from_numpy(np.load(place)["pose"]))
torch.testing.assert_close(back, poses[:, 0], atol=1e-4, rtol=0)
print(smpl.shape, "the sitting one's left knee:", smpl[2, 12:15].round(2))

# %% [markdown]
# **The model, into your program.** Four imports:
#
# ```python
# from minirft import PosePolicy, load_body
# from minirft.answer import pose_person
# from minirft.vision import BlazePose, open_photo
# from minirft.render import pose_sheet, write_mesh
# ```
#
# **The method, without minirft.** Three files need torch alone: `head.py` (a Gaussian over rotations for any hidden state),
# `hygrpo.py` (advantages and loss), `rewards.py`. Copy them, keep the licence (Apache-2.0). Here they are in a folder by
# themselves, in a fresh interpreter:

# %%
code = """
import head, hygrpo, rewards, sys, torch
mean, std = head.PoseHead(64)(torch.zeros(2, 64))  # two hidden states of any model
poses = head.sample(mean, std, 4, torch.Generator().manual_seed(0))
print("poses, as 6D numbers:", tuple(poses.shape))
print("advantages:", hygrpo.group_advantages(torch.tensor([1.0, 0, 0, 1]), 4, scale="none").tolist())
print("format:", rewards.answer_format(["It is <POSE>."], wants_pose=[True]).tolist())
print("minirft loaded:", "minirft" in sys.modules)
"""
for name in ("head.py", "hygrpo.py", "rewards.py"):
    shutil.copy(Path(minirft.__file__).parent / name, place.parent)
alone = os.environ | {"PYTHONPATH": str(place.parent)}
said = subprocess.run([sys.executable, "-c", code], cwd=place.parent, env=alone, text=True, capture_output=True, check=True).stdout
shutil.rmtree(place.parent)
print(said)
assert "minirft loaded: False" in said

# %% [markdown]
# Into whose loop they go, and rewards of your own: the end of [06_hygrpo](06_hygrpo.ipynb). Next: [01_body](01_body.ipynb),
# a body from 24 rotations.

# %%
import transformers

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
