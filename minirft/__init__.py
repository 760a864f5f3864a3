"""minirft: text or a picture in, a 3D human pose out, from a multimodal language model taught (SFT) and aligned by reward.

The names below load what they need on first use, so that `import minirft` itself is instant.
"""

import logging
import os
from importlib import import_module

# Threads of torch's with nothing to do wait by spinning, by default so long that on a busy machine they keep others from working.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# On some CPUs it says at each start what it could fetch from a hub.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
__all__ = ["PosePolicy", "load_body"]

_HOMES = {"PosePolicy": "minirft.policy", "load_body": "minirft.body"}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'minirft' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
