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
# # 06 · HyGRPO from scratch
#
# **How do words and pose learn from reward together?** An answer is a few words and a pose: an action of two kinds, one drawn
# from a vocabulary, one from a Gaussian. HyGRPO (Pose-RFT, [2508.07804](https://arxiv.org/abs/2508.07804)) improves both by
# reward. This notebook builds it from four numbers up: who was better than the others, what the words and what the pose get of
# it, how far one step may go. Then a loop of forty lines runs it on `mini-sft`; and you take it along, with rewards of your own.
#
# **Runs in about 70 seconds on a laptop's CPU.** It builds on [03_head](03_head.ipynb) (draws, densities, KL),
# [04_rewards](04_rewards.ipynb) and [05_sft](05_sft.ipynb). The traps of such loops are marked **[trap]** where they lie.

# %%
import inspect
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

# %% [markdown]
# And of the package:

# %%
from minirft import PosePolicy, captions, head, hygrpo, rewards, train
from minirft.body import JOINT, load_body
from minirft.critics import Critics, give_rewards, read_rewards, spread
from minirft.evaluate import Instruments, ask, exam_samples, measure
from minirft.policy import to_pose
from minirft.prior import PosePrior
from minirft.render import pose_sheet
from minirft.viewer import Turntable

# %matplotlib inline
warnings.simplefilter("ignore", FutureWarning)  # between two of the libraries, about their next versions
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# ## Better than the others
#
# Four answers to one question, four rewards. Is 0.7 good? It depends on the question, so compare within the **group**:
# subtract its mean, divide by its spread. No second network has to guess what a question is worth; that is the whole idea of
# GRPO.

# %%
four = torch.tensor([0.2, 0.4, 0.7, 0.7])
print([round(a, 2) for a in hygrpo.group_advantages(four, 4).tolist()], "one group of four")
print([round(a, 2) for a in hygrpo.group_advantages(four, 2).tolist()], "two groups of two")


# %%
def advantages_by_hand(rewards, group_size, min_std=1e-3):
    """(N*G,) rewards, a group's adjacent, to z-scores within each group; a tied group gets zeros."""
    out = []
    for i in range(0, len(rewards), group_size):
        group = rewards[i : i + group_size].double()
        away, std = group - group.mean(), group.std()
        out.append(away / std if std >= min_std else torch.zeros_like(away))
    return torch.cat(out).float()


many = torch.rand(60, generator=torch.Generator().manual_seed(0))
for size in (2, 4, 10):
    torch.testing.assert_close(advantages_by_hand(many, size), hygrpo.group_advantages(many, size))
print("rebuilt, and equal to the package's for groups of 2, 4 and 10")

# %% [markdown]
# **[trap] Ties.** Dividing by the spread makes small differences as large as big ones. Eight poses within a third of a
# millimetre get advantages like eight that differ by a metre. So name a spread, in units of the reward, under which a group
# counts as *tied*: all its advantages are then exactly 0. (`scale="none"` leaves the division away: small differences stay
# small.)

# %%
metres, thirds = torch.linspace(0, 1, 8), torch.linspace(0, 0.0003, 8)
for name, reward in (("a metre apart", -metres), ("0.3 mm apart", -thirds)):
    for min_std in (1e-6, 1e-3):
        print(f"{name}, min_std {min_std}:", [round(a, 1) for a in hygrpo.group_advantages(reward, 8, min_std=min_std).tolist()])
assert (hygrpo.group_advantages(-thirds, 8) == 0).all()

# %%
figure, axes = plt.subplots(figsize=(7, 2.4))
widths = torch.logspace(-5, 0, 60).tolist()  # from the best to the worst of eight
for min_std in (1e-6, 1e-3, 1e-1):
    best = [hygrpo.group_advantages(torch.linspace(0, width, 8), 8, min_std=min_std).max() for width in widths]
    axes.plot(widths, best, label=f"min_std {min_std:g}")
axes.set(xscale="log", xlabel="from the best reward to the worst", ylabel="advantage of the best")
axes.legend()
plt.show()

# %% [markdown]
# ## One prompt, three answers, four poses each
#
# Now the hybrid. G = 3 answers, K = 4 poses drawn for each, and the second answer held no `<POSE>`. The **words** are worth
# their own reward plus the mean of their poses' rewards (a stated penalty where there is none): normalised over the G, this is
# F. The **poses** are compared among themselves, over the V = 8 that exist: Delta.

# %%
answer_rewards = torch.tensor([1.0, 0.0, 1.0])  # format, say
pose_rewards = torch.tensor([[0.9, 0.7, 0.8, 0.8], [0, 0, 0, 0], [0.2, 0.6, 0.4, 0.4]])
has_pose = torch.tensor([True, False, True])
F, delta = hygrpo.hybrid_advantages(answer_rewards, pose_rewards, has_pose, 3, missing=-1.0)
for i in range(3):
    print(f"answer {i}: F {F[i]:+.2f}, Delta", [f"{d:+.2f}" for d in delta[i].tolist()])
torch.testing.assert_close(F, advantages_by_hand(answer_rewards + torch.tensor([0.8, -1.0, 0.4]), 3))
torch.testing.assert_close(delta[has_pose].flatten(), advantages_by_hand(pose_rewards[has_pose].flatten(), 8))

# %% [markdown]
# **[trap] Valid poses.** What does not exist takes no part: were the zeros of the missing poses averaged in, every bad pose
# would look good beside them. And one pose alone has no spread: its advantage is 0, where a plain std would give NaN.

# %%
zeros_too = hygrpo.group_advantages(pose_rewards.flatten(), 12).view(3, 4)
print("with the missing ones as zeros, the last answer's:", [f"{d:+.2f}" for d in zeros_too[2].tolist()])
alone = hygrpo.group_advantages(torch.tensor([0.9, 0.3]), 2, valid=torch.tensor([True, False]))
print("one valid pose:", alone.tolist(), " by the plain formula, 0 / 0:", (torch.zeros(1) / 0).item())
assert (delta[1] == 0).all() and (alone == 0).all() and (zeros_too[2] > delta[2]).all()

# %% [markdown]
# **The exact split.** With the paper's Delta, the first answer is praised twice: in F, and again in each of its poses, for all of them lie above
# the mean of the eight. With K > 1 one can split exactly: F says what the *answer* is worth, Delta what the *pose* adds to its
# own answer: the groups of Delta are the K poses of *one answer*. Then Delta sums to 0 within each answer, and nothing is counted
# twice. (Trained both ways from three SFT models the two end alike: data/results/tables.md. The package keeps the paper's,
# which also serves K = 1.)

# %%
exact = hygrpo.group_advantages(pose_rewards.flatten(), 4, valid=has_pose.repeat_interleave(4), scale="none").view(3, 4)
whole = answer_rewards[:, None] + pose_rewards  # what (answer, pose) earned
of_answer = whole.mean(1, keepdim=True)
torch.testing.assert_close((of_answer + exact)[has_pose], whole[has_pose])  # the reward, split and put together again
print("paper:", [round(d, 2) for d in delta[0].tolist()], " sum", round(delta[0].sum().item(), 2))
print("exact:", [round(d, 2) for d in exact[0].tolist()], " sum", round(exact[0].sum().item(), 2))
assert delta[0].sum() > 1 and exact[0].sum().abs() < 1e-6

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.2), sharey=True)
for ax, values, title in zip(axes, (pose_rewards, delta, exact), ("rewards of the poses", "Delta, the paper's", "Delta, exact")):
    ax.bar(range(12), values.flatten(), color=["C0"] * 4 + ["0.8"] * 4 + ["C1"] * 4)
    ax.set(title=title, xticks=(1.5, 5.5, 9.5))
    ax.set_xticklabels(("answer 0", "1, no pose", "answer 2"), fontsize=8)
    ax.axhline(0, color="0.3", lw=1)
plt.show()

# %% [markdown]
# ## The clip
#
# Draws are dear, so one may want several steps on the same ones. Then the draws come from an older policy: weigh each by the
# ratio r of its probabilities, now and then. And don't trust it far: once r has left 1 ± 0.2 in the direction that pays,
# nothing more is earned. The objective is `min(r A, clip(r) A)`: flat where going on would pay, never flat where one has to
# come back.

# %%
ratio = torch.linspace(0.5, 1.6, 200)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
for ax, advantage in zip(axes, (1.0, -1.0)):
    by_hand = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    torch.testing.assert_close(by_hand, hygrpo.clipped(ratio.log(), torch.tensor(advantage), 0.2))
    ax.plot(ratio, by_hand, lw=2)
    ax.plot(ratio, ratio * advantage, color="0.6", ls=":")
    ax.axvspan(0.8, 1.2, color="C2", alpha=0.1)
    ax.set(title=f"advantage {advantage:+.0f}", xlabel="ratio")
axes[0].set_ylabel("objective")
plt.show()

# %% [markdown]
# **[trap] 132 dimensions.** The density of a pose is a product of 132 densities, so its ratio is a product too. Move every
# mean by a tenth of its std, less than an eye could see, and see where the ratios of draws go. Words and pose must be clipped
# apart, or each pose would drown its words.

# %%
generator = torch.Generator().manual_seed(0)
before, std = torch.zeros(132), torch.ones(132)
drawn = head.sample(before, std, 4000, generator)
log_ratio = head.log_prob(drawn, before + 0.1, std) - head.log_prob(drawn, before, std)  # (4000,)
ratios = {"joint": log_ratio.exp(), "mean per dimension": (log_ratio / 132).exp()}
left = {name: ((ratio - 1).abs() > 0.2).float().mean().item() for name, ratio in ratios.items()}
print({name: f"{share:.0%} outside 1 ± 0.2" for name, share in left.items()})
assert left["joint"] > 0.7 and left["mean per dimension"] == 0

# %%
figure, axes = plt.subplots(figsize=(8, 2.6))
for name, ratio in ratios.items():
    axes.hist(ratio.log10(), bins=torch.linspace(-2, 2, 120).tolist(), density=True, alpha=0.6, label=name)
axes.axvspan(torch.tensor(0.8).log10(), torch.tensor(1.2).log10(), color="C2", alpha=0.2)
axes.set(xlabel="ratio", ylabel="density", yscale="log")
axes.set_xticks((-2, -1, 0, 1, 2), ("0.01", "0.1", "1", "10", "100"))
axes.legend()
plt.show()

# %% [markdown]
# The joint ratio leaves the clip after the smallest step: a narrow trust region. Its geometric mean per dimension never does:
# a clip of 0.2 is then decoration, one of 0.005 is not. `ratio_dims` says which; either can work, mixing up the two cannot.
# With one step for each batch of draws, as below, every ratio is 1 and the clip never acts: the KL alone holds the policy.
#
# **[trap] Averaging.** A mean over an answer's tokens, over a prompt's answers and V poses, and only then over prompts. Who
# averages over whatever a micro-batch happens to hold, gets another gradient from the same data whenever V differs:

# %%
values = torch.tensor([[1.0, 1.0], [4.0, 0.0]])  # of the poses of two prompts; the second's second does not exist
here = torch.tensor([[True, True], [True, False]])
by_prompt = (values.sum(1) / here.sum(1)).mean()
at_once, one_by_one = values[here].mean(), torch.stack([v[h].mean() for v, h in zip(values, here)]).mean()
print(f"by prompt {by_prompt:.2f}; over all poses at once {at_once:.2f}, in two micro-batches {one_by_one:.2f}")
assert by_prompt == one_by_one != at_once

# %% [markdown]
# ## Step 0
#
# The policy: mini-sft, frozen, with a LoRA adapter and the head to train. **[trap] The reference** is the same model with the
# adapter off and the old head, no second copy. Before the first step the two must agree to the bit. Twelve sentences, four
# answers each, 32 poses an answer:

# %%
GROUP, POSES, PROMPTS = 4, 32, 12
body, prior, policy = load_body(), PosePrior.load(), PosePolicy.from_pretrained("mini-sft")
real = prior.sample(500, generator=generator)
everything = exam_samples(real, torch.arange(500), body=body, seed=0)
counted = torch.tensor([s.kind in rewards.REWARDED for s in captions.STATEMENTS])
exam_size = 24 if FAST else 96
exam = everything[:exam_size]
school = [s for s in everything[exam_size:] if counted[list(s.statements)].any()]  # without a counted one: a tie, time lost
policy.add_lora("rft").eval()
trained = [p for p in policy.parameters() if p.requires_grad]
print(f"{sum(p.numel() for p in trained):,} of {sum(p.numel() for p in policy.parameters()):,} numbers are trained")

# %%
def draw(batch):
    return policy.sample([s.question for s in batch], group_size=GROUP, poses_per_answer=POSES, generator=generator)


rollout = draw(school[:PROMPTS])
with torch.no_grad():
    now = policy.score(rollout)
    with policy.reference():
        reference = policy.score(rollout)
ratio = (now.text_logp - rollout.scores.text_logp).exp()
print(f"KL of the poses {head.kl(now.mean, now.std, reference.mean, reference.std).abs().max():.0f}, of the words "
      f"{hygrpo.kl_tokens(now.text_logp, reference.text_logp).abs().max():.0f}; ratios within {(ratio - 1).abs().max():.0e} of 1")
assert head.kl(now.mean, now.std, reference.mean, reference.std).abs().max() == 0
assert hygrpo.kl_tokens(now.text_logp, reference.text_logp).abs().max() == 0 and (ratio - 1).abs().max() < 1e-3

# %% [markdown]
# **[trap] Temperature.** The ratio is 1 only if one *scores the distribution one drew from*. Draw tokens at temperature 0.7
# and score them at 1: a wide choice, as a large model has at every word, and hardly a ratio is left near 1 before anything was
# learnt. The mini policy chooses among few phrases, so it is hit seldom; it is hit all the same. (The package keeps the
# temperature in the rollout.)

# %%
def outside(new, old):
    return ((new - old).exp() - 1).abs() > 0.2


wide = 3 * torch.randn(500, 2000, generator=generator)  # logits of 500 tokens over 2,000 words
tokens = torch.multinomial((wide / 0.7).softmax(-1), 1, generator=generator)
wrong = outside(wide.log_softmax(-1).gather(1, tokens), (wide / 0.7).log_softmax(-1).gather(1, tokens))
with torch.no_grad():
    cold = policy.score(rollout, temperature=0.7).text_logp
ours = outside(cold, rollout.scores.text_logp)[rollout.answer_mask]
print(f"outside 1 ± 0.2: {wrong.float().mean():.0%} of a wide choice, {ours.float().mean():.1%} of mini-sft's tokens")
assert wrong.float().mean() > 0.5 and not outside(now.text_logp, rollout.scores.text_logp).any()

# %%
figure, axes = plt.subplots(figsize=(7, 2.2))
for new, label in ((now.text_logp, "scored as drawn"), (cold, "scored at 0.7")):
    ratio = (new - rollout.scores.text_logp)[rollout.answer_mask].exp()
    axes.hist(ratio, bins=torch.linspace(0.5, 1.5, 80).tolist(), alpha=0.6, label=label)
axes.axvspan(0.8, 1.2, color="C2", alpha=0.1)
axes.set(xlabel="ratio of a token, before any step", ylabel="tokens", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# Three more, met in other programs and kept out of `policy.py`: **[trap] sampling** in the state one trains in (with gradient
# checkpointing on, the transformers library draws *wrong* tokens and hardly says so; minirft samples in eval mode, and a test
# holds its greedy tokens against one plain forward pass); **[trap] reading the prompt** G times instead of once; **[trap]
# memory**: logits over the vocabulary for the prompt's tokens, which nobody needs.

# %% [markdown]
# ## The loop
#
# Forty lines. First what the answers and poses of a rollout are worth, by name:

# %%
def rate(rollout, batch):
    """Rewards by name: of the answers (R,), of their poses (R, K)."""
    rows = rollout.scores.has_pose
    asked = [s for s in batch for _ in range(GROUP)]
    posed = [s for s, has in zip(asked, rows) if has]
    pose, joints = rollout.pose, body.joints(rollout.pose)
    text = tools.retrievers["reward_model"].embed_text([s.caption for s in posed])[:, None]
    of_poses = {"semantic": rewards.semantic_alignment(text, tools.retrievers["reward_model"].embed_pose(pose, joints)),
                "verifiable": rewards.verifiable(captions.holds(joints), [s.statements for s in posed], counted=counted),
                "plausible": rewards.plausibility(prior.score(pose))}
    of_answers = {"format": rewards.answer_format(policy.decode(rollout), wants_pose=[True] * len(asked))}
    return of_answers, {name: spread(value, rows) for name, value in of_poses.items()}


# %% [markdown]
# The loss: the same tokens and poses under the present weights, held against those at the time of drawing.

# %%
def loss_of(rollout, reference, F, delta):
    """HyGRPO's loss of one rollout, and what to log."""
    rows, old, new = rollout.scores.has_pose, rollout.scores, policy.score(rollout)
    pose_logp = head.log_prob(rollout.action, new.mean[:, None], new.std[:, None])
    pose_kl = head.kl(new.mean, new.std, reference.mean, reference.std)
    return hygrpo.hygrpo_loss(
        new.text_logp, spread(pose_logp, rows), old_text_logp=old.text_logp, old_pose_logp=spread(rollout.pose_logp, rows),
        reference_text_logp=reference.text_logp, pose_kl=spread(pose_kl, rows), answer_mask=rollout.answer_mask,
        has_pose=rows, text_advantage=F, pose_advantage=delta, group_size=GROUP, text_beta=0.05, pose_beta=0.01)


# %% [markdown]
# And the loop: draw, rate, compare, step. After each step one sentence is drawn again, *with the same dice*, to be looked at.

# %%
SENTENCE = "Kneel on your left knee, both arms stretched out to the sides."


def same_dice():
    return policy.generate([SENTENCE], n=2, seed=0)[0][0, 1]  # (24, 3, 3), the first draw


# %%
def align(batches, weights, *, lr):
    optimizer, log = torch.optim.Adam(trained, lr=lr), []
    for step, batch in enumerate(batches):
        rollout = draw(batch)
        of_answers, of_poses = rate(rollout, batch)
        F, delta = hygrpo.hybrid_advantages(rewards.total(of_answers, weights), rewards.total(of_poses, weights),
                                            rollout.scores.has_pose, GROUP, missing=-1.0, min_std=0.01)
        with torch.no_grad(), policy.reference():
            reference = policy.score(rollout)
        loss, metrics = loss_of(rollout, reference, F, delta)
        optimizer.zero_grad(), loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 5)  # Adam's first steps are its wildest
        optimizer.step()
        given = {name: value.mean().item() for name, value in (of_answers | of_poses).items()}
        log.append(metrics | given | {"pose": same_dice()})
    return log


lines = sum(len(inspect.getsource(f).rstrip().splitlines()) for f in (rate, loss_of, align))
print(lines, "lines")
assert lines <= 40

# %% [markdown]
# Before it runs, look at sentences that it will not train on, with the judge and the statements that nobody pays for. (The weights
# below are for a few steps, in which a verifiable reward is seen to rise. The recipe, `RFTConfig`, pays 4 for `semantic` and nothing
# for `verifiable`: [04](04_rewards.ipynb) shows why.)

# %%
tools = Instruments.load(body, real)


def look():
    """The exam, in per cent (of the two networks the recall at 5), for mean poses and draws; and both (P, 3, 24, 3, 3)."""
    pose, report = ask(policy, exam, draws=2, seed=0), {}
    for name, part in (("mean", pose[:, :1]), ("draws", pose[:, 1:])):
        full = measure(part, exam, tools)
        report[name] = {k: 100 * full[k] for k in ("satisfied_rewarded", "satisfied_unrewarded", "plausible")}
        report[name] |= {k: full[k]["t2p"]["5"] for k in ("reward_model", "judge")}
    return report, pose


def print_report(title, report):
    for name, row in report.items():
        print(f"{title:7s}{name:6s}", ", ".join(f"{k} {v:.0f}" for k, v in row.items()))


first, first_poses = look()
print_report("before", first)
poses = [same_dice()]

# %%
steps = 6 if FAST else 24
weights = {"semantic": 1.0, "verifiable": 1.0, "plausible": 0.5, "format": 0.5}
batches = [[school[(PROMPTS * step + i) % len(school)] for i in range(PROMPTS)] for step in range(steps)]
began = time.perf_counter()
log = align(batches, weights, lr=1e-3)
print(f"{steps} steps of {PROMPTS} sentences, {PROMPTS * GROUP} answers and {PROMPTS * GROUP * POSES} poses: "
      f"{time.perf_counter() - began:.0f} s")
last, last_poses = look()
print_report("before", first)
print_report("after", last)

# %% [markdown]
# The rewards of each step's draws, and how far the policy has gone from its reference:

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3))
for name in weights:
    axes[0].plot([row[name] for row in log], label=name)
axes[0].set(xlabel="step", ylabel="reward of the draws", ylim=(0, 1.05))
axes[0].legend(fontsize=8)
axes[1].plot([row["pose_kl"] for row in log], color="C3")
axes[1].set(xlabel="step", ylabel="KL of the pose, nats")
plt.show()
assert log[0]["pose_kl"] == 0 and log[-1]["pose_kl"] > 0
assert last["draws"]["satisfied_rewarded"] > first["draws"]["satisfied_rewarded"]
assert last["draws"]["plausible"] > first["draws"]["plausible"]

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True)
for ax, name in zip(axes, ("draws", "mean")):
    for offset, report, label in ((-0.2, first, "before"), (0.2, last, "after")):
        ax.barh([y + offset for y in range(5)], list(report[name].values()), height=0.38, label=label)
    ax.set(title={"draws": "draws", "mean": "mean pose"}[name], xlim=(0, 100), xlabel="%")
    ax.set_yticks(range(5), list(first[name]))
axes[0].invert_yaxis()
axes[1].legend(bbox_to_anchor=(1.02, 1), loc="upper left")
plt.show()

# %% [markdown]
# What happened, and what didn't. The *draws* have come much nearer to the mean pose: they satisfy more, of the paid and of the
# unpaid statements, the judge recognises them, and far more of them are poses that a body takes. The *mean pose* was good
# already. The judge finds it more often, but of its unpaid statements some were lost: the first sign of what
# [04_rewards](04_rewards.ipynb) shows at full length, and the reason to print that row. Half a minute buys surer draws rather
# than new knowledge, and part of the gain is simply a smaller spread: that much one line without any reward would have done
# ([05_sft](05_sft.ipynb)), only that here nobody said which numbers to tighten. Longer runs with more sentences a step, compared
# with as much more SFT, are the business of `minirft rft`.

# %%
shown = torch.cat([first_poses[:3, 1:], last_poses[:3, 1:]], 1)
pose_sheet(body, shown, [f"{s.caption} | two draws before, two after" for s in exam[:3]], views=("front",), columns=1)

# %% [markdown]
# **Drag the slider** (in JupyterLab), and turn the body: one sentence, one throw of the dice, every third step of the run.

# %%
poses += [row["pose"] for row in log]
kept = [(step, pose) for step, pose in list(enumerate(poses))[::3] if pose.isfinite().all()]  # NaN: an answer without <POSE>
print(SENTENCE)
Turntable(body, torch.stack([pose for _, pose in kept]), [f"step {step}" for step, _ in kept])

# %% [markdown]
# ## What breaks
#
# **1. No smallest spread.** Four poses of exactly equal reward: a spread of 0, and 0 / 0. One such group, and every weight of
# the model is NaN after the step:

# %%
tied = torch.full((4,), 0.5)
print("min_std 0:   ", hygrpo.group_advantages(tied, 4, min_std=0.0).tolist())
print("min_std 1e-3:", hygrpo.group_advantages(tied, 4).tolist())
weight = torch.nn.Parameter(torch.zeros(4))
loss = -hygrpo.clipped(weight, hygrpo.group_advantages(tied, 4, min_std=0.0), 0.2).mean()
loss.backward()
print("the gradient:", weight.grad.tolist())
assert weight.grad.isnan().all() and (hygrpo.group_advantages(tied, 4) == 0).all()

# %% [markdown]
# **2. A group of one.** Whoever has nobody to be compared with is neither good nor bad. The loss runs, the bar moves, and the
# gradient is 0 in every weight:

# %%
GROUP, POSES = 1, 1
rollout = draw(school[:6])
of_answers, of_poses = rate(rollout, school[:6])
F, delta = hygrpo.hybrid_advantages(rewards.total(of_answers, weights), rewards.total(of_poses, weights),
                                    rollout.scores.has_pose, GROUP, missing=-1.0)
with torch.no_grad():
    itself = policy.score(rollout)  # held against itself: no KL
loss, _ = loss_of(rollout, itself, F, delta)
gradient = torch.autograd.grad(loss, trained, allow_unused=True)
largest = max(g.abs().max().item() for g in gradient if g is not None)
print(f"rewards {[round(v, 2) for v in rewards.total(of_poses, weights)[:, 0].tolist()]}, largest gradient {largest:.1e}")
assert (F == 0).all() and (delta == 0).all() and largest < 1e-6

# %%
figure, axes = plt.subplots(figsize=(7, 2.2))
alone = torch.rand(64, generator=generator)  # the same 64 rewards, in groups of 1, 2, 4 ...
sizes = (1, 2, 4, 16, 64)
axes.bar(range(5), [hygrpo.group_advantages(alone, size, scale="none").abs().mean() for size in sizes])
axes.set_xticks(range(5), sizes)
axes.set(xlabel="group size", ylabel="mean size of an advantage")
plt.show()

# %% [markdown]
# ## Exercise
#
# K poses for each answer cost little, for the words are drawn once. What do they buy? Measure how well the gradient of a mean
# is known from K draws: the mean moves one number, the reward is `-(x - 1)²`, the policy N(0, 1). Let `noise(k)` give the
# std, over 1,000 groups, of the policy gradient's estimate, `mean of advantage * x` over a group's k draws.

# %%
def noise(k):
    return float("nan")  # mend it


print({k: round(noise(k), 2) for k in (2, 4, 16, 64)})

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# def noise(k):
#     x = torch.randn(1000 * k, generator=generator)
#     advantage = hygrpo.group_advantages(-((x - 1) ** 2), k)
#     return (advantage * x).view(1000, k).mean(1).std().item()
# ```
#
# 0.38, 0.31, 0.17, 0.08: sixteen times as many poses, a quarter of the noise, and the direction itself is 0.8 long. With two
# or four draws most of a step is chance.
#
# </details>
#
# ## Draws close to the mean
#
# The mean pose is what a reader gets, but drawn poses are what is rewarded, and those lie a std away in 132 numbers at once. A
# draw of a smaller `width` times the std says more of what the mean itself should do. Two estimates of the same gradient, from
# 64 draws each: how far do they agree? (1: no noise; 0: nothing but noise.)

# %%
def pull(width, count, asked=school[:24]):
    """The direction that `count` draws of so wide a Gaussian give each sentence's mean, in units of its std (P, 132)."""
    noise = torch.randn(len(asked), count, 132, generator=generator)
    with policy.reference():
        mean, std = policy.gaussian([s.question for s in asked])
    pose = to_pose(mean[:, None] + width * std[:, None] * noise)  # (P, count, 24, 3, 3)
    text = tools.retrievers["reward_model"].embed_text([s.caption for s in asked])[:, None]
    worth = (text * tools.retrievers["reward_model"].embed_pose(pose, body.joints(pose))).sum(-1)  # (P, count)
    return ((worth - worth.mean(1, keepdim=True))[..., None] * noise).mean(1) / width


widths = (1.0, 0.5, 0.3, 0.1)
agree = {w: torch.cosine_similarity(pull(w, 64), pull(w, 64)).mean().item() for w in widths}
print({w: round(value, 2) for w, value in agree.items()})
assert agree[0.3] > agree[1.0]

# %%
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.bar(range(len(widths)), agree.values())
axes.set_xticks(range(len(widths)), widths)
axes.set(xlabel="width of the draws, of the policy's std", ylabel="agreement")
plt.show()

# %% [markdown]
# So `minirft rft` draws every second pose at 0.3 of the std (`widths` in RFTConfig), and scores it by that narrower Gaussian; each
# is compared with the draws as wide as itself (`kinds` in `hybrid_advantages`), since narrow ones earn more by being narrow alone. The
# wide half teaches what to draw. The mean pose ends where it would, the draws less alike and less sure ([all tables](../data/results/tables.md)).
#
# ## Rewards of your own
#
# A function in a file. It is handed R answers' samples, the answers, their poses `(R, K, 24, 3, 3)` and joints `(R, K, 24, 3)`
# in metres, NaN where there is none, and gives a number for each answer (those without a pose too) or for each pose. Whatever
# its scale, an answer that shows no pose never gets more than the worst pose of its batch. This one pays for hands far apart.

# %%
folder = Path(tempfile.mkdtemp())
(folder / "mine.py").write_text("""
def wide(samples, answers, pose, joints):
    return (joints[..., 22, :] - joints[..., 23, :]).norm(dim=-1)  # left hand, right hand: (R, K)
""")
weights_of, own = read_rewards([f"{folder / 'mine.py'}:wide=2"], train.RFTConfig().reward_weights)  # as --reward reads it
critics = Critics.load(body, own=own)
print(weights_of)

# %% [markdown]
# Its values by hand, and as the package's training sees them:

# %%
GROUP, POSES = 4, 32
rollout = draw(batch := school[:PROMPTS])
_, of_poses = give_rewards(rollout, policy.decode(rollout), batch, critics)
hands = body.joints(rollout.pose)[..., [JOINT["left_hand"], JOINT["right_hand"]], :]  # (A, K, 2, 3)
torch.testing.assert_close(of_poses["wide"][rollout.scores.has_pose], (hands[..., 0, :] - hands[..., 1, :]).norm(dim=-1))

# %% [markdown]
# Now `train.rft` itself, what `minirft rft --reward mine.py:wide=2` runs, for a few steps:

# %%
config = train.RFTConfig(steps=4 if FAST else 16, prompts=12, poses_per_answer=32, warmup=2, lr=3e-3, talk_share=0.0,
                         reward_weights=weights_of)
wider = train.rft(PosePolicy.from_pretrained("mini-sft"), real, config, critics=critics, out=folder / "run", progress=False)
steps_done = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
if not FAST:
    assert sum(row["wide"] for row in steps_done[-4:]) > sum(row["wide"] for row in steps_done[:4])

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 2.2))
axes[0].plot([row["wide"] for row in steps_done], color="C4")
axes[0].set(xlabel="step", ylabel="hands apart, m")
axes[1].plot([row["verifiable"] for row in steps_done], label="verifiable")
axes[1].plot([row["plausible"] for row in steps_done], label="plausible")
axes[1].set(xlabel="step", ylim=(0, 1))
axes[1].legend()
plt.show()

# %% [markdown]
# You get what you pay for: hands apart, whatever the sentence says of them. What a reward does to the others is in the log.
#
# ## Our rewards in TRL's trainer
#
# TRL's `GRPOTrainer` calls a reward as `reward(prompts=..., completions=..., completion_ids=..., **columns of the data set)` and
# wants a list of floats. Completions are strings, or lists of one chat message. **[trap] Special tokens:** TRL's strings have
# lost theirs, so our answers arrive as "It is ." and no format reward would ever see a pose. The ids still have it.

# %%
def answers_of(completions, completion_ids=None):
    """What TRL calls completions, as answers with their <POSE>."""
    if completion_ids is None:
        return [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    end = {policy.tokenizer.eos_token_id, policy.tokenizer.pad_token_id}
    return [policy.tokenizer.decode([token for token in row if token not in end]).strip() for row in completion_ids]


def format_reward(prompts, completions, completion_ids=None, **columns):
    answers = answers_of(completions, completion_ids)
    return rewards.answer_format(answers, wants_pose=[True] * len(answers)).tolist()


# %%
@torch.no_grad()
def verifiable_reward(prompts, completions, question, statements, completion_ids=None, **columns):
    """What the mean pose of an answer satisfies. question, statements: columns of the data set."""
    scores = policy.score(policy.encode(question, answers_of(completions, completion_ids)))
    posed = scores.has_pose.tolist()
    held = captions.holds(body.joints(to_pose(scores.mean)))[:, None]  # (A, 1, S)
    shares = torch.zeros(len(completions))
    shares[scores.has_pose] = rewards.verifiable(held, [s for s, has in zip(statements, posed) if has], counted=counted)[:, 0]
    return shares.tolist()


# %% [markdown]
# Called just as TRL calls them, in both of its formats, for two questions with two answers each:

# %%
asked = [school[0], school[0], school[1], school[1]]
said = ["It is <POSE>.", "I only know about body poses."] * 2
ids = [policy.tokenizer(answer, add_special_tokens=False).input_ids + [policy.tokenizer.eos_token_id] for answer in said]
strings = policy.tokenizer.batch_decode(ids, skip_special_tokens=True)  # as TRL does
columns = {"question": [s.question for s in asked], "statements": [list(s.statements) for s in asked], "trainer_state": None}
messages = [[{"role": "assistant", "content": text}] for text in strings]
chats = [[{"role": "user", "content": s.question}] for s in asked]
for reward in (format_reward, verifiable_reward):
    as_strings = reward(prompts=columns["question"], completions=strings, completion_ids=ids, **columns)
    assert as_strings == reward(prompts=chats, completions=messages, completion_ids=ids, **columns)
    print(f"{reward.__name__}: {[round(value, 2) for value in as_strings]}")
print("strings as TRL has them:", strings[:2], "format:", format_reward(prompts=chats, completions=strings, **columns))

# %% [markdown]
# The rest is TRL's (tried with 1.16.0; minirft does not need it). `data` has the columns `prompt`, `question` and `statements`:
#
# ```python
# trainer = GRPOTrainer(model=policy.model, processing_class=policy.tokenizer, train_dataset=data, args=GRPOConfig(...),
#                       reward_funcs=[format_reward, verifiable_reward])
# ```
#
# TRL trains the *words*: no Gaussian, no Delta. Words can choose among poses only as far as the head listens to them. That is
# the paper's finding too, and why there is a HyGRPO.
#
# ## Take this with you
#
# Two files, [hygrpo.py](../minirft/hygrpo.py) and [head.py](../minirft/head.py), need torch alone: copy them beside your code
# and write `import head, hygrpo`. What they want of *your* model: log-probabilities of R answers' tokens `(R, T)`, and a hidden
# state for each answer that has a pose. Here is a whole other model, as small as can be: two words, of which only the second
# leads to a "pose" of six numbers, paid for being near 0.5.

# %%
torch.manual_seed(0)
words, body_head = torch.nn.Linear(4, 2), head.PoseHead(4, dims=6, width=16)
learning = [*words.parameters(), *body_head.parameters()]
optimizer, state, paid = torch.optim.Adam(learning, lr=0.02), torch.ones(16, 4), []  # 16 answers: two questions, eight answers each
for step in range(150):
    text = torch.distributions.Categorical(logits=words(state))
    word, (mean, std) = text.sample(), body_head(state)
    poses = head.sample(mean.detach(), std.detach(), 4, generator)  # (R, K, 6)
    worth, has_pose = -(poses - 0.5).abs().mean(-1), word == 1  # (R, K), (R,)
    F, delta = hygrpo.hybrid_advantages(torch.zeros(16), worth, has_pose, 8, missing=-2.0)
    text_logp, pose_logp = text.log_prob(word)[:, None], head.log_prob(poses, mean[:, None], std[:, None])
    loss, _ = hygrpo.hygrpo_loss(
        text_logp, pose_logp, old_text_logp=text_logp.detach(), old_pose_logp=pose_logp.detach(), reference_text_logp=text_logp.detach(),
        pose_kl=torch.zeros(16), answer_mask=torch.ones(16, 1, dtype=torch.bool), has_pose=has_pose, text_advantage=F,
        pose_advantage=delta, group_size=8)
    optimizer.zero_grad(), loss.backward(), optimizer.step()
    paid.append((has_pose.float().mean().item(), worth[has_pose].mean().item()))
print(f"answers with a pose {paid[0][0]:.0%} -> {paid[-1][0]:.0%}, its worth {paid[0][1]:.2f} -> {paid[-1][1]:.2f}")
assert paid[-1][0] > 0.9 and paid[-1][1] > paid[0][1] + 0.1

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 2.2))
for ax, values, label in zip(axes, zip(*paid), ("share of answers with a pose", "worth of the poses")):
    ax.plot(values)
    ax.set(xlabel="step", title=label)
plt.show()

# %% [markdown]
# The rewards come along by `rewards.py` (torch alone); for the judge, the statements and the prior, `pip install` this
# repository and `from minirft import captions`, `from minirft.retrieval import Retriever`, `from minirft.prior import PosePrior`.
#
# Next: [07_pictures](07_pictures.ipynb), pictures in.

# %%
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
