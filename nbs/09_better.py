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
# # 09 · Did it get better?
#
# **What else rose, when the reward did?** That the reward rose is no news: it was what training climbed. This notebook asks what else did, by how much,
# how sure one can be, and what one would have had without all this: first with four numbers, then with the two models that ship, then with the
# reports of [tests/bench/](../tests/bench) that the README quotes.
#
# **Runs in about 30 seconds on a laptop's CPU.** It builds on [04_rewards](04_rewards.ipynb) (reward model and judge) and
# [06_hygrpo](06_hygrpo.ipynb).

# %%
import json
import os
import sys
import time

import matplotlib.pyplot as plt
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

sys.path.insert(0, "../tests/bench")
import alignment
import bounds
import evidence
import peers

from minirft import PosePolicy, data, retrieval
from minirft.body import load_body
from minirft.evaluate import Instruments, ask, diversity_mm, exam_samples, measure, satisfied_by_kind
from minirft.fit import refine_to_words
from minirft.prior import PosePrior
from minirft.render import pose_sheet

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# ## Recall, by hand
#
# Three sentences, three poses made for them, and how much a retrieval model finds each pose like each sentence. Recall@1: the share
# of sentences that find their own pose first. The second does not: it likes the third pose better.

# %%
alike = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.5, 0.6], [0.0, 0.4, 0.8]])  # (sentences, poses)


def recall_by_hand(alike, k):
    """The share, in percent, of rows whose own entry, on the diagonal, is among the k largest of the row."""
    rank = (alike >= alike.diagonal()[:, None]).sum(1)  # 1 is first; who ties comes behind
    return 100 * (rank <= k).float().mean().item()


print("recall at 1, 2:", [round(recall_by_hand(alike, k), 1) for k in (1, 2)])
assert recall_by_hand(torch.ones(3, 3), 1) == 0  # whoever says the same of everything finds nothing
figure, ax = plt.subplots(figsize=(2.4, 2.2))
ax.imshow(alike, cmap="Blues")
for i, row in enumerate(alike.tolist()):
    for j, value in enumerate(row):
        ax.text(j, i, f"{value:.1f}", ha="center", va="center", weight="bold" if i == j else None)
ax.set(xlabel="pose", ylabel="sentence", xticks=range(3), yticks=range(3))
plt.show()

# %% [markdown]
# Now of `mini-sft`: sentences about poses that it never saw, its mean pose for each, the judge's opinion of all pairs.

# %%
body, seed = load_body(), 5
unseen = PosePrior.load().sample(1200, generator=torch.Generator().manual_seed(seed))
samples = exam_samples(unseen, torch.arange(40 if FAST else 200), body=body, seed=seed)
policies = {name: PosePolicy.from_pretrained(name) for name in ("mini-sft", "mini-rft")}
pose = {name: ask(policy, samples, draws=4, seed=seed) for name, policy in policies.items()}  # (P, 5, 24, 3, 3)
judge = retrieval.Retriever.load("judge")
text = judge.embed_text([s.caption for s in samples])
made = judge.embed_pose(pose["mini-sft"][:, 0], body.joints(pose["mini-sft"][:, 0]))
theirs = retrieval.recall(text, made)["t2p"]
for k in (5, 10, 20):
    assert abs(recall_by_hand(text @ made.T, k) - theirs[str(k)]) < 1e-4
print("rebuilt, and equal to the package's:", {k: round(v, 1) for k, v in theirs.items()})

# %% [markdown]
# ## The pool decides the number
#
# The same poses, the same judge; only the number of poses to choose from changes. A recall without its pool says nothing.

# %%
pools = [20, 40] if FAST else [20, 50, 100, 200]
found = [torch.tensor([recall_by_hand(text[i : i + n] @ made[i : i + n].T, 5) for i in range(0, len(text), n)]).mean() for n in pools]
figure, ax = plt.subplots(figsize=(5, 2.2))
ax.plot(pools, found, "o-")
ax.set(xlabel="poses to choose from", ylabel="recall at 5, %", ylim=(0, 100))
plt.show()
assert all(a > b for a, b in zip(found, found[1:]))

# %% [markdown]
# ## Before and after
#
# Five rulers, from the one that was trained against to those that no training has seen. `mini-rft` was paid by the reward
# model and a second one, and for plausibility; not by the judge, and for no statement by itself. *Rewarded* are the kinds that the
# verifiable reward can pay for (it did so before), *unrewarded* those that no reward has ever counted (distances, directions,
# whole-body words). Beside each model's mean pose and draws stand the real poses: a ruler on which they score badly measures
# something else than reality.

# %%
tools = Instruments.load(body, unseen)
columns = {f"{name}, {kind}": poses[:, part] for name, poses in pose.items() for kind, part in (("mean", slice(0, 1)), ("draw", slice(1, 5)))}
columns["real"] = torch.stack([s.pose for s in samples])[:, None]
reports = {name: measure(poses, samples, tools) for name, poses in columns.items()}
rulers = {"reward model": lambda r: alignment.mean_recall(r["reward_model"]), "rewarded": lambda r: 100 * r["satisfied_rewarded"],
          "plausible": lambda r: 100 * r["plausible"], "judge": lambda r: alignment.mean_recall(r["judge"]),
          "unrewarded": lambda r: 100 * r["satisfied_unrewarded"]}
print(f"{'%':16s}" + "".join(f"{name:>14s}" for name in rulers))
for name, report in reports.items():
    print(f"{name:16s}" + "".join(f"{read(report):14.1f}" for read in rulers.values()))

# %%
figure, ax = plt.subplots(figsize=(8, 2.5))
for i, (name, report) in enumerate(reports.items()):
    ax.bar([x + 0.16 * i for x in range(len(rulers))], [read(report) for read in rulers.values()], 0.15, label=name,
           color=("C0", "lightblue", "C1", "bisque", "0.6")[i])
ax.set_xticks([x + 0.32 for x in range(len(rulers))], rulers)
ax.legend(fontsize=7, ncols=5, loc="lower center"), ax.set(ylim=(0, 110), ylabel="%")
plt.show()
assert rulers["judge"](reports["mini-rft, draw"]) > rulers["judge"](reports["mini-sft, draw"])

# %% [markdown]
# The last two count: nobody ever paid for them, and they rose as what was paid for did. So words were learnt, not the ruler.
# Real poses lie far below the mean poses on both networks: they hold much that no sentence mentions; what beats them exaggerates.
#
# ## A better draw, or a quieter one?
#
# A draw gains much more than a mean pose. But rewards also shrink the std, and what lies nearer to the mean is better without any
# training. So let `mini-sft` draw with less of its std, until its draws are as various as those of `mini-rft`:

# %%
def various(poses):
    return diversity_mm(body.joints(poses)).nanmean().item()


share = various(pose["mini-rft"][:, 1:]) / various(pose["mini-sft"][:, 1:])
quieter = policies["mini-sft"].generate([s.question for s in samples], n=5, width=share, seed=seed)[0][:, 1:]
reports["mini-sft, quieter draw"] = measure(quieter, samples, tools)
print(f"{'%':24s}" + "".join(f"{name:>14s}" for name in rulers) + f"{'various, mm':>14s}")
for name, poses in (("mini-sft, draw", pose["mini-sft"][:, 1:]), ("mini-sft, quieter draw", quieter), ("mini-rft, draw", pose["mini-rft"][:, 1:])):
    print(f"{name:24s}" + "".join(f"{read(reports[name]):14.1f}" for read in rulers.values()) + f"{various(poses):14.0f}")
judged_draws = [rulers["judge"](reports[name]) for name in ("mini-sft, draw", "mini-sft, quieter draw", "mini-rft, draw")]
assert judged_draws == sorted(judged_draws)

# %% [markdown]
# Most of the draw's gain is quiet. What is left is alignment; and of the two that are as various the quieter is plausible more
# often. (Three seeds, test subjects: `sft-narrowed` in [tables.md](../data/results/tables.md).)
#
# Where do the mean poses of `mini-sft` and `mini-rft` differ most? Numbers are no substitute for looking.

# %%
joints = {name: body.joints(poses[:, 0]) for name, poses in pose.items()}
moved = (joints["mini-sft"] - joints["mini-rft"]).norm(dim=-1).mean(1).topk(3).indices
pairs = torch.stack([pose[name][i, 0] for i in moved for name in pose])
pose_sheet(body, pairs, [f"{name}: {samples[i].caption}" for i in moved for name in pose], views=("front",), columns=6)

# %% [markdown]
# ## How sure is that?
#
# Two hundred sentences are a sample too. Draw them again and again from themselves (the bootstrap) and see how the difference between the two
# models varies. *Paired*: the same sentences for both, since some are harder than others.

# %%
def kept(poses):
    """The share of each sample's statements that its mean pose satisfies, (P,)."""
    empty = torch.zeros(1, 1, dtype=torch.bool)
    return torch.tensor([satisfied_by_kind(body.joints(p[None, :1]), empty, [s])["all"] for p, s in zip(poses, samples)])


gain = 100 * (kept(pose["mini-rft"]) - kept(pose["mini-sft"]))  # (P,) points
again = torch.randint(len(gain), (2000, len(gain)), generator=torch.Generator().manual_seed(0))
low, high = gain[again].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
print(f"statements satisfied: {gain.mean():+.1f} points, 95 % interval of these sentences {low:+.1f} to {high:+.1f}")
assert low < gain.mean() < high

# %%
figure, ax = plt.subplots(figsize=(5, 2))
ax.hist(gain[again].mean(1), 40, color="C2")
ax.axvspan(low, high, color="C2", alpha=0.15), ax.axvline(0, color="0.5")
ax.set(xlabel="statements satisfied by mini-rft, more than by mini-sft, points", yticks=[])
plt.show()

# %% [markdown]
# That interval knows of other sentences. It knows nothing of other *trainings*: another seed is another model. So the benches
# train from three SFT models and give an interval over those three, by Student's t, which with three is wide:

# %%
def interval_by_hand(values):
    """The mean of three and half the width of its 95 % interval."""
    values = torch.tensor(values, dtype=torch.float64)
    return values.mean().item(), 4.30 * values.std().item() / len(values) ** 0.5


stored = alignment.stored(alignment.RESULTS)
judged = alignment.ROWS["judge, mean recall, %"]
gains = [judged(stored["hygrpo"][s], "mean") - judged(stored["sft+"][s], "mean") for s in stored["sft+"]]
print("judge, hygrpo over more SFT, which took longer, three seeds:", [round(g, 1) for g in gains])
print("so", alignment.interval(gains, "+.1f"), "points")
assert alignment.interval(gains, "+.1f") == "{:+.1f} ± {:.1f}".format(*interval_by_hand(gains))

# %% [markdown]
# ## Which part does what?
#
# Short arms (50 steps) from the three SFT models, on sentences about the test subjects: the recipe that ships, and the same with one part left
# out. Then what the reward model and the others said on the way, of sentences about validation subjects, of arms that have more or
# less to hold them: `verifiable too` is also paid for half of the kinds of statements. `python tests/bench/evidence.py` prints the
# tables and draws the picture.

# %%
short, shown = evidence.reports_in(evidence.RESULTS), list(alignment.ROWS)[:3]
for arm in [arm for arm in evidence.TABLES["Each part left out"] if arm in short]:
    rows = short[arm].values()
    cells = [alignment.interval([alignment.ROWS[name](r, "samples") for r in rows]) for name in shown]
    print(f"{arm:26s}" + "".join(f"{cell:>14s}" for cell in cells))
print("of a draw: " + "; ".join(shown))
assert all(evidence.STEPS == report["steps"] for arm in ("hygrpo", "no KL") for report in short[arm].values())

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), sharex=True)
for ax, name in zip(axes, ("reward_model", "judge", "plausible")):
    for arm in [arm for arm in evidence.WATCHED if arm in short]:
        looks = [report["looks"] for report in short[arm].values()]  # seeds of (steps of numbers)
        ax.plot([look["step"] for look in looks[0]], torch.tensor([[l[name] for l in look] for look in looks]).mean(0), label=arm)
    ax.set(title=name.replace("_", " ") + ", %", xlabel="step")
axes[2].legend(fontsize=7)
plt.show()

# %% [markdown]
# Without the KL and the plausibility reward the reward model climbs on while `plausible` falls: bodies that the networks love and the prior does not know. The
# judge does not see it either: it is a network that looks at joints. With the KL, or with the plausibility reward, nothing of that happens; without KL alone
# the draws are even better, and nearly all alike.
#
# ## What bounds it?
#
# If the reward is so good a teacher, why not go to it directly? Move each mean pose of `mini-sft` by itself, along the gradient of what the networks
# say of it, within what the policy believes: 20 small steps. First by the reward model alone, then by two reward models of different origin, by a
# third of another architecture too, and then also near what bodies do: each metre to the nearest of 15,000 poses costs `fit.NEAR` (that is
# `generate --refine`).

# %%
said, start_at = [s.caption for s in samples], pose["mini-sft"][:, :1]
std = policies["mini-sft"].gaussian([s.question for s in samples])[1].nan_to_num(0.1)
searched = {"mini-sft, mean": reports["mini-sft, mean"], "mini-rft, mean": reports["mini-rft, mean"]}
three, known = retrieval.CHOOSING, body.joints(data.poses_from("prior", seed + 1))
for name, kinds, near in (("search by one", three[:1], None), ("search by two", three[:2], None), ("search by three", three, None),
                          ("three, held near", three, known)):
    moved = refine_to_words(body, start_at, std, said, retrieval.Panel.load(kinds), tools.prior, known=near)
    searched[name] = measure(moved, samples, tools)
print(f"{'%':16s}" + "".join(f"{name:>14s}" for name in rulers) + f"{'nearest, mm':>14s}")
for name, report in searched.items():
    print(f"{name:16s}" + "".join(f"{read(report):14.1f}" for read in rulers.values()) + f"{report['nearest_real_mm']:14.1f}")
first, aligned, *_, free, held = searched.values()
assert min(rulers["unrewarded"](found) for found in (free, held)) > rulers["unrewarded"](aligned)
assert held["nearest_real_mm"] - first["nearest_real_mm"] < 0.6 * (free["nearest_real_mm"] - first["nearest_real_mm"])

# %%
bound = json.loads(bounds.RESULT.read_text())  # 500 sentences about validation subjects
print(bounds.table(bound))
figure, ax = plt.subplots(figsize=(5, 2.4))
for name, row in bound["rows"].items():
    x, y = alignment.mean_recall(row["judge"]), 100 * row["satisfied_unrewarded"]
    ax.plot(x, y, "o"), ax.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
ax.set(xlabel="judge, mean recall, %", ylabel="unrewarded, %")
ax.margins(0.25)
plt.show()

# %% [markdown]
# More statements hold than any training taught: so much is in the reward that the small policy did not learn of it, and not for the noise of HyGRPO's gradient
# (`gradient` takes the same steps with an exact one). By *one* network the judge gains less than the statements do: part of what is found is that
# network's own fancy. Several networks seldom fancy the same. And exaggeration is hardly needed: held near known poses a search adds less than
# half as much distance to real ones, for nearly as many statements.
#
# ## What would you have otherwise?
#
# The same sentences put to other means: the nearest training pose by the reward model, a conditional VAE, the same
# model without a Gaussian. Every ruler again, and real poses below.

# %%
others = {peer: rows["0"] for peer, rows in alignment.stored(peers.RESULTS, peers.PEERS).items()}
print(f"{'mean pose':16s}{'judge':>8s}{'unrewarded':>12s}{'plausible':>11s}{'nearest, mm':>13s}{'diversity, mm':>15s}")
for peer, report in others.items():
    row = [alignment.ROWS[name](report, "mean") for name in ("judge, mean recall, %", "statements never rewarded, %", "plausible, %", "nearest real pose, mm")]
    print(f"{peer:16s}{row[0]:8.1f}{row[1]:12.1f}{row[2]:11.1f}{row[3]:13.1f}{report['diversity_mm']['samples']:15.0f}")
assert len({report["prompts"] for report in others.values()}) == 1  # the same sentences for all

# %%
figure, ax = plt.subplots(figsize=(5, 2.6))
for peer, report in others.items():  # gaussian is mini-sft before it learnt to see
    x, y = alignment.mean_recall(report["judge"]["mean"]), 100 * report["satisfied_unrewarded"]["mean"]
    ax.plot(x, y, "o"), ax.annotate(peer, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
ax.set(xlabel="judge, mean recall, %", ylabel="unrewarded, %")
ax.margins(0.2)
plt.show()

# %% [markdown]
# ## What breaks
#
# **Leaving out what failed.** A model that answers easy questions alone and says nothing to the others, scored on its answers, looks
# better than one that tries all. So a missing pose finds nothing, satisfies nothing and counts 300 mm here. Let `mini-sft`
# keep silent where it is least sure to fit, and score it both ways:

# %%
fits = kept(pose["mini-sft"])
silent = fits < fits.quantile(0.3)
muted = pose["mini-sft"][:, :1].clone()
muted[silent] = torch.nan
honest = measure(muted, samples, tools)["satisfied"]
flattered = measure(muted[~silent], [s for s, no in zip(samples, silent) if not no], tools)["satisfied"]
print(f"all answers {reports['mini-sft, mean']['satisfied']:.0%}; a silent third counted {honest:.0%}, dropped {flattered:.0%}")
assert honest < reports["mini-sft, mean"]["satisfied"] < flattered
figure, ax = plt.subplots(figsize=(5, 1.6))
ax.barh(["counted", "all answered", "dropped"], [100 * v for v in (honest, reports["mini-sft, mean"]["satisfied"], flattered)], color=["C0", "0.6", "C3"])
ax.set(xlabel="statements satisfied, %", xlim=(0, 100))
plt.show()

# %% [markdown]
# ## Exercise
#
# Best of N: of N draws show the one that the reward model likes best. How does the *judge's* opinion grow with N? Take the draws in
# `pose["mini-sft"]` (the first of each row is the mean) and compare N = 1 with N = 4. Is the gain the judge sees as large as the reward model's?

# %%
def best_of(n):
    return float("nan"), float("nan")  # mend it: recall at 5 by the reward model, by the judge


print("N = 1:", best_of(1), " N = 4:", best_of(4))

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# def best_of(n):
#     model, draws = tools.retrievers["reward_model"], pose["mini-sft"][:, 1 : 1 + n]
#     liked = (model.embed_text([s.caption for s in samples])[:, None] * model.embed_pose(draws, body.joints(draws))).sum(-1)
#     chosen = draws[torch.arange(len(draws)), liked.argmax(1)]
#     return tuple(retrieval.recall(m.embed_text([s.caption for s in samples]), m.embed_pose(chosen, body.joints(chosen)))["t2p"]["5"]
#                  for m in (model, tools.retrievers["judge"]))
# ```
#
# Both grow, the reward model's opinion faster: it chose. The last panel of
# [evidence.png](../data/results/evidence.png) goes on to N = 64.
#
# </details>
#
# That was the book. Back to [00_tour](00_tour.ipynb).

# %%
import transformers

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
