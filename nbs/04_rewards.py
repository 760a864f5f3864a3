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
# # 04 · Rewards one can trust, and how one gets hacked
#
# **Which rewards can one trust?** A reward is a number for an answer or a pose; training makes the number rise, whatever it measures. This notebook takes the
# rewards of the package one by one, smallest tensor first, holds real poses against them, and then lets one of them be
# **hacked**: the reward model's opinion rises while an independent judge, the sentence's own statements and the body itself
# say no. The last run shows what keeps it honest.
#
# **Runs in about 50 seconds on a laptop's CPU.** It builds on [02_words](02_words.ipynb) (statements) and
# [03_head](03_head.ipynb) (a mean, a std, draws).

# %%
import copy
import os
import sys
import time

import matplotlib.pyplot as plt
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

from minirft import PosePolicy, captions, head, hygrpo, rewards
from minirft.body import load_body
from minirft.evaluate import Instruments, exam_samples, measure
from minirft.policy import to_pose
from minirft.prior import PosePrior
from minirft.render import pose_sheet

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# ## Two rewards for words
#
# **Format.** Does the answer hold exactly one `<POSE>` where a pose was asked for, and none where not? A regular expression
# decides. Nothing here can be argued with, and nothing is said about the pose.

# %%
answers = ["It is <POSE>.", "It is <POSE> or <POSE>.", "I see.", "Hello!", "<POSE>"]
wants_pose = [True, True, True, False, True]
given = rewards.answer_format(answers, wants_pose=wants_pose)
for answer, wants, reward in zip(answers, wants_pose, given.tolist()):
    print(f"{reward:.0f}  {answer!r:28s} a pose was {'' if wants else 'not '}asked for")
assert given.tolist() == [1, 0, 0, 1, 1]

# %% [markdown]
# **Text similarity.** The cosine between what was said and what should have been said, both as vectors of a sentence encoder.
# A cosine knows directions, not lengths:

# %%
said, wanted = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[30.0, 40.0], [5.0, 0.0]])
by_hand = (said * wanted).sum(1) / (said.norm(dim=1) * wanted.norm(dim=1))
torch.testing.assert_close(by_hand, rewards.text_similarity(said, wanted))
print("the same direction, a right angle:", [round(c, 2) for c in by_hand.tolist()])
turns = torch.linspace(0, torch.pi, 100)
figure, axes = plt.subplots(figsize=(6, 2))
axes.plot(turns * 180 / torch.pi, rewards.text_similarity(torch.stack([turns.cos(), turns.sin()], 1), torch.tensor([[1.0, 0.0]])))
axes.set(xlabel="angle between the two vectors, degrees", ylabel="similarity")
plt.show()

# %% [markdown]
# ## Near the truth: joint location
#
# Where the true body is known (a photograph with measured joints), reward being near: `1 / (distance + eps)`, the pelvises
# laid on each other first. Two bodies of two joints, the second of them 10 cm off: 5 cm on average, so 1 / (0.05 + 0.05).

# %%
truth = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.5, 0.0]])  # pelvis and head, metres
off = truth + torch.tensor([[2.0, 0.0, 0.0], [2.1, 0.0, 0.0]])  # two metres aside does not count, the 10 cm do
print(f"{rewards.joint_location(off, truth):.1f}; at the truth {rewards.joint_location(truth, truth):.1f}")
assert torch.isclose(rewards.joint_location(off, truth), torch.tensor(10.0), atol=1e-3)

# %%
gap = torch.linspace(0, 0.3, 100)  # metres
figure, axes = plt.subplots(figsize=(7, 2.6))
for eps in (0.01, 0.05, 0.2):
    moved = torch.stack([torch.zeros(100, 3), 2 * gap[:, None] * torch.tensor([1.0, 0, 0])], 1)  # (100, 2, 3)
    axes.plot(1000 * gap, rewards.joint_location(moved, torch.zeros(2, 3), eps=eps) * eps, label=f"eps {eps} m")
axes.set(xlabel="mean distance, mm", ylabel="reward, share of its peak")
axes.legend()
plt.show()

# %% [markdown]
# `eps` decides which millimetres matter: with 1 cm only the last few do. The paper leaves it open; 5 cm is ours. For sentences
# this reward is of no use: a hundred bodies fit the words, and it pays for one of them.

# %% [markdown]
# ## What the words say: verifiable
#
# The share of the sentence's statements that the pose satisfies. One prompt, two poses, four statements in the world. The
# prompt asserts statements 0, 1 and 3. `counted` says which kinds are paid for; the others are kept for measuring.

# %%
holds = torch.tensor([[[True, False, True, True], [False, False, True, True]]])  # (1 prompt, 2 poses, 4 statements)
asserted = [(0, 1, 3)]
print("all count:      ", rewards.verifiable(holds, asserted).tolist())
counted = torch.tensor([True, True, True, False])
print("3 is not paid:  ", rewards.verifiable(holds, asserted, counted=counted).tolist())
print("none is paid:   ", rewards.verifiable(holds, asserted, counted=torch.zeros(4)).tolist(), "a tie: it teaches nothing")

# %% [markdown]
# Rebuilt with plain loops, and equal on sentences of real size:

# %%
def verifiable_by_hand(holds, statements, counted):
    """holds (R, K, S), R tuples of indices, counted (S,) to shares (R, K)."""
    shares = torch.zeros(holds.shape[:2])
    for row, indices in enumerate(statements):
        paid = [i for i in indices if counted[i]]
        for k in range(holds.shape[1]):
            hits = sum(bool(holds[row, k, i]) for i in paid)
            shares[row, k] = hits / max(1, len(paid))
    return shares


assert torch.equal(verifiable_by_hand(holds, asserted, counted), rewards.verifiable(holds, asserted, counted=counted))

# %% [markdown]
# Sentences now. A fresh clone has no motion capture, so bodies are drawn from the prior, and each gets a sentence that is true
# of it. The first part is the exam; the rest is for training further down.

# %%
body, prior, policy = load_body(), PosePrior.load(), PosePolicy.from_pretrained("mini-sft")
exam_size, count = (80, 200) if FAST else (200, 456)
generator = torch.Generator().manual_seed(0)
real = prior.sample(count, generator=generator)
samples = exam_samples(real, torch.arange(count), body=body, seed=0)
truth = torch.stack([s.pose for s in samples])  # (M, 24, 3, 3)
statements = [s.statements for s in samples]
counted = torch.tensor([s.kind in rewards.REWARDED for s in captions.STATEMENTS])
few = captions.holds(body.joints(truth[:20].roll(1, 0)))[:, None]  # each held against its neighbour's sentence
assert torch.equal(verifiable_by_hand(few, statements[:20], counted), rewards.verifiable(few, statements[:20], counted=counted))
print(samples[0].caption, "\n ", [captions.STATEMENTS[i].name for i in statements[0]])
print("paid:", ", ".join(rewards.REWARDED), " never paid:", ", ".join(k for k in captions.KINDS if k not in rewards.REWARDED))

# %%
school = torch.tensor([i for i in range(exam_size, count) if counted[list(statements[i])].any()])  # others would tie
print(exam_size, "sentences for the exam,", len(school), "to train on")

# %% [markdown]
# Held against other bodies than its own, how much of a sentence is true by chance?

# %%
chance = torch.stack([captions.satisfied(s.statements, body.joints(truth)).float().mean(1) for s in samples[:40]])  # (40, M)
assert (chance[torch.arange(40), torch.arange(40)] == 1).all()  # of its own body, all
figure, axes = plt.subplots(figsize=(7, 2))
axes.hist(chance.flatten(), bins=20, color="0.75")
axes.axvline(chance.mean(), color="C1")
axes.set(xlabel="share of a sentence that a random body satisfies; the line: on average", yticks=[])
plt.show()

# %% [markdown]
# It can't be talked into anything: no network is behind it. But it counts what was *said*, and knows nothing of what was left
# unsaid.

# %% [markdown]
# ## What bodies do: plausibility
#
# The prior scores a pose: 0 for a usual one, -1 at the lowest per cent of real ones, far below for broken ones. The reward
# squeezes -10 .. 0 into 0 .. 1. Nothing is earned above 0, for otherwise the blandest body would win; nothing is lost below
# -10, for otherwise one broken joint would drown all else.

# %%
scores = torch.tensor([2.0, 0.0, -1.0, -5.0, -10.0, -400.0])
by_hand = torch.tensor([min(max(1 + s / 10, 0.0), 1.0) for s in scores.tolist()])
torch.testing.assert_close(by_hand, rewards.plausibility(scores))
twisted = real[:1].clone()
twisted[:, [4, 5]] = twisted[:, [4, 5]].transpose(-1, -2)  # knees bent forwards
print({s: round(r, 2) for s, r in zip(scores.tolist(), by_hand.tolist())})
worth = rewards.plausibility(prior.score(torch.cat([real[:1], twisted])))
print(f"a body {worth[0]:.2f}, with its knees bent the wrong way {worth[1]:.2f}")
assert worth[1] < worth[0]

# %%
twisted = real.clone()
twisted[:, [4, 5]] = twisted[:, [4, 5]].transpose(-1, -2)
figure, axes = plt.subplots(figsize=(7, 2))
for poses, label in ((real, "bodies of the prior"), (twisted, "their knees bent the wrong way")):
    axes.hist(rewards.plausibility(prior.score(poses)), bins=torch.linspace(0, 1, 40).tolist(), alpha=0.6, label=label)
axes.set(xlabel="plausibility", ylabel=f"of {count}")
axes.legend()
plt.show()

# %% [markdown]
# ## A network's opinion: semantic alignment
#
# A retrieval model has learnt to put a sentence and its pose at the same spot of a common space; the reward is the cosine
# there. It is the paper's reward for sentences, and it knows more than the statements: what people do while they do a thing.
# It is also a network. So a second one, the **judge**, of another architecture, another seed and other motion capture, looks
# on and is never paid for.

# %%
tools = Instruments.load(body, real)
reward_model, judge = tools.retrievers["reward_model"], tools.retrievers["judge"]
text = reward_model.embed_text([s.caption for s in samples])  # (M, 128)
places = reward_model.embed_pose(truth, body.joints(truth))  # (M, 128)
cosines = text[:exam_size] @ places[:exam_size].T  # each sentence and each pose of the exam
own = cosines.diagonal()
torch.testing.assert_close(own, rewards.semantic_alignment(text[:exam_size], places[:exam_size]))
figure, axes = plt.subplots(figsize=(7, 2))
for values, label in ((cosines.flatten(), "any sentence, any pose"), (own, "a sentence and its own pose")):
    axes.hist(values, bins=torch.linspace(-1, 1, 60).tolist(), density=True, alpha=0.6, label=label)
axes.set(xlabel="cosine, by the reward model", yticks=[])
axes.legend(fontsize=8)
plt.show()

# %%
with torch.no_grad():  # the likeliest answer to each sentence, and the hidden state at its <POSE>
    parts = [policy.sample([s.question for s in samples[i : i + 80]], temperature=0.0, generator=generator)
             for i in range(0, count, 80)]
hidden = torch.cat([part.scores.hidden for part in parts])  # (M, 160)
assert len(hidden) == count  # every answer has a pose

# %% [markdown]
# ## The pose described is not the best
#
# Three answers to each of the exam's sentences: the very pose that it was made from, the mean pose of mini-sft, and one draw.

# %%
with torch.no_grad():
    mean, std = policy.head(hidden)
draw = head.sample(mean, std, 1, generator)[:, 0]
columns = {"the pose described": truth, "mean of mini-sft": to_pose(mean), "draw of mini-sft": to_pose(draw)}
columns = {name: pose[:exam_size] for name, pose in columns.items()}
for name, pose in columns.items():
    cosine = rewards.semantic_alignment(text[:exam_size], reward_model.embed_pose(pose, body.joints(pose)))
    plausible = rewards.plausibility(prior.score(pose))
    print(f"{name:18s} semantic {cosine.mean():.3f}   plausibility {plausible.mean():.3f}")

# %%
def report(pose):
    """Per cent for poses (P, 24, 3, 3) that answer the exam: recall of 5, 10 and 20 averaged for the two networks."""
    full = measure(pose[:, None], samples[:exam_size], tools)
    rates = {name: sum(full[name]["t2p"].values()) / 3 for name in ("reward_model", "judge")}
    shares = {f"{k} statements": 100 * full[f"satisfied_{k}"] for k in ("rewarded", "unrewarded")}
    return rates | shares | {"plausible": 100 * full["plausible"]}


reports = {name: report(pose) for name, pose in columns.items()}
for name, row in reports.items():
    print(f"{name:18s}", ", ".join(f"{k} {v:.0f}" for k, v in row.items()))
assert reports["mean of mini-sft"]["judge"] > reports["the pose described"]["judge"]
assert reports["mean of mini-sft"]["reward_model"] > reports["the pose described"]["reward_model"]

# %% [markdown]
# Both networks find the pose that the model made more easily than the one the sentence is about! The model shows the typical
# case of what was said and nothing besides; a real body also does what nobody mentioned. So a score above the first row is not
# "better than real". It means *more typical, more pronounced*, and at the end of that road it exaggerates. Only the statements
# put the pose described first, by construction.

# %%
above = rewards.semantic_alignment(text[:exam_size, None], torch.stack(
    [reward_model.embed_pose(pose, body.joints(pose)) for pose in list(columns.values())[:2]], 1))  # (P, 2)
widest = (above[:, 1] - above[:, 0]).argsort(descending=True)[:3].tolist()
pose_sheet(body, torch.stack(list(columns.values())[:2], 1)[widest],
           [f"{samples[i].caption} | described {above[i, 0]:.2f}, mini-sft {above[i, 1]:.2f}" for i in widest], views=("front",))

# %% [markdown]
# ## Now train on one
#
# The smallest policy gradient there is: the language model stays as it is, its hidden states are kept, only a copy of the pose
# head learns. Each step: 32 sentences, 32 draws each, every draw compared with the others of its sentence
# ([06_hygrpo](06_hygrpo.ipynb) takes this apart), the likely ones of the better made likelier. `beta` holds the head near the
# one it started from: the KL of [03_head](03_head.ipynb).

# %%
def semantic(pose, rows):
    return rewards.semantic_alignment(text[rows, None], reward_model.embed_pose(pose, body.joints(pose)))


def verifiable(pose, rows):
    return rewards.verifiable(captions.holds(body.joints(pose)), [statements[i] for i in rows], counted=counted)


def plausible(pose, rows):
    return rewards.plausibility(prior.score(pose))


# %%
def align(weights, *, beta, steps):
    """Head-only reinforcement: {reward function: weight} and the KL's weight to the trained head and its reports."""
    net, log, generator = copy.deepcopy(policy.head), [], torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps + 1):
        rows = school[torch.randint(len(school), (32,), generator=generator)]
        mean, std = net(hidden[rows])
        action = head.sample(mean.detach(), std.detach(), 32, generator)
        reward = sum(w * function(to_pose(action), rows.tolist()) for function, w in weights.items())  # (32, 32)
        if step % (steps // 5) == 0:
            with torch.no_grad():
                log.append({"step": step, "reward": reward.mean().item()} | report(to_pose(net(hidden[:exam_size])[0])))
        advantage = hygrpo.group_advantages(reward.flatten(), 32, scale="none").view(32, 32)
        log_prob = head.log_prob(action, mean[:, None], std[:, None])
        with torch.no_grad():
            reference = policy.head(hidden[rows])
        loss = -(advantage * log_prob).mean() + beta * head.kl(mean, std, *reference).mean()
        optimizer.zero_grad(), loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return net, log


# %% [markdown]
# First the reward model alone, nothing to hold it. Then with the plausibility reward, and with a KL: what the package pays poses with.

# %%
def print_ends(log):
    for row in (log[0], log[-1]):
        print("  ", ", ".join(f"{k} {v:.2f}" if k == "reward" else f"{k} {v:.0f}" for k, v in row.items()))


steps = 50 if FAST else 100
heads, logs = {}, {}
heads["reward model alone"], logs["reward model alone"] = align({semantic: 4.0}, beta=0.0, steps=steps)
recipe = {semantic: 4.0, plausible: 0.5}  # the package's own
heads["two rewards, KL"], logs["two rewards, KL"] = align(recipe, beta=0.012, steps=steps)
for name, log in logs.items():
    print(name)
    print_ends(log)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
styles = {"reward_model": ("C3", "-"), "judge": ("C0", "-"), "rewarded statements": ("C1", "--"),
          "unrewarded statements": ("C2", "-"), "plausible": ("0.4", ":")}
for ax, (name, log) in zip(axes, logs.items()):
    for key, (color, style) in styles.items():
        ax.plot([row["step"] for row in log], [row[key] for row in log], color=color, ls=style, label=key)
    ax.set(title=name, xlabel="step", ylim=(-3, 103))
axes[0].set_ylabel("%")
axes[1].legend(loc="lower right", fontsize=9)
plt.show()

# %% [markdown]
# On the left **reward hacking**, as it happens by default. The red line, the one that was trained on, is at its best; all
# others fall: the judge finds fewer of the sentences, statements are forgotten, and no body moves like this. On the right, the
# same number of steps: the two networks go together, bodies stay bodies, and the statements hold as they did, of which none was
# paid for. To the eye:

# %%
before, hacked, held = logs["reward model alone"][0], logs["reward model alone"][-1], logs["two rewards, KL"][-1]
assert hacked["reward"] > before["reward"] + 0.05 and hacked["plausible"] < 20 and held["plausible"] > 80
assert hacked["unrewarded statements"] < min(before["unrewarded statements"] - 2, held["unrewarded statements"])
if not FAST:  # among few sentences the judge finds nearly all, whatever is done to them
    assert hacked["judge"] < min(before["judge"], held["judge"])
with torch.no_grad():
    answers = [to_pose(net(hidden[:4])[0]) for net in (policy.head, *heads.values())]
pose_sheet(body, torch.stack(answers, 1), [f"{s.caption} | mini-sft, hacked, held" for s in samples[:4]], views=("front",),
           columns=2)

# %% [markdown]
# What did it find? Not a bug in the code: directions in which *this* network's cosine grows and which no real pose ever took,
# so that nobody taught it otherwise. A recall that rises next to a judge's that falls is the sign to look for. The paper
# ([2508.07804](https://arxiv.org/abs/2508.07804)) trains and measures with one retrieval model, by which mean recall rises by 16.2
# points; by a second, PoseEmbroider, recall at 5 rises from 47.7 to 55.2.

# %% [markdown]
# ## What breaks: counting alone
#
# The verifier can't be fooled, and still it isn't in the recipe above. Let it teach alone. It says nothing of bodies, and only of
# some kinds of statements:

# %%
counter, log = align({verifiable: 1.0}, beta=0.0, steps=steps)
print_ends(log)
assert log[-1]["reward"] > log[0]["reward"]
assert log[-1]["plausible"] < log[0]["plausible"] - 20
assert log[-1]["unrewarded statements"] < log[0]["unrewarded statements"]
with torch.no_grad():
    bodies = to_pose(counter(hidden[:4])[0])
pose_sheet(body, bodies, [s.caption for s in samples[:4]], views=("front",), columns=4)

# %% [markdown]
# No number was cheated, and still the bodies are gone, and so are nearly half of the statements that are not counted: whatever a reward
# does not look at is free to drift. The package did pay for it, beside the others, until its own benches showed the same drift there
# in small ([09_better](09_better.ipynb)); now it is logged with weight 0. Here is what each of them overlooks:
#
# | reward | can it be fooled? | what it overlooks |
# |---|---|---|
# | format | no | everything but the form |
# | text similarity | by phrases that its encoder likes | the pose |
# | joint location | no, where the truth is known | other bodies that fit as well |
# | semantic | yes, see above | what its network never saw |
# | verifiable | no | the unsaid, the kinds that are not counted, sense |
# | plausibility | by standing still | the words |
#
# So: several at once, a KL, and something to look at that is never paid for.

# %% [markdown]
# ## Exercise
#
# Is the KL alone enough to keep the reward model honest? Let `judge_after(beta)` train with `semantic` alone and give the
# judge's last recall. Which `beta` leaves it above where it started, and what does the plausibility do?

# %%
def judge_after(beta):
    return float("nan")  # mend it


print(f"the judge before: {before['judge']:.0f}; after, beta 0.02: {judge_after(0.02):.0f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# def judge_after(beta):
#     return align({semantic: 4.0}, beta=beta, steps=steps)[1][-1]["judge"]
# ```
#
# A KL alone does much. With 0.02 the judge ended above its start when this was written (86 to 88 %), and all mean poses
# stayed plausible; with 0.1 likewise, for less reward. But the right `beta` was found by looking at the judge, and a longer
# run would ask for another.
#
# </details>
#
# Next: [05_sft](05_sft.ipynb), SFT and the alignment gap.

# %%
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
