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
# # 00 · Can a sentence become a body?
#
# "Kneel on both knees" is four words. A body is 24 joints, each with a rotation of its own. Between them sits a small language
# model that reads the sentence, answers in words, and wherever it writes the special word `<POSE>`, a second output reads off a
# body. This notebook walks once round the house; 01 to 06 open the rooms.
#
# **Runs in about 40 seconds on a laptop's CPU.** No graphics card, no download, no registration.

# %%
import io
import os
import random
import sys
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

from minirft import PosePolicy, captions, load_body
from minirft.body import InputError, from_6d, to_axis_angle, to_matrix
from minirft.data import check_words
from minirft.prior import PosePrior
from minirft.render import pose_sheet

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# ## One sentence
#
# A policy (the model), a body to show its poses on, a sentence. What comes back is a pose, `(sentences, poses, 24, 3, 3)`, the
# answer in words, and how likely the two are together (of the pose it is a density, so its logarithm may well be above 0).

# %%
body = load_body()
policy = PosePolicy.from_pretrained("mini-sft")
pose, answers, log_prob = policy.generate(["Raise both arms straight up."])
print(f"{sum(p.numel() for p in policy.parameters()) / 1e6:.1f} million parameters")
print("answer:", answers[0][0])
print("pose:", tuple(pose.shape), " log-probability:", f"{log_prob.item():.0f} nats")
assert pose.shape == (1, 1, 24, 3, 3) and "<POSE>" in answers[0][0]

# %%
pose_sheet(body, pose, ["Raise both arms straight up."], views=("front", "side", "back"))

# %% [markdown]
# A few more, all at once:

# %%
sentences = ["A person doing a T-pose.", "Kneel on both knees.", "He sits as if on a chair.", "Her hands are on her hips.",
             "Stand on your left leg, right knee raised high.", "Bend forward and touch your toes."]
poses, answers, _ = policy.generate(sentences)
pose_sheet(body, poses[:, 0], sentences, columns=3)

# %% [markdown]
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
        hidden = policy.model.model(input_ids=ids).last_hidden_state  # (1, L, 192)
        word = policy.model.lm_head(hidden[:, -1]).argmax(-1, keepdim=True)
        ids = torch.cat([ids, word], dim=1)
        if word.item() == end:
            break
    place = (ids[0] == policy.pose_id).nonzero()[0, 0]
    mean, std = policy.head(hidden[0, place])
    pose = torch.cat([from_6d(mean.view(22, 6)), torch.eye(3).expand(2, 3, 3)])  # the hands stay as they are
    return policy.tokenizer.decode(ids[0, prompt.shape[1] : -1]).strip(), pose


for sentence, said, theirs in zip(sentences, answers, poses):
    answer, ours = generate_by_hand(policy, sentence)
    assert answer == said[0], (answer, said[0])
    torch.testing.assert_close(ours, theirs[0], atol=1e-3, rtol=0)
print("the same answers and poses as the package's, for", len(sentences), "sentences")

# %% [markdown]
# ## One sentence, many bodies
#
# A sentence leaves most of a body open. So the head gives a mean *and* a spread, and one may draw. Sample 0 is the mean of the
# likeliest answer; the others are draws of answer and pose. Where the words decide they should agree, where the words are silent
# they may differ. Look closely: some of them do not wave, and some no one could stand in. The spread has no notion of what
# belongs together in a body, and that is one thing the reward is for.

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
# meaning is known. `captions` makes such sentences from any pose ([02_words](02_words.ipynb)); take a pose that the model never
# saw, let it be described, and hold the model's answer against the description.

# %%
unseen = PosePrior.load().sample(12 if FAST else 48, generator=torch.Generator().manual_seed(11))
true = captions.holds(body.joints(unseen))
rng = random.Random(1)
weights = captions.weights_for(true.float().mean(0))
asked = [captions.describe(row, rng, weights=weights) for row in true]
made, _, _ = policy.generate([caption.text for caption in asked], n=9)  # (P, 9, 24, 3, 3)

# %%
longest = max(range(12), key=lambda i: len(asked[i].statements))
print(asked[longest].text)
verdicts = captions.satisfied(asked[longest].statements, body.joints(made[longest, 0]))
for index, verdict in zip(asked[longest].statements, verdicts):
    print("  yes" if verdict else "  no ", captions.STATEMENTS[index].name)

# %%
pose_sheet(body, torch.stack([unseen[longest], made[longest, 0]]), ["the pose described", "the pose made of the description"])

# %% [markdown]
# The two differ, and may: a hundred bodies fit the words. What counts is the list above.
#
# ## What alignment is about
#
# The same for all of them: the share of satisfied statements, for the mean pose, for a draw, and for the *best* of eight draws.

# %%
held = captions.holds(body.joints(made.nan_to_num()))  # (P, 9, S)
share = torch.stack([row[:, list(c.statements)].float().mean(-1) for row, c in zip(held, asked)])  # (P, 9)
bars = {"mean pose": share[:, 0].mean(), "a draw": share[:, 1:].mean(), "best of 8 draws": share[:, 1:].amax(1).mean()}
assert bars["best of 8 draws"] >= bars["a draw"]
figure, axes = plt.subplots(figsize=(6, 2.2))
axes.barh(list(bars), [100 * value for value in bars.values()], color=["C0", "C1", "C2"])
for y, value in enumerate(bars.values()):
    axes.text(100 * value + 1, y, f"{value:.0%}", va="center")
axes.set(xlim=(0, 100), xlabel="% of the captions' statements satisfied")
axes.invert_yaxis()
plt.show()

# %% [markdown]
# The model was taught by imitation: *this* sentence, *that* pose. It learned the middle of what was shown. Yet among eight
# draws there is often one that fits the words better than a draw usually does. Reward those, and the next draws come from
# there: that is reinforcement fine-tuning (Pose-RFT, [2508.07804](https://arxiv.org/abs/2508.07804)), of words and pose
# together. It needs a model that can draw (you have seen one), a judge (the verifier), and a rule for the step, which the next
# notebooks bring.

# %% [markdown]
# ## Words without a pose
#
# Not every question is about a body. Then the answer has no `<POSE>`, and the pose is NaN rather than something made up.

# %%
talk, said, _ = policy.generate(["What is the capital of France?"])
print(said[0][0])
assert talk.isnan().all() and "<POSE>" not in said[0][0]

# %% [markdown]
# ## What you take along
#
# SMPL users pass a pose around as 72 numbers, axis-angle, 24 x 3, the pelvis first. That is what `minirft generate` writes to
# `poses.npz`, what AMASS files hold, and what smplx takes: `global_orient=pose[:, :3], body_pose=pose[:, 3:]`.

# %%
smpl = to_axis_angle(poses[:, 0]).numpy()  # (6, 72)
file = io.BytesIO()
np.savez(file, pose=smpl.astype(np.float32))
file.seek(0)
back = to_matrix(torch.from_numpy(np.load(file)["pose"]))
torch.testing.assert_close(back, poses[:, 0], atol=1e-4, rtol=0)
print(smpl.shape, "the kneeling one's pelvis:", smpl[1, :3].round(2), "left knee:", smpl[1, 12:15].round(2))

# %% [markdown]
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

# %% [markdown]
# **Sentences of a kind it has never met.** No caption says what a body does *not* do as a whole. Every word here is known, no
# warning comes, and still the sentence is not understood as you would. Look at what it makes of it:

# %%
odd = ["Raise both arms.", "Please don't raise both arms.", "Raise no arm."]
check_words(odd)  # no warning
odd_poses, _, _ = policy.generate(odd)
up = captions.satisfied(["left_arm_raised", "right_arm_raised"], body.joints(odd_poses[:, 0].nan_to_num()))
for sentence, (left, right) in zip(odd, up.tolist()):
    print(f"{sentence:32s} left arm raised: {left}, right: {right}")
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
# Next: [01_body](01_body.ipynb), what are 24 rotations?

# %%
import transformers

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
