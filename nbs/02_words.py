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
# # 02 · What can be said of a pose
#
# **And is it true?** Poses are easy to come by, sentences about them are not, and a person who writes one by hand cannot check a million. So
# minirft turns it round: measure the body, let every true measurement become a *statement*, let statements become English.
# Whoever can say a thing this way can also **check** it. That checker is the examiner of every model here, and later its
# reward.
#
# **Runs in about 20 seconds on a laptop's CPU.** It builds on [01_body](01_body.ipynb): a pose is 24 rotations, `body.joints`
# places them.

# %%
import os
import random
import sys
import time

import matplotlib.pyplot as plt
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

from minirft import captions
from minirft.body import JOINT, flip_pose, load_body, to_matrix
from minirft.prior import PosePrior
from minirft.render import pose_sheet

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
start = time.perf_counter()

# %% [markdown]
# Four poses to talk about, made by hand: a joint's name and its axis-angle in degrees.

# %%
def pose_of(**degrees):
    axis_angle = torch.zeros(24, 3)
    for name, turn in degrees.items():
        axis_angle[JOINT[name]] = torch.tensor(turn) * torch.pi / 180
    return to_matrix(axis_angle.flatten())


body = load_body()
down = {"left_shoulder": (0.0, 0, -75), "right_shoulder": (0.0, 0, 75)}  # the rest pose holds the arms out
bent = {"left_hip": (-85.0, 0, 0), "right_hip": (-85.0, 0, 0), "left_knee": (90.0, 0, 0), "right_knee": (90.0, 0, 0)}
wave = pose_of(**down | {"right_shoulder": (0.0, 0, 20), "right_elbow": (0.0, 0, -110), "head": (0.0, 0, -12)})
chair = pose_of(**down, **bent)
bow = pose_of(**down, pelvis=(25.0, 0, 0), spine1=(30.0, 0, 0), left_hip=(-25.0, 0, 0), right_hip=(-25.0, 0, 0))
stork = pose_of(left_hip=(-80.0, 0, 0), left_knee=(95.0, 0, 0), left_shoulder=(0.0, 0, 75), right_shoulder=(0.0, 0, -75))
poses, names = torch.stack([wave, chair, bow, stork]), ["wave", "chair", "bow", "stork"]
pose_sheet(body, poses, names, columns=4)

# %% [markdown]
# ## A measure
#
# The smallest thing one can measure of a body: three joints make an angle. A stretched elbow has 180 degrees.

# %%
def elbow_angle(joints, side):
    """Joints (..., 24, 3) to the elbow's inner angle in radians (...)."""
    shoulder, elbow, wrist = (joints[..., JOINT[f"{side}_{name}"], :] for name in ("shoulder", "elbow", "wrist"))
    upper, lower = shoulder - elbow, wrist - elbow
    cosine = (upper * lower).sum(-1) / (upper.norm(dim=-1) * lower.norm(dim=-1))
    return torch.arccos(cosine.clamp(-1, 1))


joints = body.joints(poses)
angles = elbow_angle(joints, "right")
measures = captions.quantities(joints)  # (4, Q): all of them, of all poses, at once
torch.testing.assert_close(angles, measures[:, captions.QUANTITIES.index("right_elbow")], atol=2e-3, rtol=0)
print({name: f"{a:.0f}°" for name, a in zip(names, (angles * 180 / torch.pi).tolist())})

# %% [markdown]
# Others are distances (hand to knee), offsets along an axis (hand over head), heights above the lowest joint, directions of a
# limb. The second measure we need: how far, in metres, the hand is **above** the head's centre. Up is the world's up: in a
# handstand the feet are.

# %%
over = measures[:, captions.QUANTITIES.index("right_hand_over_skull")]
print({name: f"{o:+.2f} m" for name, o in zip(names, over.tolist())})
print(len(captions.QUANTITIES), "measures, for example", *captions.QUANTITIES[::25])
figure, axes = plt.subplots(figsize=(6, 2.6))
for angle, above, name in zip((angles * 180 / torch.pi).tolist(), over.tolist(), names):
    axes.plot(angle, above, "o")
    axes.annotate(name, (angle, above), xytext=(-8, 0), textcoords="offset points", ha="right", va="center")
axes.set(xlabel="right elbow, degrees", ylabel="hand above head, m", xlim=(20, 190))
plt.show()

# %% [markdown]
# ## A statement is a measure in an interval
#
# "The right elbow is bent": the angle is below 110 degrees. `low <= q < high`, one side of it possibly infinite. Nothing else
# is behind it.

# %%
def explain(name):
    """A statement's intervals as text, in radians and metres, as everything inside the package."""
    texts = []
    for index, low, high in captions.STATEMENTS[captions.INDEX[name]].parts:
        below, above = (f"{low:.3g} <= " if low > -1e9 else ""), (f" < {high:.3g}" if high < 1e9 else "")
        texts.append(below + captions.QUANTITIES[index] + above)
    return " and ".join(texts)


for name in ("right_elbow_bent", "right_hand_above_head", "hands_together", "right_waving"):
    print(f"{name}:  {explain(name)}")
print(f"(110 degrees are {110 * torch.pi / 180:.3g} radians)")

# %% [markdown]
# The last one shows the second and last ingredient: a name from everyday life is several intervals *at once*. So here is the
# whole truth about poses, in ten lines, and it agrees with the package on every statement and every pose:

# %%
def holds_by_hand(measures):
    """Measures (N, Q) to which statements are true (N, S)."""
    columns = []
    for statement in captions.STATEMENTS:
        true = torch.ones(len(measures), dtype=torch.bool)
        for index, low, high in statement.parts:
            true &= (low <= measures[:, index]) & (measures[:, index] < high)
        columns.append(true)
    return torch.stack(columns, dim=1)


true = captions.holds(joints)  # (4, S)
assert torch.equal(true, holds_by_hand(measures))
assert torch.equal(true[:, captions.INDEX["right_elbow_bent"]], angles < 110 * torch.pi / 180)

# %%
for name, row in zip(names, true):
    said = [captions.STATEMENTS[i].name for i in row.nonzero()[:, 0]]
    print(f"{name}: {len(said)} of {len(row)} hold.", *said[:8])
assert true[0, captions.INDEX["right_waving"]] and not true[1:, captions.INDEX["right_waving"]].any()

# %% [markdown]
# Bend the right elbow slowly, from straight to folded, and watch which statements hold. Between the bands are **gaps**: where a
# person would hesitate, nothing is said. A caption need not say everything, but all it says must be true.

# %%
bends = torch.linspace(0, 150, 151)
sweep = torch.stack([pose_of(**down | {"right_elbow": (0.0, bend, 0)}) for bend in bends.tolist()])
rows = captions.holds(body.joints(sweep))
kinds = ["straight", "slightly_bent", "bent", "square", "fully_bent"]
figure, axes = plt.subplots(figsize=(9, 2.6))
for y, kind in enumerate(kinds):
    inside = bends[rows[:, captions.INDEX[f"right_elbow_{kind}"]]]
    axes.barh(y, inside.max() - inside.min(), left=inside.min(), color=f"C{y}", height=0.6)
axes.set(yticks=range(5), yticklabels=[f"right_elbow_{kind}" for kind in kinds], xlabel="elbow turned, degrees", xlim=(0, 150))
axes.invert_yaxis()
plt.show()

# %% [markdown]
# ## From statements to sentences
#
# `describe` draws some of the true statements, drops what another one already says, and puts the rest into words: orders,
# reports, fragments, names, of you, of him, of a dancer. One pose gives as many sentences as you like, and the same seed gives
# the same one.

# %%
for seed in range(9):
    caption = captions.describe(true[0], random.Random(seed))
    print(f"- {caption.text}\n     = {', '.join(captions.STATEMENTS[i].name for i in caption.statements)}")
assert captions.describe(true[0], random.Random(3)) == captions.describe(true[0], random.Random(3))

# %%
told = [len(captions.describe(row, random.Random(seed)).statements) for row in true for seed in range(200)]
figure, axes = plt.subplots(figsize=(6, 2))
axes.hist(told, bins=[i + 0.5 for i in range(max(told) + 1)], rwidth=0.8)
axes.set(xlabel="statements in a sentence", ylabel="of 800 sentences")
plt.show()

# %% [markdown]
# ## The verifier
#
# A caption carries its statements, so any pose can be held against it. Ten captions of each of the four poses; how much of them
# does each pose satisfy? Each satisfies all of its own. The rest shows what captions leave open: even a wrong pose gets
# something right.

# %%
def share(of, at):
    """How much of ten captions of pose `of` the pose `at` satisfies."""
    made = [captions.describe(true[of], random.Random(seed)) for seed in range(10)]
    return sum(captions.satisfied(c.statements, joints[at]).float().mean().item() for c in made) / len(made)


table = torch.tensor([[share(of, at) for at in range(4)] for of in range(4)])
assert (table.diagonal() == 1).all() and (table - torch.eye(4)).max() < 0.9
figure, axes = plt.subplots(figsize=(4.6, 3.6))
axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
for of in range(4):
    for at in range(4):
        axes.text(at, of, f"{table[of, at]:.0%}", ha="center", va="center", color="white" if of == at else "black")
axes.set_xticks(range(4), names)
axes.set_yticks(range(4), names)
axes.set(xlabel="held against the pose", ylabel="captions of")
plt.show()

# %% [markdown]
# ## Left and right
#
# The surest way to spoil a pose model is to mix up the sides. The mirror image of the pose satisfies exactly the mirror image
# of the statements, and the mirrored words. (A *right angle* stays right.)

# %%
mirrored = captions.holds(body.joints(flip_pose(poses)))
assert torch.equal(mirrored, true[:, list(captions.MIRROR)])
caption = captions.describe(true[0], random.Random(7))
print(caption.text, "->", captions.swap_sides(caption.text))
print(captions.swap_sides("left arm bent at a right angle"))
pose_sheet(body, torch.stack([poses[0], flip_pose(poses[0])]), [caption.text, captions.swap_sides(caption.text)], views=("front",))

# %% [markdown]
# ## What is worth saying
#
# Draw poses from the prior, which has learned from motion capture what bodies do, and count. "Feet on the ground" is true of
# most: saying it teaches little. A kneeling lunge is hardly ever there: never leave it out. `weights_for` turns the counts into
# how readily each is said.

# %%
generator = torch.Generator().manual_seed(0)
prior = PosePrior.load()
drawn = prior.sample(500 if FAST else 4000, generator=generator)
many = captions.holds(body.joints(drawn))
frequency = many.float().mean(0)
order = frequency.argsort(descending=True)
for label, some in (("most common", order[:6]), ("in the middle", order[60:66]), ("rare", order[150:156])):
    print(f"{label}:", ", ".join(f"{captions.STATEMENTS[i].name} {frequency[i]:.1%}" for i in some))

# %%
figure, axes = plt.subplots(figsize=(9, 3))
axes.plot(100 * frequency[order], color="C0", lw=2)
axes.axhspan(40, 100, color="C3", alpha=0.12)
axes.axhspan(0.01, 6, color="C2", alpha=0.12)
axes.text(len(order) * 0.7, 55, "trivial: over 40 %", color="C3")
axes.text(len(order) * 0.02, 0.1, "rare: under 6 %", color="C2")
axes.set(yscale="log", ylim=(0.02, 100), xlabel="statements, the most common first", ylabel="% of poses")
axes.set_yticks((0.1, 1, 10, 100), ("0.1", "1", "10", "100"))
plt.show()

# %%
def commonness(weights):
    """How common, on average, the things are that captions say."""
    made = [captions.describe(row, random.Random(i), weights=weights) for i, row in enumerate(many[:300])]
    return torch.stack([frequency[list(c.statements)].mean() for c in made]).mean().item()


flat, weighted = commonness([1.0] * len(frequency)), commonness(captions.weights_for(frequency))
print(f"said at random: true of {flat:.0%} of poses on average; said by weight: of {weighted:.0%}")
assert weighted < flat

# %% [markdown]
# ## The verifier as a compass
#
# `violation` says not only *whether* a statement fails but *by how much*, and its gradient says which way to move. Start with
# half-bent legs and walk downhill until the body kneels on the right knee with its hands on its head. Nobody ever recorded this
# one for us.

# %%
wishes = ["right_kneeling", "left_hand_on_head", "right_hand_on_head", "torso_upright"]
free = torch.zeros(24, 3)
free[JOINT["left_hip"], 0], free[JOINT["left_knee"], 0], free[JOINT["right_knee"], 0] = -1.2, 1.2, 1.2  # roughly down
free.requires_grad_()
optimizer = torch.optim.Adam([free], lr=0.03)
for step in range(300):
    violation = captions.violation(wishes, body.joints(to_matrix(free.flatten()))).sum()
    if violation == 0:
        break
    optimizer.zero_grad()
    (violation + 0.02 * free.square().sum()).backward()  # the second term: no more turning than needed
    optimizer.step()
found = to_matrix(free.detach().flatten())
print(f"violation {violation:.3f} after {step} steps;", dict(zip(wishes, captions.satisfied(wishes, body.joints(found)).tolist())))

# %%
pose_sheet(body, found[None], [" and ".join(wishes)], views=("front", "side", "back"))

# %% [markdown]
# Every statement holds, and still no person would kneel quite so: the verifier knows what was *said*, not what bodies *do*.
# That is the prior's part, and why a reward needs both. Its score is 0 for a usual pose, -1 at the lowest per cent of real
# ones. Even our stiff hand-made wave is strange to it, and the found pose far more so.

# %%
found_score, wave_score = prior.score(torch.stack([found, wave])).tolist()
print(f"prior's score: found {found_score:.1f}, wave {wave_score:.1f}, median of its own draws {prior.score(drawn).median():.1f}")
assert found_score < wave_score

# %% [markdown]
# ## What breaks
#
# **1. A false sentence is caught.** Mirror the words but not the pose: the classic error of a pose data set.

# %%
caption = captions.describe(true[0], random.Random(1))
swapped = [captions.MIRROR[i] for i in caption.statements]
verdict = captions.satisfied(swapped, joints[0])
print(captions.swap_sides(caption.text))
print({captions.STATEMENTS[i].name: bool(v) for i, v in zip(swapped, verdict)})
assert captions.satisfied(caption.statements, joints[0]).all() and not verdict.all()

# %% [markdown]
# **2. A threshold is sharp, and words are not.** Two elbows that no eye tells apart: one counts as bent, the other does not. A
# share of satisfied statements therefore jumps; `violation` does not. Do not read much into single per cents.

# %%
def bend_for(target):
    """The turn of the right elbow, degrees, that gives this inner angle: by halving."""
    low, high = 0.0, 150.0
    for _ in range(30):
        middle = (low + high) / 2
        wide = elbow_angle(body.joints(pose_of(right_elbow=(0.0, middle, 0))), "right") * 180 / torch.pi > target
        low, high = (middle, high) if wide else (low, middle)
    return low


pair = torch.stack([pose_of(**down | {"right_elbow": (0.0, bend_for(angle), 0)}) for angle in (109.8, 110.2)])
held = captions.satisfied(["right_elbow_bent"], body.joints(pair))[:, 0]
miss = captions.violation(["right_elbow_bent"], body.joints(pair))[:, 0]
print(f"bent: {held.tolist()}; by how much not: {[round(v, 3) for v in miss.tolist()]} category widths")
assert held.tolist() == [True, False] and miss[0] == 0 < miss[1] < 0.05
pose_sheet(body, pair, ["109.8 degrees: bent", "110.2 degrees: not bent"])

# %% [markdown]
# **3. It checks statements, not English.** The verifier knows what a caption of its own asserts. *Your* sentence comes without
# statements, so nobody checks it; and a pose that satisfies every statement may still be odd in all that was left unsaid.

# %% [markdown]
# ## Exercise
#
# Which measure and which interval would say "the feet are at different heights"? Find the measure in `captions.QUANTITIES`, and
# write `uneven(joints)` with the help of `captions.quantities` so that it holds for the stork alone.

# %%
def uneven(joints):
    return torch.zeros(joints.shape[:-2], dtype=torch.bool)  # mend it


print("feet at different heights:", dict(zip(names, uneven(joints).tolist())))

# %% [markdown]
# <details><summary>Answer</summary>
#
# `left_ankle_over_right_ankle` is the offset of one ankle from the other along up. Different means either sign:
#
# ```python
# def uneven(joints):
#     q = captions.quantities(joints)[..., captions.QUANTITIES.index("left_ankle_over_right_ankle")]
#     return q.abs() > 0.2
# ```
#
# As a statement it would be two, one for each side, since an interval has one piece: `left_foot_lifted` and
# `right_foot_lifted`.
#
# </details>
#
# Next: [03_head](03_head.ipynb), a head that knows what it doesn't know.

# %%
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
