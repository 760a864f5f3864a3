"""Train the pose prior and write data/prior.safetensors.

    python data/build/prior.py TRAIN.npz VALIDATION.npz data/prior.safetensors [--seed 0] [--steps 4000]

TRAIN.npz and VALIDATION.npz are pose files of different subjects, made from CMU motion capture by `minirft data`.
About four minutes on one core. Prints, and stores as metadata, how far samples lie from real poses, how much of them
they cover, and how well the score tells real poses from broken ones.
"""

import argparse
import json
import math
import time

import roma
import torch
from safetensors.torch import save_file

from minirft.body import JOINT, canonical_yaw, flip_pose, from_6d, load_body, to_6d, to_axis_angle
from minirft.data import load_poses
from minirft.files import write_atomic
from minirft.prior import BODY_JOINTS, CODE, LATENT, UP_NOISE, PosePrior
from search import limb_distances

BATCH = 256
KL_WEIGHT = 6e-3  # against squared 6D residuals summed over the joints
JOINT_WEIGHT = 10.0  # squared metres against squared 6D units
# Radians beyond which a rotation comes from a lost marker, by looking at clips: feet and heads flipped round.
ROOM = {"hip": 0.4, "shoulder": 0.3}  # radians these may go beyond what a few captured people did: splits, cross-legged
SHRINK = 40  # poses' worth of the common covariance in each component's own
PARTS = ([13, 16, 18, 20], [14, 17, 19, 21], [1, 2, 4, 5, 7, 8], [3, 6, 9, 12, 15])  # arms, legs, spine and head
LARGEST = {"ankle": 1.3, "wrist": 1.9, "head": 1.4, "elbow": 2.5, "knee": 2.65}


def sound(pose):
    """Which poses (M, 24, 3, 3) have no joint that capture got wrong: (M,) bool."""
    vector = to_axis_angle(pose).unflatten(-1, (24, 3))
    fine = torch.ones(len(pose), dtype=torch.bool)
    for name, index in JOINT.items():
        fine &= vector[:, index].norm(dim=-1) < LARGEST.get(name.split("_")[-1], math.pi)
    for side, sign in (("left", 1), ("right", -1)):
        fine &= sign * vector[:, JOINT[f"{side}_elbow"], 1] < 0.5  # an elbow that bends backwards
        fine &= vector[:, JOINT[f"{side}_knee"], 1:].abs().amax(-1) < 0.6  # a shin that twists
    return fine


def train_autoencoder(prior, pose, body, *, steps, generator):
    """Fit encoder and decoder to real poses (M, 24, 3, 3): rotations, joints by forward kinematics, KL to N(0, I)."""
    prior.mean.copy_(columns_of(pose).mean(0))
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-3, weight_decay=1e-3)
    for step in range(steps):
        ramp = min(1.0, step / (0.2 * steps))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        batch = mixed(pose, BATCH, generator)
        mean, log_var = prior.posterior(batch)
        code = mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=generator)
        made = prior.columns(code)
        missed = (made - columns_of(batch)).square().sum(-1).mean()
        joints = placed(body, batch) - placed(body, from_6d(made.unflatten(-1, (21, 6))))
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
        loss = missed + JOINT_WEIGHT * joints.square().sum((-1, -2)).mean() + ramp * KL_WEIGHT * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 500 == 0 or step == steps - 1:
            print(f"step {step}: rotations {missed:.3f}, joints {mm(joints).mean():.1f} mm, KL {kl:.1f} nats", flush=True)


def mixed(pose, count, generator):
    """Draw real poses (count, 24, 3, 3), half of them with each arm and the legs taken from yet others.

    Bodies combine what they do more freely than ten captured people did; half stay whole, so that the whole is learned.
    """
    batch = pose[torch.randint(len(pose), (count,), generator=generator)].clone()
    for part in PARTS:
        other = pose[torch.randint(len(pose), (count,), generator=generator)]
        swap = (torch.rand(count, generator=generator) < 0.3).nonzero()[:, 0]
        swap = swap[swap < count // 2]
        batch[swap[:, None], part] = other[swap[:, None], part]
    return batch


def columns_of(pose):
    return to_6d(pose[..., BODY_JOINTS, :, :]).flatten(-2)


def placed(body, pose):
    """Joints (..., 22, 3), metres, about an upright root: of poses, or of body joints' rotations (..., 21, 3, 3)."""
    joints = pose if pose.shape[-3] == 21 else pose[..., BODY_JOINTS, :, :]
    ends = torch.eye(3).expand(*joints.shape[:-3], 1, 3, 3)
    return body.joints(torch.cat([ends, joints, ends, ends], dim=-3))[..., :22, :]


def mm(difference):
    """Mean length over joints in millimetres: (..., J, 3) to (...,)."""
    return 1000 * difference.norm(dim=-1).mean(-1)


def latents(prior, pose, generator):
    """A draw from the posterior of each pose's latent (M, 32); the up direction gets a little noise too."""
    with torch.no_grad():
        mean, log_var = prior.posterior(pose)
        code = mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=generator)
        return torch.cat([code, pose[:, 0, 1] + UP_NOISE * torch.randn(len(pose), 3, generator=generator)], dim=-1)


def fit_mixture(prior, latent, *, rounds, generator):
    """Expectation-maximisation over latents (M, 32), full covariances shrunk towards the one of all the data."""
    count = len(prior.centre)
    pooled = torch.cov(latent.T) * count ** (-2 / LATENT) / 2
    prior.centre.copy_(latent[torch.randperm(len(latent), generator=generator)[:count]])
    prior.whiten.copy_(inverse_factor(pooled))
    prior.log_weight.fill_(-math.log(count))
    for _ in range(rounds):
        share = torch.cat([torch.softmax(prior.each_log(part)[0], -1) for part in latent.split(2000)])  # (M, C)
        size = share.sum(0) + 1e-6
        prior.log_weight.copy_((size / size.sum()).log())
        prior.centre.copy_(share.T @ latent / size[:, None])
        for c in range(count):
            away = latent - prior.centre[c]
            around = (away * share[:, c, None]).T @ away
            prior.whiten[c] = inverse_factor((around + SHRINK * pooled) / (size[c] + SHRINK))


def inverse_factor(covariance):
    """The inverse of a covariance's lower Cholesky factor: it turns the Gaussian's draws into N(0, I)."""
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), torch.eye(len(covariance)), upper=False)


def calibrate(prior, pose):
    """Set what the decoder misses and what evidence real validation poses (M, 24, 3, 3) have."""
    missed = columns_of(pose) - prior.columns(prior.encode(pose)[:, :CODE])
    prior.residual.copy_(missed.square().mean(0).sqrt().clamp(min=0.02))  # joints that never move in capture: 1 degree
    prior.typical.copy_(torch.quantile(prior.evidence(pose), torch.tensor([0.5, 0.01])))


def measure_anatomy(prior, pose, body):
    """Set joint ranges and limb clearances: what all but two in a thousand real poses (M, 24, 3, 3) keep on each side."""
    vector = to_axis_angle(pose[:, BODY_JOINTS]).unflatten(-1, (21, 3))
    part = [torch.quantile(vector, q, dim=0) for q in (0.002, 0.998)]
    room = torch.full((21, 1), 0.1)
    for name, radians in ROOM.items():
        room[[JOINT[f"{side}_{name}"] - 1 for side in ("left", "right")]] = radians
    prior.low.copy_(part[0] - room)
    prior.high.copy_(part[1] + room)
    prior.clearance.copy_(torch.quantile(limb_distances(body.joints(pose)), 0.002, dim=0).clamp(max=0.12))


def measure(prior, train, validation, body, *, generator):
    """What the metadata tells: reconstruction, distances of samples, coverage, and how the score ranks broken poses."""
    samples = prior.sample(5000, generator=generator)
    real = train[torch.randperm(len(train), generator=generator)[:5000]]  # as many as the samples: a fair reference
    back = mm(placed(body, prior.decode(prior.encode(validation))) - placed(body, validation))
    sampled, trained, validated = (placed(body, pose) for pose in (samples, real, validation))
    by_sample, by_train = nearest(validated, sampled), nearest(validated, trained)
    found = {
        "reconstruction_mm": back.mean(),
        "sample_to_train_mm": nearest(sampled[:1000], trained).mean(),
        "sample_to_validation_mm": nearest(sampled[:1000], validated).mean(),
        "validation_to_train_mm": by_train.mean(),
        "validation_to_sample_mm": by_sample.mean(),
        "train_to_sample_mm": nearest(trained[:1000], sampled).mean(),
        **{f"validation_with_sample_within_{d}mm": (by_sample < d).float().mean() for d in (60, 80, 100)},
        **{f"validation_with_train_within_{d}mm": (by_train < d).float().mean() for d in (60, 80, 100)},
        "samples_plausible": prior.plausible(samples).float().mean(),
        "train_plausible": prior.plausible(real).float().mean(),
    }
    real = prior.evidence(validation)
    for name, pose in broken(validation, generator).items():
        found[f"auc_against_{name}"] = auc(real, prior.evidence(pose))
        found[f"plausible_{name}"] = prior.plausible(pose).float().mean()
    return {name: round(float(value), 4) for name, value in found.items()}


def nearest(joints, others):
    """Millimetres from each of (N, J, 3) to the nearest of (M, J, 3), the mean over joints: (N,)."""
    return torch.cat([mm(part[:, None] - others).amin(1) for part in joints.split(20)])


def broken(pose, generator):
    """Real poses (M, 24, 3, 3) made into what no body does, by name; the last two are the limits of what can be told."""
    count, rows = len(pose), torch.arange(len(pose))
    other = pose[torch.randperm(count, generator=generator)]
    moving = (torch.arange(24) < 22)[:, None]
    made = {f"noise_{s}": from_6d(to_6d(pose) + s * moving * torch.randn(count, 24, 6, generator=generator))
            for s in (0.1, 0.2, 0.3)}
    limb = torch.tensor([JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("hip", "knee", "shoulder", "elbow")])
    limb = limb[torch.randint(len(limb), (count,), generator=generator)]
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    turn = roma.rotvec_to_rotmat(axis * (1 + torch.rand(count, 1, generator=generator)))
    made["limb_twisted"] = pose.clone()  # by 60 to 115 degrees about any axis; some of these a body can do
    made["limb_twisted"][rows, limb] = pose[rows, limb] @ turn
    made["knee_bent_back"] = pose.clone()
    made["knee_bent_back"][:, JOINT["left_knee"]] = roma.rotvec_to_rotmat(torch.tensor([-0.9, 0.0, 0.0]))
    order = torch.rand(count, 21, generator=generator).argsort(1) + 1
    made["joints_permuted"] = torch.cat([pose[:, :1], pose[rows[:, None], order], pose[:, 22:]], dim=1)
    made["mean_of_two"] = from_6d((to_6d(pose) + to_6d(other)) / 2)
    made["tipped_over"] = torch.cat([roma.random_rotmat(count, generator=generator)[:, None], pose[:, 1:]], dim=1)
    return made


def auc(better, worse):
    """Probability that one of `better` (N,) exceeds one of `worse` (M,)."""
    rank = torch.cat([better, worse]).argsort().argsort()[: len(better)].float()
    return (rank.mean() - (len(better) - 1) / 2) / len(worse)


def save(prior, measured, path):
    """Networks in half precision, the mixture in full: its factors are small differences."""
    half = ("encoder", "decoder", "centre")
    tensors = {name: (value.half() if name.startswith(half) else value).contiguous() for name, value in prior.state_dict().items()}
    with write_atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"measured": json.dumps(measured)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "validation", "out"):
        parser.add_argument(name)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4000)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator, body, start = torch.Generator().manual_seed(args.seed), load_body(), time.time()
    train, validation = (canonical_yaw(pose[sound(pose)]) for pose in (load_poses(p).pose for p in (args.train, args.validation)))
    train = torch.cat([train, flip_pose(train)])
    prior = PosePrior()
    train_autoencoder(prior, train, body, steps=args.steps, generator=generator)
    prior.requires_grad_(False)
    fit_mixture(prior, latents(prior, mixed(train, 2 * len(train), generator), generator), rounds=20, generator=generator)
    calibrate(prior, validation)
    measure_anatomy(prior, train, body)
    measured = {"seed": args.seed, "steps": args.steps, "train_poses": len(train), "validation_poses": len(validation),
                **measure(prior, train, validation, body, generator=generator), "minutes": round((time.time() - start) / 60, 1)}
    save(prior, measured, args.out)
    print("\n".join(f"{name:40} {value}" for name, value in measured.items()))


if __name__ == "__main__":
    main()
