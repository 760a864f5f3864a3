"""HyGRPO: group-relative policy optimisation over a hybrid action, the words of an answer and the pose in it.

Tensors in, loss and metrics out; this file needs torch alone: copy it. The method is Pose-RFT's (arXiv 2508.07804): the
importance ratio and the advantage are split into a text part (F over all G answers to a prompt) and a pose part (Delta
over its V valid poses), each clipped by itself. Ours is K > 1 poses per answer; the paper draws one.

Shapes: N prompts, G answers each (R = N*G rows, a prompt's rows adjacent), T tokens, K poses an answer.
"""

import torch

FAR = 20.0  # a logarithm of a ratio from which on the ratio stays: of an infinite one the gradient is NaN

def group_advantages(rewards, group_size, *, valid=None, scale="group", min_std=1e-3):
    """How much better each candidate is than the rest of its group.

    rewards: (N*group_size,) float, higher is better, a group's rows adjacent. valid: (N*group_size,) bool, None for all;
    a row that is not valid takes no part and gets 0, and so does every row of a group with fewer than two valid ones.
    scale: "group" divides by the group's standard deviation, "none" only subtracts its mean (arXiv 2503.20783).
    min_std: spread in reward units below which a group counts as tied: its advantages are exactly 0.
    Returns (N*group_size,). Raises ValueError if group_size does not divide len(rewards). Source: GRPO, arXiv 2402.03300.

    >>> group_advantages(torch.tensor([1., 0., 0., 1.]), 2, scale="none")
    tensor([ 0.5000, -0.5000, -0.5000,  0.5000])
    """
    if group_size < 1 or len(rewards) % group_size:
        raise ValueError(f"group_size={group_size} does not divide {len(rewards)} rewards; pass whole groups")
    if scale not in ("group", "none"):
        raise ValueError(f'scale={scale!r}; use "group" or "none"')
    valid = torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid
    groups, here = rewards.view(-1, group_size), valid.view(-1, group_size)  # (N, group_size)
    if not groups[here].isfinite().all():
        raise ValueError("a reward of a valid candidate is not finite; mark the candidate as not valid or mend the reward")
    groups = groups.masked_fill(~here, 0.0).double()
    count = here.sum(1, keepdim=True)
    centred = (groups - groups.sum(1, keepdim=True) / count.clamp(min=1)).masked_fill(~here, 0.0)
    std = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    tied = (count < 2) | (std < min_std)
    scaled = centred / std.clamp(min=min_std) if scale == "group" else centred
    return scaled.masked_fill(tied, 0.0).flatten().to(rewards.dtype)


def hybrid_advantages(answer_rewards, pose_rewards, has_pose, group_size, *, missing, scale="group", min_std=1e-3, kinds=1):
    """F for the answers, and for their poses Delta, over all V = K * (answers with a pose) poses of a prompt.

    answer_rewards: (R,); pose_rewards: (R, K), rows without a pose ignored; has_pose: (R,) bool.
    missing: what an answer without a pose gets in place of its poses' mean reward. kinds: pose k is of kind k % kinds and is
    compared with poses of that kind alone, V / kinds of them.
    Returns F (R,), Delta (R, K).
    """
    mean_pose = torch.where(has_pose, pose_rewards.mean(1), missing)
    text = group_advantages(answer_rewards + mean_pose, group_size, scale=scale, min_std=min_std)
    pose = torch.zeros_like(pose_rewards)
    for kind in range(min(kinds, pose_rewards.shape[1])):
        alike = pose_rewards[:, kind::kinds]
        valid = has_pose[:, None].expand_as(alike).flatten()
        found = group_advantages(alike.flatten(), group_size * alike.shape[1], valid=valid, scale=scale, min_std=min_std)
        pose[:, kind::kinds] = found.view_as(alike)
    return text, pose


def clipped(log_ratio, advantage, clip):
    """PPO's pessimistic objective for one action, to be maximised: min(r A, clip(r, 1 - clip, 1 + clip) A).

    >>> clipped(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([2.0, 1.0, -1.0]), 0.2)
    tensor([ 2.0000,  1.2000, -2.7183])
    """
    ratio = log_ratio.clamp(max=FAR).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def kl_tokens(logp, reference_logp):
    """The k3 estimate of KL(pi || reference) from sampled tokens: never negative, 0 where they agree (joschu.net/kl)."""
    gap = (reference_logp - logp).clamp(max=FAR)
    return gap.exp() - gap - 1


def hygrpo_loss(text_logp, pose_logp, *, old_text_logp, old_pose_logp, reference_text_logp, pose_kl, answer_mask, has_pose,
                text_advantage, pose_advantage, group_size, prompts=None, clip_text=0.2, clip_pose=0.2, ratio_dims=1,
                text_beta=0.01, pose_beta=0.01):
    """The loss to descend, -J of Pose-RFT's equation with a KL for words and pose each, and what to log.

    text_logp, old_text_logp, reference_text_logp, answer_mask: (R, T), of the sampled tokens under the present, the
    sampling and the reference policy. pose_logp, old_pose_logp, pose_advantage: (R, K). pose_kl: (R,) the closed form
    between the present and the reference Gaussian. has_pose: (R,) bool; rows without a pose may hold anything finite.
    prompts: how many prompts the whole batch has (None: these), so that micro-batches add up to the same gradient.
    clip_text, clip_pose: how far a ratio may leave 1. ratio_dims: 1 clips the density ratio of the whole pose, D (132)
        its geometric mean per dimension, which moves so little that only a clip near 0.005 is ever reached, and whose
        gradient is D times smaller beside a pose_kl that is not.
    text_beta, pose_beta: weights of the two KLs, the words' estimated token by token (k3), the pose's summed over its dimensions.
    Averages run over an answer's tokens, a prompt's answers (its V poses), then prompts. Returns (loss, metrics).
    """
    answers, poses = pose_logp.shape
    if answers % group_size:
        raise ValueError(f"group_size={group_size} does not divide {answers} answers; pass whole groups")
    prompts = prompts or answers // group_size
    tokens = answer_mask.sum(1).clamp(min=1)

    def over_answers(values):  # (R, T): the mean over an answer's tokens, a prompt's answers, the prompts
        return (values.masked_fill(~answer_mask, 0.0).sum(1) / tokens).sum() / (group_size * prompts)

    valid = has_pose.view(-1, group_size).sum(1).clamp(min=1).repeat_interleave(group_size)  # answers with a pose, (R,)

    def over_poses(values):  # (R, K): the mean over a prompt's V poses, then the prompts
        return (values.masked_fill(~has_pose[:, None], 0.0).mean(1) / valid).sum() / prompts

    text_ratio = text_logp - old_text_logp
    pose_ratio = (pose_logp - old_pose_logp) / ratio_dims
    text_gain = over_answers(clipped(text_ratio, text_advantage[:, None], clip_text))
    pose_gain = over_poses(clipped(pose_ratio, pose_advantage, clip_pose))
    text_kl = over_answers(kl_tokens(text_logp, reference_text_logp))
    pose_kl = over_poses(pose_kl[:, None])
    loss = -(text_gain + pose_gain) + text_beta * text_kl + pose_beta * pose_kl
    metrics = {"text_gain": text_gain, "pose_gain": pose_gain, "text_kl": text_kl, "pose_kl": pose_kl,
               "text_clipped": over_answers(((text_ratio.exp() - 1).abs() > clip_text).float()),
               "pose_clipped": over_poses(((pose_ratio.exp() - 1).abs() > clip_pose).float())}
    return loss, {name: value.item() for name, value in metrics.items()}
