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
# # 01 · A body from 24 rotations
#
# **What are 24 rotations?** A pose in minirft is a tensor of shape `(24, 3, 3)`: one rotation for each joint of a body, and nothing else. No positions, no
# limb lengths. This notebook starts from one rotation, hangs 24 of them on a tree, gets joints and a skin out of them, and
# shows three ways in which rotations, which look like any nine numbers, are not like any nine numbers.
#
# **Runs in about 15 seconds on a laptop's CPU.** It needs no other notebook.

# %%
import time

import matplotlib.pyplot as plt
import roma
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

from minirft.body import (JOINT, JOINT_NAMES, MIRROR, PARENTS, canonical_yaw, flip_pose, from_6d, load_body, to_6d,
                          to_axis_angle, to_matrix)
from minirft.render import pose_sheet
from minirft.viewer import Turntable

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})  # small enough to keep in the notebook
start = time.perf_counter()

# %% [markdown]
# ## One rotation, three spellings
#
# **A matrix.** Its columns say where the three axes go. A quarter turn about the vertical Y axis carries Z to X, X to -Z, and
# leaves Y alone. Nine numbers, of which only three are free.

# %%
quarter = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
front = torch.tensor([0.0, 0, 1])  # the way the body faces
print(quarter @ front)
assert torch.equal(quarter @ front, torch.tensor([1.0, 0, 0]))  # now it faces its former left
assert torch.equal(quarter.T @ quarter, torch.eye(3)) and quarter.det() == 1  # what makes nine numbers a rotation

# %% [markdown]
# **Axis-angle.** Three numbers: the axis as a direction, the angle in radians as its length. Files use it; 24 of them are the
# `(72,)` that SMPL users pass around. Rodrigues' formula makes a matrix of it, and here it is whole:

# %%
def rodrigues(vector):
    """Axis-angle (3,) to a rotation matrix (3, 3)."""
    angle = vector.norm()
    x, y, z = vector / angle
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])  # cross @ v is axis x v
    return torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross


vector = torch.tensor([0.0, torch.pi / 2, 0])
torch.testing.assert_close(rodrigues(vector), quarter)
torch.testing.assert_close(rodrigues(vector), roma.rotvec_to_rotmat(vector))  # the library that the package uses

# %% [markdown]
# **6D.** The first two columns of the matrix, one after the other. The third is their cross product, so nothing is lost. And
# any six numbers will do: Gram-Schmidt sets the two columns upright again. That is why the network's output is 6D: whatever it
# says is a rotation ([Zhou et al., 1812.07035](https://arxiv.org/abs/1812.07035)).

# %%
def gram_schmidt(six):
    """Any six numbers to the rotation matrix whose first column points along the first three."""
    a, b = six[:3], six[3:]
    x = a / a.norm()
    y = b - (b @ x) * x
    y = y / y.norm()
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=1)


noise = torch.randn(6, generator=torch.Generator().manual_seed(0))
rotation = gram_schmidt(noise)
torch.testing.assert_close(rotation, from_6d(noise))
torch.testing.assert_close(rotation.T @ rotation, torch.eye(3), atol=1e-5, rtol=0)
assert torch.equal(to_6d(quarter), torch.tensor([0.0, 0, -1, 0, 1, 0])), "columns, not rows"

# %% [markdown]
# The two columns of any six numbers, and of the rotation that is made of them: the first keeps its direction, the second is set
# upright on it, within their common plane.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.4))
for ax, seed in zip(axes, (3, 4, 9)):
    pair = torch.randn(6, generator=torch.Generator().manual_seed(seed)).view(2, 3)
    upright = gram_schmidt(pair.flatten())[:, :2].T
    for vectors, style in ((pair, ":"), (upright, "-")):
        for (x, y), color in zip((vectors @ upright.T).tolist(), ("C0", "C1")):  # in the plane in which both pairs lie
            ax.plot([0, x], [0, y], style, color=color, lw=2)
    ax.set(aspect="equal", xlim=(-1, 2.5), ylim=(-1.2, 1.7))
axes[0].set_title("dotted: any two columns; drawn: the rotation's", fontsize=9, loc="left")
plt.show()

# %% [markdown]
# ## 24 of them, on a tree
#
# Each joint hangs from a parent. Its rotation is *local*: relative to the parent, as "bend the elbow" is.

# %%
def print_tree(joint=0, depth=0):
    children = [j for j, parent in enumerate(PARENTS) if parent == joint]
    print("   " * depth + f"{joint:2d} {JOINT_NAMES[joint]}")
    for child in children:
        print_tree(child, depth + 1)


print_tree()
assert len(PARENTS) == 24 and all(parent < joint for joint, parent in enumerate(PARENTS))  # parents come first

# %% [markdown]
# What the tree knows besides is where the joints are when nothing is turned: the *rest pose* `body.rest`, `(24, 3)` metres. Y
# is up, the body faces Z, X is its left. Seen from the front its left is on **your right**; blue is left in all our skeletons.

# %%
body = load_body()  # the free body that comes with minirft; pass SMPL_NEUTRAL.pkl's path if you have it
figure, axes = plt.subplots(figsize=(8, 6))
for j, (x, y, _) in enumerate(body.rest.tolist()):
    color = {"l": "tab:blue", "r": "tab:orange"}.get(JOINT_NAMES[j][0] if "_" in JOINT_NAMES[j] else "", "0.35")
    px, py, _ = body.rest[max(PARENTS[j], 0)].tolist()
    axes.plot([px, x], [py, y], "-o", color=color, lw=3, ms=5)
    side = -1 if x < -0.01 else 1
    axes.annotate(str(j), (x, y), xytext=(5 * side, 5), textcoords="offset points", fontsize=9, ha="right" if side < 0 else "left")
axes.set(aspect="equal", xlabel="x, metres: the body's right  <->  its left", ylabel="y, metres")
plt.show()

# %% [markdown]
# ## From rotations to places
#
# Walk down the tree. A child sits at its parent's place plus the bone between them, turned by *everything above it*: the
# product of all rotations from the pelvis down to the parent. This is forward kinematics, whole:

# %%
def forward_kinematics(pose, rest):
    """Local rotations (24, 3, 3) and rest joints (24, 3) to joints (24, 3)."""
    turned, place = [pose[0]], [rest[0]]
    for j in range(1, 24):
        parent = PARENTS[j]
        place.append(place[parent] + turned[parent] @ (rest[j] - rest[parent]))
        turned.append(turned[parent] @ pose[j])
    return torch.stack(place)


# %% [markdown]
# To try it, a few poses by hand: a joint's name and its axis-angle in degrees, all others untouched.

# %%
def pose_of(**degrees):
    axis_angle = torch.zeros(24, 3)
    for name, turn in degrees.items():
        axis_angle[JOINT[name]] = torch.tensor(turn) * torch.pi / 180
    return to_matrix(axis_angle.flatten())


down = {"left_shoulder": (0.0, 0, -75), "right_shoulder": (0.0, 0, 75)}  # the rest pose holds the arms out
wave = pose_of(**down | {"right_shoulder": (0.0, 0, 20), "right_elbow": (0.0, 0, -110), "head": (0.0, 0, -12)})
chair = pose_of(**down, left_hip=(-85.0, 0, 0), right_hip=(-85.0, 0, 0), left_knee=(90.0, 0, 0), right_knee=(90.0, 0, 0))
bow = pose_of(**down, pelvis=(25.0, 0, 0), spine1=(30.0, 0, 0), left_hip=(-25.0, 0, 0), right_hip=(-25.0, 0, 0))

# %% [markdown]
# Our walk agrees with the package, which does all poses of a batch at once, and with smplx, the library whose body this is:

# %%
from smplx.lbs import batch_rigid_transform

poses = torch.stack([wave, chair, bow])
ours = torch.stack([forward_kinematics(pose, body.rest) for pose in poses])
theirs, _ = batch_rigid_transform(poses, body.rest.expand(3, 24, 3), torch.tensor(PARENTS))
torch.testing.assert_close(ours, body.joints(poses))
torch.testing.assert_close(ours, theirs)
print("joints", tuple(ours.shape), "largest difference to smplx:", f"{(ours - theirs).abs().max() * 1000:.4f} mm")

# %% [markdown]
# Joints are all we need to *judge* a pose. To *see* it, smplx puts the skin on: each vertex follows a blend of the joints near
# it.

# %%
vertices = body.vertices(poses)
print("vertices", tuple(vertices.shape), " faces", tuple(body.faces.shape))
pose_sheet(body, poses, ["wave", "chair", "bow"])

# %% [markdown]
# Turn one of them: in JupyterLab, drag it with the mouse. Is it the right hand that waves?

# %%
Turntable(body, poses[:1], ["wave"])

# %% [markdown]
# **One rotation moves everything below it.** Turn the left shoulder only, in five steps; elbow, wrist and hand come along
# unchanged.

# %%
sweep = torch.stack([pose_of(**down | {"left_shoulder": (0.0, 0, angle)}) for angle in (-75.0, -40, 0, 40, 80)])
moved = (body.joints(sweep) - body.joints(sweep[:1])).norm(dim=-1).amax(0) > 1e-4
print("moved:", [JOINT_NAMES[j] for j in moved.nonzero()[:, 0]])
assert not moved[JOINT["left_shoulder"]] and moved[JOINT["left_hand"]]  # a joint's own rotation does not move the joint
pose_sheet(body, sweep, [f"left shoulder {a}°" for a in (-75, -40, 0, 40, 80)], views=("front",), columns=5)

# %% [markdown]
# ## Left and right, and which way you face
#
# **The mirror image** exchanges the sides and, in each axis-angle, turns y and z about. Data doubles for free, *if* the words
# are mirrored too ([02_words](02_words.ipynb)).

# %%
axis_angle = to_axis_angle(wave).view(24, 3)
mirrored = axis_angle[list(MIRROR)] * torch.tensor([1.0, -1, -1])
torch.testing.assert_close(to_matrix(mirrored.flatten()), flip_pose(wave))
torch.testing.assert_close(flip_pose(flip_pose(wave)), wave)

# %% [markdown]
# **Yaw.** "A man waves" does not say whether he faces north. So poses for text are turned about the vertical until the hips lie
# along X. Only the root's rotation changes, and the shape of the body does not.

# %%
away = wave.clone()
away[0] = roma.rotvec_to_rotmat(torch.tensor([0.0, 2.2, 0]))  # 126 degrees to its left
facing = canonical_yaw(away)
torch.testing.assert_close(facing, wave, atol=1e-5, rtol=0)
pose_sheet(body, torch.stack([wave, flip_pose(wave), away, facing]), ["wave", "its mirror image", "turned away", "its yaw removed"],
           views=("front",), columns=4)

# %% [markdown]
# ## What breaks
#
# **1. The average of two rotations, taken number by number, is no rotation.** The left arm 75 degrees down and 80 degrees up:
# the mean of the two matrices has a determinant far from 1. It does not turn the arm, it *shrinks* it.

# %%
def bone(pose):
    """Left shoulder to left hand, metres: the arm is straight, so no turn can change it."""
    joints = body.joints(pose)
    return (joints[JOINT["left_hand"]] - joints[JOINT["left_shoulder"]]).norm().item()


low, high = sweep[0], sweep[-1]
average = (low + high) / 2
shoulder = average[JOINT["left_shoulder"]]
print(f"determinant {shoulder.det():.2f}; shoulder to hand {bone(low):.2f} m, {bone(high):.2f} m, averaged {bone(average):.2f} m")
assert shoulder.det() < 0.1 and bone(average) < 0.5 * bone(low)

# %% [markdown]
# Through 6D, Gram-Schmidt repairs the length. The result is a real pose, halfway: arm out to the side. Note that *nobody asked
# for that one either*. A model trained to be right on average does exactly this, and [03_head](03_head.ipynb) is about what to
# do.

# %%
repaired = from_6d((to_6d(low) + to_6d(high)) / 2)
assert abs(bone(repaired) - bone(low)) < 1e-4
pose_sheet(body, torch.stack([low, high, average, repaired]), ["down", "up", "mean of the matrices", "mean in 6D, Gram-Schmidt"],
           views=("front",), columns=4)

# %% [markdown]
# **2. Axis-angle has a seam.** Turning by +179 and by -179 degrees is nearly the same; the mean of the two triples is no turn
# at all.

# %%
almost = torch.tensor([0.0, 179, 0]) * torch.pi / 180
gap = roma.rotmat_geodesic_distance(rodrigues(almost), rodrigues(-almost))
print(f"apart: {gap * 180 / torch.pi:.0f} degrees; their mean as numbers: {((almost - almost) / 2).tolist()}")
assert gap < 0.04

# %% [markdown]
# **3. The order of the six numbers.** Some code stores the two columns one after the other (ours, HMR2), some interleaves them
# row by row (SPIN). Same shape, same range. The identity gives it away: interleaved it reads as two equal columns, and
# Gram-Schmidt divides by 0.

# %%
columns = to_6d(chair)  # x1 x2 x3 y1 y2 y3
interleaved = chair[..., :2].flatten(-2)  # x1 y1 x2 y2 x3 y3
print("identity, columns    ", to_6d(torch.eye(3)).tolist())
print("identity, interleaved", torch.eye(3)[:, :2].flatten().tolist(), "->", from_6d(torch.eye(3)[:, :2].flatten())[:, 1].tolist())
assert from_6d(columns).isfinite().all() and not from_6d(interleaved).isfinite().all()

# %% [markdown]
# A network's output is never *exactly* the identity. With a little noise on it nothing divides by 0 and no error tells: just a
# wreck. When you load foreign weights, compare joints.

# %%
noise = 0.05 * torch.randn(24, 6, generator=torch.Generator().manual_seed(1))
right, wrong = from_6d(columns + noise), from_6d(interleaved + noise)
error = (body.joints(torch.stack([right, wrong])) - body.joints(chair)).norm(dim=-1).mean(-1) * 1000
print(f"mean joint error: read as written {error[0]:.0f} mm, read in the other order {error[1]:.0f} mm")
assert error[0] < 100 < error[1]
pose_sheet(body, torch.stack([right, wrong]), ["columns, as written", "interleaved, read as columns"])

# %% [markdown]
# ## Exercise
#
# The left elbow bends by 90 degrees about which axis, so that the forearm of the rest pose points **forward**? Guess, then try:
# write `pose_of(left_elbow=(...))` and check that the left hand lies in front of the left elbow (larger z) at the same height.

# %%
def forward_elbow():
    return pose_of(left_elbow=(0.0, 0, 90))  # wrong: this lifts the hand; mend it


joints = body.joints(forward_elbow())
ahead = joints[JOINT["left_hand"]] - joints[JOINT["left_elbow"]]
print("hand from elbow (left, up, front), metres:", [round(x, 2) for x in ahead.tolist()])

# %% [markdown]
# <details><summary>Answer</summary>
#
# The upper arm lies along +X and the forearm must turn towards +Z. The right-hand rule says that a positive turn about Y
# carries Z to X, so X to Z is a *negative* one: `pose_of(left_elbow=(0.0, -90, 0))`. For the right elbow it is `+90`: the
# mirror image turns y about.
#
# </details>
#
# Next: [02_words](02_words.ipynb), what can be said of a pose.

# %%
import sys

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, roma {roma.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
