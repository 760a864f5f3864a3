"""A training run: its numbers, and its folder with metrics.jsonl, a line a step, and `last`, the newest checkpoint, always whole."""

import ast
import contextlib
import json
import shutil
import signal
import threading
from dataclasses import asdict, replace

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from .errors import InputError, in_short
from .files import write_atomic

CLIP_NORM = 1.0  # a longer gradient is scaled down to it


def with_settings(config, texts, *, but=()):
    """The config with other numbers: texts of NAME=VALUE, each as `--set` takes it. Raises InputError for one that cannot be, and for
    names in `but`, which have an option of their own."""
    known = {name: value for name, value in vars(config).items() if name not in but and not isinstance(value, dict)}
    changed = {}
    for given in texts:
        name, _, text = given.partition("=")
        if name not in known:
            raise InputError(f"--set {in_short(given, 60)}: nothing to set has that name; give a value to one of {', '.join(known)}")
        changed[name] = _read_like(known[name], text)
        if changed[name] is None:
            like = ",".join(map(str, known[name])) if isinstance(known[name], tuple) else known[name]
            raise InputError(f"--set {in_short(given, 60)}: no such value; give one like {name}={like}")
    return replace(config, **changed)


def _read_like(like, text):
    """Text as a value of the kind that `like` is, None where it is none."""
    if isinstance(like, str):
        return text
    try:
        value = ast.literal_eval(text)
        if isinstance(like, tuple):
            return tuple(map(float, value if isinstance(value, tuple) else (value,)))
        value = float(value) if isinstance(like, float) and type(value) is int else value
    except (ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError):
        return None
    return value if type(value) is type(like) else None


def check_free(out):
    """Raise InputError where a run that begins in a folder would overwrite a checkpoint or a model. One that was killed before its
    first checkpoint has left nothing to lose."""
    if (out / "last").exists() or (out / ".old").exists():
        raise InputError(f"{out}: holds a run already; pass --resume to go on with it, or another --out")
    config = out / "config.json"
    if (out / "policy.json").exists() or config.is_file() and '"steps"' not in config.read_text(errors="replace"):  # which ours has
        raise InputError(f"{out}: holds a model, which a run would overwrite; pass another --out")


def begin_run(config, out, poses):
    """Make the run's folder and note its config; an older run there is refused, not overwritten."""
    check_free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / "metrics.jsonl").exists():
            (out / "metrics.jsonl").replace(out / "metrics.old.jsonl")
        with write_atomic(out / "config.json") as temporary:
            temporary.write_text(json.dumps(_about(config, poses), indent=1))
    except OSError as error:
        raise InputError(f"{out}: cannot write there ({error.strerror or error})") from None
    return 0


def _about(config, poses):
    """What a run is: the numbers of its config, and which poses it learns from, as far as two of their numbers tell."""
    return json.loads(json.dumps(asdict(config))) | {"poses": f"{len(poses)}, mean {poses.mean():.4f}"}


def make_optimizer(groups, device, **settings):
    """AdamW; on a card with moments of eight bits that make room where memory is short (bitsandbytes)."""
    if torch.device(device).type == "cpu":
        return torch.optim.AdamW(groups, **settings)
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit(groups, **settings)


def _flat(state, path=""):
    """An optimiser's state, dictionaries in dictionaries, as pairs of a path and a tensor."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", torch.as_tensor(value).contiguous().clone()  # some of bitsandbytes' share memory


def save_run(policy, optimizer, step, *, out, extra=None):
    """Checkpoint and optimiser into out/last, put in place by one rename so that it is whole at any moment.

    extra: a module that is trained beside the policy and is no part of its checkpoint, or None.
    """
    fresh, last, old = out / ".next", out / "last", out / ".old"
    shutil.rmtree(fresh, ignore_errors=True)
    policy.save_pretrained(fresh)
    moments = dict(_flat(optimizer.state_dict()["state"]))
    if extra is not None:
        save_file(extra.state_dict(), fresh / "extra.safetensors")
    save_file(moments, fresh / "optimizer.safetensors", metadata={"step": str(step)})
    shutil.rmtree(old, ignore_errors=True)
    if last.exists():
        last.rename(old)
    fresh.rename(last)
    shutil.rmtree(old, ignore_errors=True)


def resume_run(policy, optimizer, config, out, poses, *, extra=None):
    """Load weights and moments of out/last into policy, optimizer and extra; returns the step to go on with."""
    if not (out / "last").exists() and (out / ".old").exists():
        (out / ".old").rename(out / "last")  # killed between save_run's two renames
    if not (out / "last" / "optimizer.safetensors").exists():
        way_out = "use another --out" if (out / "last").exists() else "leave --resume away to begin"
        raise InputError(f"{out}: no checkpoint to resume; {way_out}")
    before, about = _read_object(out / "config.json"), _read_object(out / "last" / "policy.json")
    changed = [f"{k} {before.get(k)} -> {v}" for k, v in _about(config, poses).items() if before.get(k) != v]
    if changed:
        raise InputError(f"{out}: a resumed run goes on as it began, but {', '.join(changed)}; give that again, or another --out")
    base = about.get("base", policy.base)  # only a checkpoint of adapters stands on something
    if base != policy.base:
        raise InputError(f"{out}: the run there stands on {base}, not on {policy.base}; resume it with that, or use another --out")
    policy.restore(out / "last")
    if extra is not None:
        extra.load_state_dict(load_file(out / "last" / "extra.safetensors"))
    with safe_open(out / "last" / "optimizer.safetensors", "pt") as file:
        step, moments = (file.metadata() or {}).get("step"), {}
        if step is None:
            raise InputError(f"{out}: last/optimizer.safetensors does not say at which step it was saved; use another --out")
        for key in file.keys():
            index, *names, name = key.split(".")
            place = moments.setdefault(int(index), {})
            for outer in names:
                place = place.setdefault(outer, {})
            value = file.get_tensor(key)
            place[name] = value if value.dim() or value.is_floating_point() else value.item()
    state = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    text, step = (out / "metrics.jsonl").read_text(), int(step)
    lines = text[: text.rfind("\n") + 1].splitlines()  # a full disk leaves a last line without an end
    with write_atomic(out / "metrics.jsonl") as temporary:
        temporary.write_text("".join(line + "\n" for line in lines if json.loads(line)["step"] < step))
    return step


def _read_object(path):
    value = json.loads(path.read_text())
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__} where an object belongs; use another --out")
    return value


def descend(optimizer, *, step, out, save):
    """One step of the optimiser, gradients clipped to CLIP_NORM. Where they are not finite, save(step) and InputError."""
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], CLIP_NORM)
    if not torch.isfinite(norm):
        save(step)
        raise InputError(f"step {step}: the gradient is not finite; {out / 'last'} holds the last good state; "
                         f"begin again with a learning rate under {optimizer.defaults['lr']}")
    optimizer.step()


def end_step(metrics, *, steps, every, out, save, asked):
    """Log a step; save after every `every`th, after the last, and where a stop is asked, which is then obeyed."""
    done = metrics["step"] + 1
    with one_line(f"{out}: cannot write the run at step {done}; make room and pass --resume"):
        with open(out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(metrics) + "\n")
        if asked or done % every == 0 or done == steps:
            save(done)
    if asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def one_line(what):
    """Turn whatever a full disk or a damaged file makes the libraries raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{what} ({in_short(error)})") from None


@contextlib.contextmanager
def stop_asked():
    """A list that is empty until Ctrl-C or a polite kill: the loop then ends its step, saves and leaves."""
    asked, kinds = [], (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield asked
        return
    before = {kind: signal.signal(kind, lambda *_: asked.append(True)) for kind in kinds}
    try:
        yield asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
