"""A policy on disk: a folder of one of two kinds, both with head.safetensors and policy.json.

Either all weights of the model, or, after `add_lora`, the name of the model it stands on (`base`) and a folder for each
adapter, which peft alone can load.
"""

import contextlib
import copy
import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration
from transformers.utils import logging

from .body import DATA
from .errors import InputError, in_short
from .head import PoseHead
from .vision import CHANNELS, LANDMARKS


def find_checkpoint(name_or_path):
    """The folder of a policy by its name or place, None where there is none."""
    places = [Path(name_or_path), Path(name_or_path) / "last", DATA / name_or_path]  # "last": of a training run
    return next((p for p in places if (p / "policy.json").is_file()), None)


class Checkpoint:
    """What a PosePolicy knows of loading and saving."""

    @classmethod
    def from_pretrained(cls, name_or_path, *, device="cpu"):
        """Load a policy: a name that ships with minirft ("mini-sft") or the folder of a checkpoint.

        Raises InputError where there is none or its parts do not fit together.
        """
        folder = find_checkpoint(name_or_path)
        if folder is None:
            shipped = ", ".join(sorted(p.parent.name for p in DATA.glob("*/policy.json"))) or "none"
            raise InputError(f"{name_or_path}: neither a checkpoint folder nor a model that ships with minirft "
                             f"({shipped})")
        policy = None
        try:
            about = json.loads((folder / "policy.json").read_text())
            if "adapters" in about:
                raw = about.get("raw")
                policy = cls.from_pretrained(about["base"]) if raw is None else cls.from_backbone(about["base"], **raw, device=device)
                policy.face(tuple(about["features"]))
                policy._load_adapters(folder, about["adapters"])
                if (folder / "projector.safetensors").exists():  # else it sees as its base does
                    _load(policy.projector, folder / "projector.safetensors")
                    policy.sees = about["sees"]
            else:
                tokenizer = AutoTokenizer.from_pretrained(folder)
                with quiet():
                    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
                head = PoseHead(model.config.text_config.hidden_size, **about["head"])
                policy = cls(model, tokenizer, _load(head, folder / "head.safetensors"), name=about["name"],
                             features=tuple(about.get("features", (LANDMARKS, CHANNELS))))
                if (folder / "projector.safetensors").exists():  # not so in policies of sentences alone, which the benches take from the history
                    _load(policy.projector, folder / "projector.safetensors")
                    policy.sees = about.get("sees")
                policy.base = folder.name if folder.resolve().parent == DATA.resolve() else str(folder.resolve())
            policy.answer_tokens = int(about.get("answer_tokens", policy.answer_tokens))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a damaged file makes the libraries raise
            trouble = "its base cannot be had" if policy is None and isinstance(error, InputError) else "not a complete checkpoint"
            raise InputError(f"{folder}: {trouble}: {in_short(error)}") from None
        return policy.to(device).eval()

    def _load_adapters(self, folder, names):
        from peft import PeftModel  # here and below: it takes three seconds to load, and mini-sft does without it

        from .rows import beside

        reference = load_file(folder / "reference_head.safetensors")
        same = all(torch.equal(value.to("cpu", reference[key].dtype), reference[key]) for key, value in self.head.state_dict().items())
        if len(names) == 1 and self.raw is None and not same:
            raise InputError(f"its base {self.base} is not the model that it was trained from")
        for name in names:
            if not (folder / name / "adapter_model.safetensors").is_file():  # peft would look for it on the hub
                raise InputError(f"{name}/adapter_model.safetensors is missing")
            if self._peft:
                self._peft[0].load_adapter(folder / name, name, is_trainable=True)
            else:
                with quiet():
                    self._peft = [beside(PeftModel.from_pretrained(self.model, folder / name, name, is_trainable=True))]
        self._peft[0].set_adapter(names[-1])
        self.reference_head = _load(copy.deepcopy(self.head), folder / "reference_head.safetensors").requires_grad_(False)
        _load(self.head, folder / "head.safetensors")

    def restore(self, folder):
        """Take the weights of a checkpoint of this very policy, trained further; its base is not loaded a second time."""
        if not self._peft:
            self.load_state_dict(type(self).from_pretrained(folder).state_dict())
            return
        from peft import set_peft_model_state_dict

        for name in self.adapters:
            set_peft_model_state_dict(self._peft[0], load_file(folder / name / "adapter_model.safetensors"), adapter_name=name)
        _load(self.head, folder / "head.safetensors"), _load(self.reference_head, folder / "reference_head.safetensors")
        if (folder / "projector.safetensors").exists():
            _load(self.projector, folder / "projector.safetensors")

    def save_pretrained(self, folder, *, dtype=None):
        """Write model, tokenizer, head.safetensors and policy.json to a folder that from_pretrained reads.

        dtype: store the weights in this precision (torch.float16 halves the files); None keeps theirs.
        """
        def cast(state):
            return {k: v.to(dtype or v.dtype).contiguous() for k, v in state.items()}

        folder = Path(folder)
        about = {"name": self.name, "head": {"min_std": self.head.min_std, "max_std": self.head.max_std}}
        about |= {"sees": self.sees, "features": self.projector.shape, "answer_tokens": self.answer_tokens}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(cast(self.head.state_dict()), folder / "head.safetensors")
            if not self._peft or self.sees is not None:
                save_file(cast(self.projector.state_dict()), folder / "projector.safetensors")
            if self._peft:
                from peft import get_peft_model_state_dict

                about |= {"base": self.base, "adapters": self.adapters} | ({"raw": self.raw} if self.raw is not None else {})
                save_file(cast(self.reference_head.state_dict()), folder / "reference_head.safetensors")
                for name in self.adapters:
                    self._peft[0].peft_config[name].base_model_name_or_path = self.base
                    self._peft[0].peft_config[name].save_pretrained(folder / name)
                    state = get_peft_model_state_dict(self._peft[0], adapter_name=name, save_embedding_layers=False)
                    save_file(cast(state), folder / name / "adapter_model.safetensors", metadata={"format": "pt"})
            else:
                with quiet():
                    self.model.save_pretrained(folder, state_dict=cast(self.model.state_dict()))
                self.tokenizer.save_pretrained(folder)
            (folder / "policy.json").write_text(json.dumps(about, indent=1))  # last: its presence says complete
        except (OSError, SafetensorError) as error:  # the second is what safetensors makes of a full disk
            raise InputError(f"{folder}: cannot write a checkpoint there ({error}); give a place with room") from None

    @property
    def adapters(self):
        """The names of the LoRA adapters, the newest, which is the one at work, last."""
        return list(self._peft[0].peft_config) if self._peft else []


def _load(module, path):
    """Fill a module from a safetensors file of any precision."""
    module.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return module


@contextlib.contextmanager
def quiet():
    """No progress bars of transformers' own for a model of five megabytes, nor what peft's calls into it bring up."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
