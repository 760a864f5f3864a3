r"""How SmolLM2 learnt to pose on a laptop's CPU, sentences alone, from a teacher (SFTConfig.teacher).

    python data/build/smol.py train.npz validation.npz RUN       # an hour and a half on two cores; goes on if it was stopped
    python data/build/mini_sft.py RUN data/smol-sft              # then in half precision; commit 2d975bf holds it

Four bits, an adapter of rank 8, 22,000 sentences. As `minirft sft --base smol --teacher mini-rft`, but for a rank and settings that
suit a CPU. Of the run that is told of in the README the schedule's end was moved on the way, from 1,000 steps to 850, 750 and 690.
"""

import sys
from pathlib import Path

import torch

from minirft import load_body
from minirft.body import DATA
from minirft.data import load_poses
from minirft.policy import PosePolicy
from minirft.train import SFTConfig, sft


def main(poses, validation, run):
    policy = PosePolicy.from_backbone("smol")
    policy.model.set_attn_implementation("eager")  # of so short rows a CPU makes the gradient faster than by torch's fused kernel
    policy.add_lora("sft", rank=8)
    config = SFTConfig(steps=690, batch_size=32, micro_batch=8, lr=1e-3, warmup=50, teacher="mini-rft", save_every=25)
    poses = torch.cat([load_poses(poses).pose, load_poses(DATA / "rare.npz").pose])
    sft(policy, poses, config, body=load_body(), out=run, validation=load_poses(validation).pose,
        resume=(Path(run) / "last").exists())


if __name__ == "__main__":
    main(*sys.argv[1:])
