"""How SmolLM2 learns to pose on a laptop's CPU: python data/build/smol.py train.npz validation.npz RUN [STEPS]

The mini policy teaches it (SFTConfig.teacher): sentences alone, some 35,000 of them, four bits, an adapter of rank 8. Interrupted,
the same command goes on. RUN/last is a checkpoint as any other.
"""

import sys
from pathlib import Path

import torch

from minirft import load_body
from minirft.body import DATA
from minirft.data import load_poses
from minirft.policy import PosePolicy
from minirft.train import SFTConfig, sft


def main(poses, validation, run, steps=1000):
    policy = PosePolicy.from_backbone("smol")
    policy.model.set_attn_implementation("eager")  # of so short rows a CPU makes the gradient faster than by torch's fused kernel
    policy.add_lora("sft", rank=8)
    config = SFTConfig(steps=int(steps), batch_size=32, micro_batch=8, lr=1e-3, warmup=50, teacher="mini-rft", validate_every=250,
                       save_every=25)
    poses = torch.cat([load_poses(poses).pose, load_poses(DATA / "rare.npz").pose])
    sft(policy, poses, config, body=load_body(), out=run, validation=load_poses(validation).pose,
        resume=(Path(run) / "config.json").exists())


if __name__ == "__main__":
    main(*sys.argv[1:])
