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
# # 03 · A head that knows what it doesn't know
#
# **How does a model say that it isn't sure?** "Raise one arm." Which one? And what do the legs do? A sentence leaves most of a pose open, and a model that answers with
# *one* pose has to hide that. The pose head answers with a **mean and a standard deviation** for each of a pose's 132 numbers.
# This notebook goes from one number to 132, trains a head in a few seconds, and then asks the shipped model `mini-sft` what it
# is sure of.
#
# **Runs in about 30 seconds on a laptop's CPU.** It builds on [01_body](01_body.ipynb) (6D rotations) and a little on
# [02_words](02_words.ipynb).

# %%
import math
import os
import sys
import textwrap
import time

import matplotlib.pyplot as plt
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch.nn import functional as F

from minirft import PosePolicy, captions, head
from minirft.body import JOINT, flip_pose, load_body, to_6d, to_matrix
from minirft.policy import to_pose
from minirft.render import pose_sheet, skeleton_axes

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# ## One number
#
# A Gaussian says: "about `mean`, give or take `std`". How well did it foresee an observation `x`? Its log-density there. Two
# terms that pull against each other: `-(x - mean)² / 2 std²` punishes having been wrong *and sure*, `-log std` punishes being
# vague.

# %%
def log_density(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)


for std in (0.1, 1.0, 0.3):
    by_hand = log_density(0.3, 0.0, std)
    theirs = head.log_prob(torch.tensor([0.3]), torch.zeros(1), torch.tensor([std])).item()
    assert math.isclose(by_hand, theirs, abs_tol=1e-5)
    print(f"0.3 off, std {std} claimed: {by_hand:+.2f} nats")

# %% [markdown]
# Whoever is usually off by `e` does best to say `std = e`. No more, no less: each curve of surprise (minus the log-density) has
# its lowest point where the std *is* the error. So nobody has to label uncertainty: train for a high density, and it comes out.

# %%
stds = torch.logspace(-2, 0.3, 200)
figure, axes = plt.subplots(figsize=(7, 3.2))
for error in (0.05, 0.2, 0.7):
    surprise = -head.log_prob(torch.full((200, 1), error), torch.zeros(200, 1), stds[:, None])
    axes.plot(stds, surprise, label=f"off by {error}")
    axes.axvline(error, color=axes.lines[-1].get_color(), ls=":", lw=1)
    assert abs(stds[surprise.argmin()] - error) < 0.02 * error + 0.01
axes.set(xscale="log", ylim=(-3, 8), xlabel="std that was claimed", ylabel="surprise, nats")
axes.set_xticks((0.01, 0.1, 1), ("0.01", "0.1", "1"))
axes.legend()
plt.show()

# %% [markdown]
# ## 132 numbers
#
# 22 body joints, 6 numbers each. Independent Gaussians: densities multiply, logs add.

# %%
generator = torch.Generator().manual_seed(0)
mean, std = torch.randn(132, generator=generator), torch.rand(132, generator=generator) + 0.1
drawn = head.sample(mean, std, 4, generator)  # (4, 132)
by_hand = torch.tensor([sum(log_density(x, m, s) for x, m, s in zip(row.tolist(), mean.tolist(), std.tolist())) for row in drawn])
torch.testing.assert_close(by_hand, head.log_prob(drawn, mean, std), atol=1e-2, rtol=1e-4)
print(drawn.shape, "->", [round(value) for value in by_hand.tolist()], "nats")

# %% [markdown]
# How likely is a likely pose? Draw 4,000. Hardly any comes near the density of the mean itself: with so many numbers, a draw is
# always off in many of them, and all draws are about equally far.

# %%
many = head.log_prob(head.sample(mean, std, 4000, generator), mean, std)
best = head.log_prob(mean, mean, std)
assert abs((best - many).mean() - 132 / 2) < 1  # each number costs half a nat on average
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.hist(many, bins=60, color="0.75")
axes.axvline(best, color="C1")
axes.set(xlabel="log-density, nats; the line: of the mean", yticks=[])
plt.show()

# %% [markdown]
# ## Why one answer is not enough
#
# Two poses fit "one arm up, the other down, like a plane in a turn". Train a regression with squared error and half of the
# examples each way. Its best answer is known without training, the mean:

# %%
def pose_of(**degrees):
    axis_angle = torch.zeros(24, 3)
    for name, turn in degrees.items():
        axis_angle[JOINT[name]] = torch.tensor(turn) * torch.pi / 180
    return to_matrix(axis_angle.flatten())


body = load_body()
left_up = pose_of(left_shoulder=(0.0, 0, 40), right_shoulder=(0.0, 0, 40))
right_up = flip_pose(left_up)
two = torch.stack([to_6d(pose[:22]).flatten() for pose in (left_up, right_up)])  # (2, 132)
average = two.mean(0)  # what minimises the squared error to both
poses = torch.stack([left_up, right_up, to_pose(average)])
arms = captions.satisfied(["left_arm_raised", "right_arm_raised"], body.joints(poses))
print("left, right arm raised:", arms.tolist())
assert arms.tolist() == [[True, False], [False, True], [False, False]]

# %%
pose_sheet(body, poses, ["left arm up", "right arm up", "their average"], views=("front",), columns=3)

# %% [markdown]
# The average flies straight on: fair to both examples, and *false of both*. This is what supervised training does to poses
# wherever words leave them open; Pose-RFT ([2508.07804](https://arxiv.org/abs/2508.07804)) calls it the alignment gap. The std
# at least admits it.

# %% [markdown]
# ## The head
#
# A small network from the language model's hidden state to 132 means and 132 stds. Rebuilt from its parts:

# %%
torch.manual_seed(0)
tiny = head.PoseHead(16, width=64)  # hidden states of 16 numbers; mini-sft has 160


def forward_by_hand(net, hidden):
    """Hidden (N, H) to mean and std (N, 132)."""
    norm, first, _, last = net.layers
    x = F.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias)
    x = F.gelu(x @ first.weight.T + first.bias)
    mean, spread = (x @ last.weight.T + last.bias).split(132, dim=-1)
    low, high = math.log(net.min_std), math.log(net.max_std)
    return mean, torch.exp(low + (high - low) * torch.sigmoid(spread))  # std can't leave min_std .. max_std


hidden = torch.randn(5, 16)
for ours, theirs in zip(forward_by_hand(tiny, hidden), tiny(hidden)):
    torch.testing.assert_close(ours, theirs)
mean, std = tiny(hidden)
print("untrained: the rest pose,", [round(m, 1) for m in mean[0, :6].tolist()], f"for each joint, std {std.mean():.2f}")

# %% [markdown]
# Whatever the last layer says becomes a std between the two bounds; between them it works on a logarithmic scale.

# %%
raw = torch.linspace(-8, 8, 200)
low, high = math.log(tiny.min_std), math.log(tiny.max_std)
figure, axes = plt.subplots(figsize=(6, 2.2))
axes.plot(raw, torch.exp(low + (high - low) * torch.sigmoid(raw)))
axes.set(yscale="log", xlabel="what the last layer says", ylabel="std")
axes.minorticks_off()
axes.set_yticks((0.02, 0.1, 0.7), ("0.02", "0.1", "0.7"))
plt.show()

# %% [markdown]
# ## Train it on three "sentences"
#
# Three fixed random hidden states stand for: *left arm up*, *right arm up*, *one arm up*. The last one has two examples, one of
# each kind: four examples in all. As in the package the log-density teaches the std **alone** (`mean.detach()`), for otherwise the
# std would excuse every joint that is hard to learn. The mean is taught by squared error here, by absolute error in the package (05).

# %%
sentences = ["left arm up", "right arm up", "one arm up"]
states = torch.randn(3, 16)
target = two[[0, 1, 0, 1]]
optimizer = torch.optim.Adam(tiny.parameters(), lr=0.01)
steps = 300 if FAST else 600
for step in range(steps):
    optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / steps)  # calmer towards the end
    mean, std = tiny(states[[0, 1, 2, 2]])
    loss = (mean - target).square().mean() - 0.1 * head.log_prob(target, mean.detach(), std).mean() / 132
    optimizer.zero_grad(), loss.backward(), optimizer.step()
print(f"{steps} steps, loss {loss:.3f}")

# %% [markdown]
# What does it say of the left shoulder? Where the sentence decides, the std sinks to its floor. Where the examples disagree, it
# rises to half the distance between the two poses.

# %%
with torch.no_grad():
    mean, std = tiny(states)
shoulder = slice(6 * JOINT["left_shoulder"], 6 * JOINT["left_shoulder"] + 6)
half_way = (two[0] - two[1]).abs()[shoulder] / 2
for sentence, row in zip(sentences, std):
    print(f"{sentence:13s} std of the left shoulder's six numbers: {[round(s, 2) for s in row[shoulder].tolist()]}")
print(f"half the distance of the two poses:              {[round(h, 2) for h in half_way.tolist()]}")
moving = half_way > 0.1
torch.testing.assert_close(std[2, shoulder][moving], half_way[moving], atol=0.1, rtol=0)
assert std[:2, shoulder].max() < 0.05

# %% [markdown]
# On the skeleton: the bigger and brighter the disc, the less the head knows. It is not vague in general: it is vague *about the
# arms*.

# %%
def draw_doubt(mean, std, titles):
    """The mean poses as skeletons; on each joint a disc for its std, (N, 132), averaged over its six numbers."""
    figure = plt.figure(figsize=(4 * len(titles), 4.4), dpi=100)
    for i, title in enumerate(titles):
        axes = figure.add_subplot(1, len(titles), i + 1, projection="3d")
        joints, doubt = body.joints(to_pose(mean[i])), std[i].view(22, 6).mean(-1)
        skeleton_axes(joints, axes)
        x, y, z = joints[:22].T
        discs = axes.scatter(x, -z, y - joints[:, 1].min(), s=1600 * doubt, c=doubt, cmap="plasma", vmin=0, vmax=0.4,
                             alpha=0.8, depthshade=False)
        axes.set_title(textwrap.fill(title, 30), fontsize=11, y=1.0)
    figure.colorbar(discs, ax=figure.axes, shrink=0.6, label="std")
    plt.show()


draw_doubt(mean, std, sentences)

# %% [markdown]
# ## Drawing from it
#
# The answer to "one arm up" is now a *distribution*: draw poses. They differ, as they should, and yet look: independent numbers
# know no either-or. The arms do not agree on who goes up, and most draws lie between the two examples.

# %%
draws = to_pose(head.sample(mean[2], std[2], 400, generator))
raised = captions.satisfied(["left_arm_raised", "right_arm_raised"], body.joints(draws))
share = (raised[:, 0] ^ raised[:, 1]).float().mean().item()
print(f"exactly one arm raised: the mean pose no, {share:.0%} of the draws")
assert 0.1 < share < 0.9
pose_sheet(body, draws[:5], [f"draw {i}" for i in range(1, 6)], views=("front",), columns=5)

# %% [markdown]
# Better than the average, which is *never* right, worse than a person, who is always. What can mend it: draws that satisfy the
# sentence get a reward, the others don't, and the Gaussian moves to one side. That is reinforcement fine-tuning, and the next
# notebooks' theme. (Words can choose a side too: the answer comes before the pose, and may say which arm.)

# %% [markdown]
# ## What mini-sft knows
#
# The shipped model has a head like this one on a small language model. One sentence about arms, one about legs; `score` gives
# the mean and std at the answer's `<POSE>`.

# %%
policy = PosePolicy.from_pretrained("mini-sft")
questions = ["Raise both arms straight up.", "Stand with straight legs and your feet close together."]
with torch.no_grad():
    scores = policy.score(policy.encode(questions, ["It is <POSE>."] * 2))
print("mean, std:", tuple(scores.mean.shape), tuple(scores.std.shape))
draw_doubt(scores.mean, scores.std, questions)

# %%
def doubt_about(*names):
    """Each question's mean std over these joints of both sides (2,)."""
    joints = [JOINT[f"{side}_{name}"] for name in names for side in ("left", "right")]
    return scores.std.view(2, 22, 6)[:, joints].mean((1, 2))


by_part = {"arms": doubt_about("shoulder", "elbow"), "legs": doubt_about("hip", "knee")}
for i, question in enumerate(questions):
    print(f"{question:55s} arms {by_part['arms'][i]:.3f}, legs {by_part['legs'][i]:.3f}")
ratio = by_part["arms"] / by_part["legs"]
print(f"arms against legs: {ratio[0]:.1f} when told of the arms, {ratio[1]:.1f} when told of the legs")
assert ratio[0] < ratio[1]  # surer of what it was told

# %%
drawn = to_pose(head.sample(scores.mean, scores.std, 3, generator))  # (2, 3, 24, 3, 3)
shown = torch.cat([to_pose(scores.mean)[:, None], drawn], dim=1)
pose_sheet(body, shown, [f"{question} The mean, then draws." for question in questions], views=("front",), columns=2)

# %% [markdown]
# ## How far apart are two answers?
#
# Fine-tuning must not run away from the model it started from. The distance between two Gaussians has a closed form, the
# Kullback-Leibler divergence: how much surer the one is of its own draws than the other is. It is exactly 0 where they agree.

# %%
p = scores.mean[0], scores.std[0]
q = scores.mean[1], scores.std[1]
draws = head.sample(*p, 2000 if FAST else 20000, generator)
estimate = (head.log_prob(draws, *p) - head.log_prob(draws, *q)).mean()  # by its definition, from draws
exact = head.kl(*p, *q)
print(f"KL: {estimate:.1f} nats from draws, {exact:.1f} in closed form; with itself {head.kl(*p, *p):.1f}")
assert abs(estimate / exact - 1) < 0.05 and head.kl(*p, *p) == 0

# %%
gain = head.log_prob(draws, *p) - head.log_prob(draws, *q)
count = torch.arange(1, len(gain) + 1)
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.plot(count, gain.cumsum(0) / count)
axes.axhline(exact, color="0.4", ls=":")
axes.set(xscale="log", xlabel="draws", ylabel="KL, nats; dotted: exact")
plt.show()

# %% [markdown]
# ## What breaks: a std without a floor
#
# Some numbers of a pose hardly ever change. Let a head be as sure as it likes of them, and training for density makes it
# *infinitely* sure. Below, 300 steps towards a constant, with the plain `exp` that one would write first, and with the bounded
# std of `PoseHead`.

# %%
def train_constant(std_of):
    raw = torch.zeros(1, requires_grad=True)
    optimizer, path = torch.optim.Adam([raw], lr=0.1), []
    for _ in range(300):
        std = std_of(raw)
        surprise = -head.log_prob(torch.zeros(1), torch.zeros(1), std)
        optimizer.zero_grad(), surprise.backward(), optimizer.step()
        path.append(std.item())
    return path


def bounded(raw):
    return torch.exp(math.log(0.02) + math.log(0.7 / 0.02) * torch.sigmoid(raw))


paths = {"plain exp": train_constant(torch.exp), "bounded": train_constant(bounded)}
one_degree = torch.tensor([0.02])  # then one pose comes that is a single degree off
for name, path in paths.items():
    surprise = -head.log_prob(one_degree, torch.zeros(1), torch.tensor(path[-1:]))
    print(f"{name:10s} std {path[-1]:.1e}; surprise at one degree: {surprise:.1e} nats")
assert paths["plain exp"][-1] < 1e-10 and paths["bounded"][-1] > 0.02

# %%
figure, axes = plt.subplots(figsize=(7, 2.8))
for name, path in paths.items():
    axes.plot(path, label=name)
axes.axhline(0.02, color="0.6", ls=":", lw=1)
axes.set(yscale="log", xlabel="step", ylabel="std")
axes.legend()
plt.show()

# %% [markdown]
# One harmless pose, and the loss is a number with twenty digits; its gradient throws all weights away. In reinforcement
# learning it is worse: the ratio of two densities decides how far to step. Hence the floor of 0.02, about one degree.

# %% [markdown]
# ## Exercise
#
# The two kinds were equally many. Let 90 % of the examples have the left arm up, and the two poses be 1.28 apart in some
# number. Which std will the head learn for it? Fill in the formula and check it against draws.

# %%
def expected_std(share, gap):
    return gap / 2  # right for half and half only; mend it


flips = (torch.rand(100_000, generator=generator) < 0.9).float() * 1.28
print(f"from draws {flips.std():.2f}, by the formula {expected_std(0.9, 1.28):.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The std of a coin with sides 0 and `gap`: `gap * math.sqrt(share * (1 - share))`, here 0.38; a fair coin gives `gap / 2`. The
# mean lies at 0.9 of the way: the rare pose is 3 stds from it. A single Gaussian pays little attention to what is rare.
#
# </details>
#
# Next: [04_rewards](04_rewards.ipynb), rewards one can trust, and how one gets hacked.

# %%
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
