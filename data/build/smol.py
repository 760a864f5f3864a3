r"""How SmolLM2 learns to pose on a card, sentences alone, from a teacher (SFTConfig.teacher): four bits and an adapter of rank 8.

    python data/build/smol.py sft TRAIN.npz VALIDATION.npz RUN STEPS [LR]     # each step 256 sentences; goes on if it was stopped
    python data/build/smol.py rft TRAIN.npz RUN ALIGNED STEPS [LR]
    python data/build/mini_sft.py ALIGNED data/smol-rft                       # then in half precision
"""

import sys
from pathlib import Path

import torch

from minirft import load_body
from minirft.body import DATA
from minirft.critics import Critics
from minirft.data import load_poses
from minirft.policy import PosePolicy
from minirft.train import RFTConfig, SFTConfig, rft, sft

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def with_rare(poses):
    return torch.cat([load_poses(poses).pose, load_poses(DATA / "rare.npz").pose])


def teach(poses, validation, run, steps, lr=1e-3):
    policy = PosePolicy.from_backbone("smol", device=DEVICE)
    policy.add_lora("sft", rank=8)
    config = SFTConfig(steps=int(steps), batch_size=256, micro_batch=256, lr=float(lr), warmup=50, teacher="mini-rft", validate_every=200,
                       save_every=200)
    sft(policy, with_rare(poses), config, body=load_body(), out=run, validation=load_poses(validation).pose,
        resume=(Path(run) / "last").exists())


def align(poses, taught, run, steps, lr=1e-3):
    policy = PosePolicy.from_pretrained(taught, device=DEVICE)
    config = RFTConfig(steps=int(steps), prompts=96, micro_batch=96, lr=float(lr), adapter_lr=float(lr), look_every=50)
    rft(policy, with_rare(poses), config, critics=Critics.load(load_body()), out=run, resume=(Path(run) / "last").exists())


if __name__ == "__main__":
    {"sft": teach, "rft": align}[sys.argv[1]](*sys.argv[2:])
