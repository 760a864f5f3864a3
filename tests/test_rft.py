"""Reinforcement fine-tuning: starts on its reference, repeatable, resumable to the bit, and rewards reach what they are for."""

import dataclasses
import json

import pytest
import torch

from minirft import captions, critics, evaluate, rewards, train
from minirft.body import load_body
from minirft.critics import Critics
from minirft.data import Sample
from minirft.errors import InputError
from minirft.policy import PosePolicy
from minirft.train import RFTConfig

TINY = {"prompts": 6, "group_size": 3, "poses_per_answer": 4, "micro_batch": 4, "look_every": 2, "warmup": 1}


@pytest.fixture(scope="module")
def tools():
    return Critics.load(load_body())


def run(poses, tools, out, *, steps=4, resume=False, look=None, **settings):
    """A run from the weights that ship."""
    return train.rft(PosePolicy.from_pretrained("mini-sft"), poses, RFTConfig(steps=steps, **TINY | settings), critics=tools,
                     out=out, resume=resume, look=look, progress=False)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def batch_of(policy, poses, tools, config, step=0):
    """One rollout of a policy that has its adapter, weighed."""
    weights = captions.weights_among(poses, tools.body)
    samples = train.fresh_samples(poses, tools.body, weights, config.prompts, config, step)
    rollout = policy.sample([s.question for s in samples], pictures=[s.picture for s in samples],
                            group_size=config.group_size, temperature=config.temperature,
                            poses_per_answer=config.poses_per_answer, widths=config.widths, generator=torch.Generator().manual_seed(0))
    given = critics.give_rewards(rollout, policy.decode(rollout), samples, tools)
    return samples, rollout, given, critics.weigh(policy, rollout, *given, samples, config)


def test_a_run_stopped_and_resumed_ends_in_the_same_weights(poses, tools, tmp_path, stop_at):
    whole = run(poses, tools, tmp_path / "whole", inner_steps=2)
    with stop_at(1), pytest.raises(KeyboardInterrupt):
        run(poses, tools, tmp_path / "cut", inner_steps=2)
    resumed = run(poses, tools, tmp_path / "cut", resume=True, inner_steps=2)
    fresh = PosePolicy.from_pretrained("mini-sft").add_lora("rft").state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert any(not torch.equal(value, fresh[name]) for name, value in whole.state_dict().items())
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_the_first_step_starts_on_the_reference_and_on_policy(poses, tools, tmp_path):
    """Traps 2 and 8: before any update every ratio is 1, nothing is clipped, and the KL is exactly 0."""
    config = RFTConfig(steps=1, **TINY)
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    batch = batch_of(policy, poses, tools, config)[-1]
    for part in batch.parts(config.micro_batch, config.group_size):
        with torch.no_grad():
            scores = policy.score(part)
            assert torch.equal(scores.text_logp, part.reference_text_logp)
            assert torch.equal(scores.mean, part.reference_mean[part.has_pose])
            _, logged = critics.rft_loss(policy, part, config, prompts=config.prompts)
        assert logged["text_kl"] == logged["pose_kl"] == 0.0
        assert logged["text_clipped"] == logged["pose_clipped"] == 0.0


def test_in_half_precision_too_the_kl_of_no_update_is_nothing(poses, tools):
    """Trap 8: what a pass says in bf16 depends on its shape, so the reference is asked in the shapes of the loss."""
    config = RFTConfig(**TINY | {"micro_batch": 2})
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    policy.model.bfloat16()
    batch = batch_of(policy, poses, tools, config)[-1]
    with torch.no_grad():
        whole = policy.score(batch)
        logged = [critics.rft_loss(policy, part, config, prompts=config.prompts)[1] for part in batch.parts(2, config.group_size)]
    assert {part["text_kl"] for part in logged} == {part["pose_kl"] for part in logged} == {0.0}
    assert not torch.equal(whole.mean, batch.reference_mean[batch.has_pose])  # another shape, other numbers


def test_a_sampler_that_is_another_opinion_than_the_loss_clips_nothing_at_first(poses, tools):
    """In bf16 the two differ by whole nats a pose; the old log-probabilities are the loss's own, for later inner steps too."""
    config = RFTConfig(**TINY)
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    batch = batch_of(policy, poses, tools, config)[-1]
    truth = batch.old_pose_logp.clone()
    batch.old_pose_logp += torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    _, off = critics.rft_loss(policy, batch, config, prompts=config.prompts)
    assert off["pose_clipped"] > 0.5
    for part in batch.parts(2, config.group_size):
        _, logged = critics.rft_loss(policy, part, config, prompts=config.prompts, first=True)
        assert logged["pose_clipped"] == logged["text_clipped"] == 0.0
    torch.testing.assert_close(batch.old_pose_logp[batch.has_pose], truth[batch.has_pose], atol=2e-3, rtol=0)


def test_saying_no_pose_is_never_better_than_saying_the_worst(poses, tools):
    """However low a reward of one's own goes, in millimetres say."""
    policy, config = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval(), RFTConfig(**TINY | {"talk_share": 0.0})
    samples, rollout, (of_answers, of_poses), _ = batch_of(policy, poses, tools, config)
    answer, has_pose, said = rollout.answer.clone(), rollout.scores.has_pose.clone(), rollout.scores.has_pose.clone()
    answer[0][answer[0] == policy.pose_id], has_pose[0] = policy.tokenizer.eos_token_id, False  # as if the first had none
    kept = said.nonzero()[:, 0] > 0
    scores = {name: getattr(rollout.scores, name)[kept] for name in ("mean", "std", "hidden")} | {"has_pose": has_pose}
    silent = dataclasses.replace(rollout, answer=answer, action=rollout.action[kept], pose_logp=rollout.pose_logp[kept],
                                 scores=dataclasses.replace(rollout.scores, **scores))
    far = {"far": -300.0 - torch.arange(float(rollout.action.shape[1])).repeat(len(rollout.answer), 1)}
    batch = critics.weigh(policy, silent, {}, far, samples, dataclasses.replace(config, reward_weights={"far": 1.0}))
    assert batch.text_advantage[0] <= batch.text_advantage[1:config.group_size].min()


def test_a_logged_reward_is_the_average_over_what_it_is_about(poses, tools):
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    config = RFTConfig(**TINY | {"prompts": 8, "talk_share": 0.3}, image_share=0.5)
    samples, _, given, batch = batch_of(policy, poses, tools, config)
    logged = critics.average_rewards(*given, batch, samples)
    for name, value in given[1].items():  # those of ours are 0 exactly where they are about nothing
        assert logged[name] == pytest.approx(value[value.abs().sum(1) > 0].mean().item(), rel=1e-5) or name == "verifiable"
    assert "joint" not in critics.average_rewards(*given, batch, [dataclasses.replace(s, task="text") for s in samples])


def test_only_the_adapter_and_the_head_are_trained(poses, tools, tmp_path):
    before = PosePolicy.from_pretrained("mini-sft")
    after = run(poses, tools, tmp_path / "run", steps=2)
    with torch.no_grad(), after.reference():
        tokens = before.encode(["raise both arms"], ["It is <POSE>."])
        one, two = before.score(tokens), after.score(tokens)
    assert torch.equal(one.text_logp, two.text_logp) and torch.equal(one.mean, two.mean)
    assert not torch.equal(after.score(tokens).mean, one.mean)


@pytest.mark.parametrize("settings", [{"inner_steps": 2}, {"pose_ratio": "mean", "clip_pose": 0.005},
                                      {"poses_per_answer": 1}, {"talk_share": 0.5}])
def test_micro_batches_change_nothing(poses, tools, settings):
    """Trap 6: averages are over prompts, however they are cut."""
    config = RFTConfig(**TINY | settings)
    gradients = []
    for size in (6, 4, 1):
        policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
        batch = batch_of(policy, poses, tools, config)[-1]
        for part in batch.parts(size, config.group_size):
            critics.rft_loss(policy, part, config, prompts=config.prompts)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
    assert gradients[0].abs().max() > 0
    for other in gradients[1:]:
        assert (other - gradients[0]).norm() < 3e-4 * gradients[0].norm()


def test_grpo_moves_words_and_leaves_poses_without_a_signal(poses, tools):
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    config = RFTConfig(**TINY | {"algorithm": "grpo"})
    batch = batch_of(policy, poses, tools, config)[-1]
    assert batch.pose_advantage.abs().max() == 0 and batch.text_advantage.abs().max() > 0
    hybrid = batch_of(policy, poses, tools, dataclasses.replace(config, algorithm="hygrpo"))[-1]
    assert torch.equal(hybrid.text_advantage, batch.text_advantage)  # the same F
    for part in batch.parts(config.micro_batch, config.group_size):
        critics.rft_loss(policy, part, config, prompts=config.prompts)[0].backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in policy.head.parameters())


def test_rewards_leave_the_std_to_the_kl_if_asked(poses, tools):
    def gradient(**settings):
        policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft", seed=0).eval()
        config = RFTConfig(**TINY | settings)
        critics.rft_loss(policy, batch_of(policy, poses, tools, config)[-1], config, prompts=config.prompts)[0].backward()
        return policy.head.layers[-1].bias.grad.split(policy.head.dims)

    (mean, std), (same, none) = gradient(), gradient(align_std=False)
    assert mean.abs().max() > 0 and std.abs().max() > 0
    torch.testing.assert_close(mean, same)
    assert none.abs().max() < 1e-3 * std.abs().max()  # on its reference the KL does not pull


def test_rewards_are_the_functions_of_rewards_py(poses, tools):
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    config = RFTConfig(**TINY)
    samples, rollout, (of_answers, of_poses), batch = batch_of(policy, poses, tools, config)
    row, column = batch.has_pose.nonzero()[0, 0], 2
    sample, pose = samples[row // 3], rollout.pose[0, column]
    joints = tools.body.joints(pose)
    asserted = [i for i in sample.statements if captions.STATEMENTS[i].kind in rewards.REWARDED]
    share = captions.holds(joints)[asserted].float().mean() if asserted else 0.0
    cosine = (tools.reward_model.embed_text([sample.caption])[0] * tools.reward_model.embed_pose(pose, joints)).sum()
    assert of_poses["verifiable"][row, column] == pytest.approx(float(share))
    assert of_poses["semantic"][row, column] == pytest.approx(cosine.item(), abs=1e-5)
    assert of_poses["plausible"][row, column] == pytest.approx(rewards.plausibility(tools.prior.score(pose)).item(), abs=1e-5)
    assert of_answers["format"][row] == 1.0


def test_a_person_seen_is_rewarded_for_joints_and_nothing_that_sentences_are_rewarded_for(poses, tools):
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    config = RFTConfig(**TINY | {"prompts": 8, "talk_share": 0.0}, image_share=0.5)
    samples, rollout, (_, of_poses), batch = batch_of(policy, poses, tools, config)
    shown = torch.tensor([s.task == "image" for s in samples for _ in range(config.group_size)])
    posed = batch.has_pose
    assert (shown & posed).any() and (~shown & posed).any()
    for name in ("semantic", "verifiable", "plausible"):
        assert of_poses[name][shown].abs().max() == 0
    for name in ("joint", "aligned"):
        assert of_poses[name][~shown].abs().max() == 0 and (of_poses[name][shown & posed] > 0).all()
    assert (of_poses["aligned"] >= 0.9 * of_poses["joint"]).all()  # aligned (by squares), a pose can hardly be further off
    row = (shown & posed).nonzero()[0, 0]
    drawn = rollout.pose[posed[:row].sum()]
    truth = tools.body.joints(samples[row // config.group_size].pose)
    torch.testing.assert_close(of_poses["joint"][row], rewards.joint_location(tools.body.joints(drawn), truth))
    joints = tools.body.joints(drawn)
    off = evaluate.pa_mpjpe_mm(joints, truth.expand_as(joints)) / 1000
    torch.testing.assert_close(of_poses["aligned"][row], 1 / (off + 0.05), rtol=1e-4, atol=1e-4)
    _, logged = critics.rft_loss(policy, batch, config, prompts=config.prompts)
    assert logged["pose_clipped"] == 0.0  # scored with the pictures that it was sampled with


def test_talk_is_rewarded_for_its_words_and_never_for_a_pose(poses, tools):
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    samples = [Sample("hello", "Hello! Describe a pose and I will show it.", task="talk")]
    rollout = policy.sample(["raise both arms"], group_size=3, poses_per_answer=4, generator=torch.Generator().manual_seed(0))
    assert rollout.scores.has_pose.all()  # as if the policy had answered "hello" with poses
    of_answers, of_poses = critics.give_rewards(rollout, policy.decode(rollout), samples, tools)
    assert all(value.abs().max() == 0 for value in of_poses.values()) and of_answers["format"].max() == 0
    batch = critics.weigh(policy, rollout, of_answers, of_poses, samples, RFTConfig(**TINY))
    assert batch.pose_advantage.abs().max() == 0


def test_a_reward_of_ones_own_is_weighed_by_name_and_seen_by_the_policy(poses, tools, tmp_path):
    def head_high(samples, answers, pose, joints):
        assert len(samples) == len(answers) == len(pose) == 18 and pose.shape[1:] == (4, 24, 3, 3)
        return joints[..., captions.JOINT["head"], 1]

    def words(samples, answers, pose, joints):
        return torch.tensor([float(len(a)) for a in answers])

    mine = dataclasses.replace(tools, own={"head_high": head_high, "words": words})
    run(poses, mine, tmp_path / "run", steps=1, talk_share=0.0,
        reward_weights=RFTConfig().reward_weights | {"head_high": 0.5, "words": 0.0})
    assert lines(tmp_path / "run")[0]["head_high"] != 0 and lines(tmp_path / "run")[0]["words"] > 5


def test_nearness_is_paid_where_it_has_a_weight_and_to_sentences_alone(poses, tools, tmp_path, monkeypatch):
    weights, mine = RFTConfig().reward_weights, dataclasses.replace(tools, known=tools.body.joints(poses[:10]))
    config = RFTConfig(**TINY | {"prompts": 8, "talk_share": 0.0}, image_share=0.5)
    policy = PosePolicy.from_pretrained("mini-sft").add_lora("rft").eval()
    samples, rollout, given, batch = batch_of(policy, poses, mine, config)
    shown = torch.tensor([s.task == "image" for s in samples for _ in range(config.group_size)])
    near = given[1]["near"]
    assert shown.any() and (near[shown] == 0).all() and (near[~shown & batch.has_pose] < -0.01).all()
    paid = critics.weigh(policy, rollout, *given, samples, dataclasses.replace(config, reward_weights=weights | {"near": 2.5}))
    gap = (paid.pose_advantage - batch.pose_advantage).abs().sum(1)
    assert (gap[shown] < 1e-6).all() and gap[~shown & batch.has_pose].min() > 0
    monkeypatch.setattr(train, "KNOWN", 7)
    run(poses, mine, tmp_path / "run", steps=1, reward_weights=weights | {"near": 2.5})
    assert torch.equal(mine.known, tools.body.joints(poses)[torch.linspace(0, len(poses) - 1, 7).long()])
    assert -0.5 < lines(tmp_path / "run")[0]["near"] < -0.01
    run(poses, mine, tmp_path / "later", steps=1)  # with the same critics
    assert "near" not in lines(tmp_path / "later")[0]


@pytest.mark.parametrize("function, message", [
    (lambda samples, answers, pose, joints: joints, "reward mine returned shape"),
    (lambda samples, answers, pose, joints: torch.full((len(answers),), torch.nan), "reward mine is not finite"),
    (lambda samples, answers, pose, joints: None, "reward mine gave no numbers .*NoneType"),
    (lambda samples, answers, pose, joints: answers, "reward mine gave no numbers .ValueError: .*str"),
    (lambda samples, answers, pose, joints: samples[0].height, "reward mine gave no numbers .AttributeError: .*height"),
    (lambda samples, answers, pose, joints: exit(3), "reward mine gave no numbers .SystemExit: 3"),
])
def test_a_wrong_reward_of_ones_own_is_one_clear_line(poses, tools, tmp_path, function, message):
    mine = dataclasses.replace(tools, own={"mine": function})
    with pytest.raises(InputError, match=message):
        run(poses, mine, tmp_path / "run", reward_weights=RFTConfig().reward_weights | {"mine": 1.0})


MINE = "def tall(*given):\n    return 1\n\n\ndef semantic(*given):\n    return 1\n\n\nLIMIT = 3\n"


@pytest.mark.parametrize("texts, message", [
    (["semantic=nan"], "nan cannot be weighed with; give a finite number"), (["mine.py:tall=1e999"], "1e999 cannot be weighed with"),
    (["mine.py:tall", "a=b/mine.py:tall=2"], "logs a tall already"),
    (["mine.py:semantic"], "logs a semantic already"),
    (["mine.py:step"], "logs a step already"), (["mine.py:pose_kl"], "logs a pose_kl already"),
    (["mine.py:LIMIT"], "mine.py: LIMIT is a int; give the name of a function"),
    (["leaves.py:tall"], "leaves.py: cannot load tall .SystemExit: 3"), (["mine.py:tall=a=b"], "'b' is no weight")])
def test_a_reward_that_cannot_be_given_is_told_before_the_run(tmp_path, monkeypatch, texts, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    for name, text in (("mine.py", MINE), ("a=b/mine.py", MINE), ("leaves.py", "raise SystemExit(3)")):
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        critics.read_rewards(texts, {"semantic": 1.0})


@pytest.mark.parametrize("text, weight", [("{}:tall", 1.0), ("{}:tall=0.5", 0.5), ("{}:tall=-2e-1", -0.2)])
def test_a_path_may_hold_what_comes_before_a_weight(tmp_path, text, weight):
    path = tmp_path / "a=b" / "lr=3.py"
    path.parent.mkdir()
    path.write_text(MINE)
    weights, own = critics.read_rewards([text.format(path), "semantic=2"], {"semantic": 1.0})
    assert weights == {"semantic": 2.0, "tall": weight} and own["tall"]() == 1


def test_a_run_is_resumed_on_the_model_that_it_stands_on(poses, tools, tmp_path):
    run(poses, tools, tmp_path / "run", steps=1)
    policy = PosePolicy.from_pretrained("mini-sft")
    policy.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="the run there stands on mini-sft, not on .*other; resume it with that"):
        train.rft(PosePolicy.from_pretrained(tmp_path / "other"), poses, RFTConfig(steps=1, **TINY), critics=tools, out=tmp_path / "run",
                  resume=True, progress=False)
    run(poses, tools, tmp_path / "run", steps=1, resume=True)


def test_a_checkpoint_brings_the_reference_that_it_was_trained_against(tmp_path):
    kept, other = (PosePolicy.mini(seed=seed).add_lora("sft") for seed in (0, 1))
    kept.save_pretrained(tmp_path)
    other.restore(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(kept.reference_head.parameters(), other.reference_head.parameters()))
    assert not any(p.requires_grad for p in other.reference_head.parameters())


def test_nan_stops_the_run_with_the_last_good_state(poses, tools, tmp_path, monkeypatch):
    real = train.rft_loss

    def poisoned(policy, batch, config, *, prompts, **settings):
        loss, logged = real(policy, batch, config, prompts=prompts, **settings)
        return (loss * torch.nan if (tmp_path / "run" / "last").exists() else loss), logged

    monkeypatch.setattr(train, "rft_loss", poisoned)
    with pytest.raises(InputError, match="step 2: the gradient is not finite"):
        run(poses, tools, tmp_path / "run")
    policy = PosePolicy.from_pretrained(tmp_path / "run")
    assert policy.adapters == ["rft"] and all(p.isfinite().all() for p in policy.parameters())


def test_an_aligned_model_is_not_aligned_again(poses, tools, tmp_path):
    run(poses, tools, tmp_path / "run", steps=1)
    with pytest.raises(InputError, match="adapter 'rft' already"):
        train.rft(PosePolicy.from_pretrained(tmp_path / "run"), poses, RFTConfig(), critics=tools, out=tmp_path / "other")


@pytest.mark.parametrize("wrong", [{"group_size": 1}, {"poses_per_answer": 0}, {"algorithm": "ppo"}, {"pose_ratio": "sum"},
                                   {"temperature": 0.0}, {"max_tokens": -1}, {"widths": ()}, {"widths": (1.0, 0.0)}, {"lr": -1e-3},
                                   {"pose_beta": float("nan")}, {"adapter_lr": float("inf")}, {"talk_share": 1.5}, {"scale": "all"}])
def test_a_config_that_cannot_be_says_which_value(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RFTConfig(**wrong)


def test_answers_are_cut_off_where_the_config_says(poses, tools, tmp_path):
    policy = PosePolicy.from_pretrained("mini-sft")
    _, answers, _ = policy.generate(["raise both arms"], n=8, max_tokens=2)
    assert max(len(policy.tokenizer(answer, add_special_tokens=False).input_ids) for answer in answers[0]) == 2
    run(poses, tools, tmp_path / "run", steps=1, max_tokens=2)
    assert lines(tmp_path / "run")[0]["posed"] < 0.5  # few of its answers get to <POSE> so soon


def test_looks_are_logged(poses, tools, tmp_path):
    run(poses, tools, tmp_path / "run", steps=3, look=lambda policy, step: {"val_seen": step})
    assert [line.get("val_seen") for line in lines(tmp_path / "run")] == [None, 2, 3]


@pytest.mark.slow
def test_the_verifiable_reward_rises(poses, tools, tmp_path):
    run(poses, tools, tmp_path / "run", steps=30, prompts=8, poses_per_answer=32, widths=(1.0,), lr=3e-3, talk_share=0.0,
        reward_weights={"semantic": 0.0, "verifiable": 1.0, "plausible": 0.0, "format": 0.0, "similarity": 0.0})
    paid = [line["verifiable"] for line in lines(tmp_path / "run")]
    assert sum(paid[-8:]) / 8 > sum(paid[:8]) / 8 + 0.05


def test_who_looks_at_pixels_alone_is_asked_about_photographs_alone(poses, tools, tmp_path):
    policy = PosePolicy.mini()
    policy.sees = "pixels"
    with pytest.raises(InputError, match="give it some by --album"):
        train.rft(policy, poses, RFTConfig(image_share=0.5), critics=tools, out=tmp_path, progress=False)
