r"""Put a finished run into data/ as the weights that ship, in half precision.

    minirft data CMU/bvh --out all.npz      # then split by subject as data/README.md says
    minirft sft --base mini --poses train.npz --validation validation.npz --out words --steps 6000 --seed 0
    minirft album --poses train.npz --count 12000 --out album
    python data/build/mini_sft.py words sentences
    minirft sft --base sentences --poses train.npz --validation validation.npz --out run --steps 2000 --lr 1e-3 --seed 20 \
        --image-share 0.5 --album album
    python data/build/mini_sft.py run data/mini-sft
    python data/build/mini_sft.py rft_run data/mini-rft    # of `minirft rft` the same way
"""

import sys

import torch

from minirft.policy import PosePolicy

policy = PosePolicy.from_pretrained(sys.argv[1])
policy.save_pretrained(sys.argv[2], dtype=torch.float16)
print(f"{sum(p.numel() for p in policy.parameters()):,} parameters")
