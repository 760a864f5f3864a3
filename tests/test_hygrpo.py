"""HyGRPO's advantages and loss against the formulas written out in loops, and against the traps that bit others."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minirft import hygrpo

N, G, K, T = 3, 4, 5, 6


def batch(seed=0, requires_grad=False):
    """Random log-probabilities, masks and advantages of N prompts; one answer of the first has no pose, all of the last."""
    g = torch.Generator().manual_seed(seed)
    rows = N * G
    mask = torch.arange(T)[None] < torch.randint(1, T + 1, (rows, 1), generator=g)
    has_pose = torch.ones(rows, dtype=torch.bool)
    has_pose[1], has_pose[-G:] = False, False
    new = {"text_logp": torch.randn(rows, T, generator=g), "pose_logp": torch.randn(rows, K, generator=g)}
    fixed = {"old_text_logp": new["text_logp"] + 0.3 * torch.randn(rows, T, generator=g),
             "old_pose_logp": new["pose_logp"] + 0.3 * torch.randn(rows, K, generator=g),
             "reference_text_logp": new["text_logp"] + 0.3 * torch.randn(rows, T, generator=g),
             "pose_kl": torch.rand(rows, generator=g), "answer_mask": mask, "has_pose": has_pose,
             "text_advantage": torch.randn(rows, generator=g), "pose_advantage": torch.randn(rows, K, generator=g)}
    if requires_grad:
        new = {k: v.requires_grad_() for k, v in new.items()}
    return new, fixed


def test_advantages_are_the_z_scores_of_each_group():
    rewards = torch.randn(N * G, generator=torch.Generator().manual_seed(0))
    groups = rewards.view(N, G)
    wanted = (groups - groups.mean(1, keepdim=True)) / groups.std(1, keepdim=True)
    torch.testing.assert_close(hygrpo.group_advantages(rewards, G), wanted.flatten())


def test_equal_rewards_give_exactly_zero():
    """Trap 5: 0.1 + 0.2 + ... in float32 has a std of some 1e-8, and a z-score would blow it up."""
    for value in (0.1, 0.7, 1e6, -3.3):
        assert (hygrpo.group_advantages(torch.full((8,), value), 4) == 0).all()


def test_a_spread_under_min_std_is_a_tie():
    rewards = torch.tensor([1.0000, 1.0003, 0.9998, 1.0001, 1.0, 2.0, 3.0, 4.0])
    advantages = hygrpo.group_advantages(rewards, 4, min_std=1e-3)
    assert (advantages[:4] == 0).all() and (advantages[4:] != 0).all()


def test_rewards_may_be_shifted_and_scaled_without_effect():
    rewards = torch.rand(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(hygrpo.group_advantages(rewards, 4), hygrpo.group_advantages(5 * rewards + 100, 4),
                               rtol=1e-3, atol=1e-4)


def test_what_is_not_valid_takes_no_part():
    rewards = torch.tensor([1.0, 3.0, torch.nan, 50.0, 7.0, torch.nan])
    valid = torch.tensor([True, True, False, False, True, False])
    advantages = hygrpo.group_advantages(rewards, 3, valid=valid)
    torch.testing.assert_close(advantages[:3], torch.tensor([-(0.5**0.5), 0.5**0.5, 0.0]))
    assert (advantages[3:] == 0).all()  # one valid candidate has no rest to be better than


@pytest.mark.parametrize("wrong", [{"group_size": 5}, {"group_size": 0}, {"scale": "batch"}])
def test_wrong_arguments_name_the_value_and_the_way_out(wrong):
    with pytest.raises(ValueError, match=str(list(wrong.values())[0])):
        hygrpo.group_advantages(torch.zeros(12), **{"group_size": 4} | wrong)


def test_a_reward_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        hygrpo.group_advantages(torch.tensor([1.0, torch.inf]), 2)


def test_with_one_pose_an_answer_the_split_is_the_papers():
    g = torch.Generator().manual_seed(2)
    answer, pose = torch.rand(8, generator=g), torch.rand(8, 1, generator=g)
    has_pose = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1], dtype=torch.bool)
    text, delta = hygrpo.hybrid_advantages(answer, pose, has_pose, 4, missing=-1.0)
    total = answer + torch.where(has_pose, pose[:, 0], -1.0)
    torch.testing.assert_close(text, hygrpo.group_advantages(total, 4))
    seen = pose[[0, 1, 3], 0]
    torch.testing.assert_close(delta[[0, 1, 3], 0], (seen - seen.mean()) / seen.std())
    assert delta[2] == 0


def test_delta_holds_what_the_pose_adds_to_its_answer_and_what_its_answer_adds_to_the_prompt():
    g = torch.Generator().manual_seed(3)
    pose = torch.rand(8, K, generator=g)
    has_pose = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1], dtype=torch.bool)
    valid = has_pose[:, None].expand(-1, K).flatten()
    _, delta = hygrpo.hybrid_advantages(torch.zeros(8), pose, has_pose, 4, missing=0.0, scale="none")
    within = hygrpo.group_advantages(pose.flatten(), K, valid=valid, scale="none").view(8, K)
    of_prompt = pose[[0, 1, 3]].mean()
    torch.testing.assert_close(delta[0], within[0] + pose[0].mean() - of_prompt)


def test_poses_of_one_kind_are_compared_among_themselves():
    g = torch.Generator().manual_seed(4)
    pose = torch.rand(8, 5, generator=g) + torch.tensor([0.0, 9.0, 9.0, 0.0, 9.0])  # kinds in turn: 0 1 2 0 1
    has_pose = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1], dtype=torch.bool)
    _, delta = hygrpo.hybrid_advantages(torch.zeros(8), pose, has_pose, 4, missing=0.0, scale="none", kinds=3)
    for columns in ([0, 3], [1, 4], [2]):
        seen = pose[[0, 1, 3]][:, columns]
        torch.testing.assert_close(delta[[0, 1, 3]][:, columns], seen - seen.mean())
    assert (delta[2] == 0).all()
    alone, one = (hygrpo.hybrid_advantages(torch.zeros(8), pose[:, :1], has_pose, 4, missing=0.0, kinds=n)[1] for n in (3, 1))
    assert torch.equal(alone, one)  # more kinds than poses: the first


def test_the_loss_is_the_formula_written_out():
    new, fixed = batch()
    loss, _ = hygrpo.hygrpo_loss(**new, **fixed, group_size=G, clip_text=0.2, clip_pose=0.1, text_beta=0.3, pose_beta=0.7)
    total = 0.0
    for n in range(N):
        rows = range(n * G, (n + 1) * G)
        text = pose = kl = pose_kl = 0.0
        valid = [i for i in rows if fixed["has_pose"][i]]
        for i in rows:
            length = int(fixed["answer_mask"][i].sum())
            for t in range(length):
                r = (new["text_logp"][i, t] - fixed["old_text_logp"][i, t]).exp()
                a = fixed["text_advantage"][i]
                text += min(r * a, r.clamp(0.8, 1.2) * a) / length / G
                gap = fixed["reference_text_logp"][i, t] - new["text_logp"][i, t]
                kl += (gap.exp() - gap - 1) / length / G
        for i in valid:
            pose_kl += fixed["pose_kl"][i] / len(valid)
            for k in range(K):
                r = (new["pose_logp"][i, k] - fixed["old_pose_logp"][i, k]).exp()
                a = fixed["pose_advantage"][i, k]
                pose += min(r * a, r.clamp(0.9, 1.1) * a) / (len(valid) * K)
        total += (-(text + pose) + 0.3 * kl + 0.7 * pose_kl) / N
    torch.testing.assert_close(loss, torch.as_tensor(total), rtol=1e-5, atol=1e-6)


def test_micro_batches_of_whole_prompts_add_up_to_the_same_gradient():
    """Trap 6."""
    new, fixed = batch(requires_grad=True)
    whole, _ = hygrpo.hygrpo_loss(**new, **fixed, group_size=G)
    gradients = torch.autograd.grad(whole, list(new.values()))
    parts = 0.0
    for n in range(N):
        rows = slice(n * G, (n + 1) * G)
        part, _ = hygrpo.hygrpo_loss(**{k: v[rows] for k, v in new.items()}, **{k: v[rows] for k, v in fixed.items()},
                                     group_size=G, prompts=N)
        parts = parts + part
    torch.testing.assert_close(parts, whole)
    for one, other in zip(gradients, torch.autograd.grad(parts, list(new.values()))):
        torch.testing.assert_close(one, other)


def test_on_policy_the_gradient_is_advantage_times_score():
    """At ratio 1 nothing is clipped and the loss is REINFORCE with a group baseline."""
    new, fixed = batch(requires_grad=True)
    fixed |= {"old_text_logp": new["text_logp"].detach(), "old_pose_logp": new["pose_logp"].detach()}
    loss, metrics = hygrpo.hygrpo_loss(**new, **fixed, group_size=G, text_beta=0.0, pose_beta=0.0)
    assert metrics["text_clipped"] == metrics["pose_clipped"] == 0
    text, pose = torch.autograd.grad(loss, [new["text_logp"], new["pose_logp"]])
    lengths = fixed["answer_mask"].sum(1, keepdim=True)
    wanted = -fixed["text_advantage"][:, None] * fixed["answer_mask"] / lengths / G / N
    torch.testing.assert_close(text, wanted)
    torch.testing.assert_close(pose[0], -fixed["pose_advantage"][0] / (3 * K) / N)
    assert (pose[~fixed["has_pose"]] == 0).all()


def test_the_two_clips_act_apart():
    """Trap 4: a pose that moved far leaves the words' gradient alone, and the other way round."""
    new, fixed = batch(requires_grad=True)
    fixed |= {"old_text_logp": new["text_logp"].detach(), "old_pose_logp": new["pose_logp"].detach() - 3.0,
              "text_advantage": torch.ones(N * G), "pose_advantage": torch.ones(N * G, K)}
    loss, metrics = hygrpo.hygrpo_loss(**new, **fixed, group_size=G, text_beta=0.0, pose_beta=0.0)
    text, pose = torch.autograd.grad(loss, [new["text_logp"], new["pose_logp"]])
    assert (pose == 0).all() and (text[fixed["answer_mask"]] != 0).all() and metrics["text_clipped"] == 0


def test_a_joint_ratio_leaves_the_clip_where_a_mean_ratio_does_not():
    """Trap 4's figures: 132 dimensions, the mean moved by a tenth of a standard deviation in each."""
    g = torch.Generator().manual_seed(0)
    action = torch.randn(2000, 132, generator=g)
    log_ratio = (-0.5 * (action - 0.1) ** 2 + 0.5 * action**2).sum(1)
    outside = lambda r: ((r.exp() - 1).abs() > 0.2).float().mean().item()  # noqa: E731
    assert outside(log_ratio) > 0.8 and outside(log_ratio / 132) == 0.0


def test_kl_is_zero_at_the_reference_and_positive_elsewhere():
    logp = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert (hygrpo.kl_tokens(logp, logp) == 0).all()
    assert (hygrpo.kl_tokens(logp, logp + 0.5) > 0).all() and (hygrpo.kl_tokens(logp, logp - 0.5) > 0).all()


def test_an_expected_reward_rises_under_the_loss():
    """A bandit: two tokens and a one-dimensional pose; the policy learns the better token and where the pose pays."""
    g = torch.Generator().manual_seed(0)
    logits, mean = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([logits, mean], lr=0.05)
    for _ in range(60):
        with torch.no_grad():
            token = torch.multinomial(logits.softmax(0), 8, replacement=True, generator=g)
            action = mean + 0.3 * torch.randn(8, 16, generator=g)
        answer, pose = token.float(), -(action - 1.0).abs()
        has_pose = torch.ones(8, dtype=torch.bool)
        text_advantage, pose_advantage = hygrpo.hybrid_advantages(answer, pose, has_pose, 8, missing=-2.0)
        text_logp = logits.log_softmax(0)[token][:, None]
        pose_logp = -0.5 * ((action - mean) / 0.3) ** 2
        loss, _ = hygrpo.hygrpo_loss(
            text_logp, pose_logp, old_text_logp=text_logp.detach(), old_pose_logp=pose_logp.detach(),
            reference_text_logp=text_logp.detach(), pose_kl=torch.zeros(8), has_pose=has_pose, group_size=8,
            answer_mask=torch.ones(8, 1, dtype=torch.bool), text_advantage=text_advantage, pose_advantage=pose_advantage)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert logits.softmax(0)[1] > 0.8 and abs(mean.item() - 1.0) < 0.2


def test_the_file_works_alone_in_an_empty_folder(tmp_path):
    shutil.copy(Path(hygrpo.__file__), tmp_path / "hygrpo.py")
    code = "import sys, doctest, hygrpo; print(doctest.testmod(hygrpo), any(m.startswith('minirft') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "TestResults(failed=0, attempted=2) False"


def test_a_ratio_that_overflows_has_a_gradient():
    far = torch.tensor([95.0, 95.0, -95.0], requires_grad=True)
    (hygrpo.clipped(far, torch.tensor([1.0, -1.0, 1.0]), 0.2).sum() + hygrpo.kl_tokens(-far, torch.zeros(3)).sum()).backward()
    assert far.grad.isfinite().all() and far.grad[0] == far.grad[1]  # beyond any clip: of the KL alone


def test_the_kl_of_a_word_never_pushes_away_from_the_reference():
    logp = torch.tensor([-1.0, -19.0, -21.0, -95.0], requires_grad=True)  # less and less likely than by the reference
    hygrpo.kl_tokens(logp, torch.zeros(4)).sum().backward()
    assert (logp.grad <= 0).all() and logp.grad[0] < 0
