"""The policy: what it samples it can score, whatever the padding, the batch or the mode it is in."""

import json

import pytest
import torch

from minirft.body import InputError
from minirft.data import POSE
from minirft.policy import PosePolicy, to_pose

QUESTIONS = ["raise both arms", "kneel on the left knee and put your hands on your hips, please", "hello"]


@pytest.fixture(scope="module")
def policy():
    """The weights that ship: poses for two of the questions, words alone for the third."""
    return PosePolicy.from_pretrained("mini-sft")


def draw(policy, seed=0, **settings):
    settings = {"group_size": 6, "poses_per_answer": 4, "temperature": 0.7} | settings
    return policy.sample(QUESTIONS, generator=torch.Generator().manual_seed(seed), **settings)


def test_scoring_gives_the_log_probabilities_that_sampling_had(policy):
    """Trap 2: the on-policy ratio is 1 at the temperature that was sampled at."""
    rollout = draw(policy)
    assert 0 < rollout.scores.has_pose.sum() < len(rollout.answer)
    scores = policy.score(rollout, temperature=rollout.temperature)
    torch.testing.assert_close(scores.text_logp, rollout.scores.text_logp, rtol=1e-4, atol=1e-4)
    assert torch.equal(scores.has_pose, rollout.scores.has_pose)
    torch.testing.assert_close(scores.mean, rollout.scores.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores.std, rollout.scores.std, rtol=1e-4, atol=1e-4)


def test_the_log_probabilities_of_another_temperature_differ(policy):
    rollout = draw(policy)
    assert (policy.score(rollout).text_logp - rollout.scores.text_logp).abs().max() > 0.1


@pytest.mark.parametrize("training", [False, True])
def test_greedy_tokens_are_the_argmax_of_a_plain_forward(policy, training):
    """Trap 1: in the very mode that the trainer samples in."""
    policy.train(training)
    rollout = draw(policy, temperature=0.0, group_size=1)
    assert policy.training == training
    policy.eval()
    for i in range(len(QUESTIONS)):
        prompt = rollout.prompt[i][rollout.prompt_mask[i]]
        answer = rollout.answer[i][rollout.answer_mask[i]]
        ids = torch.cat([prompt, answer])[None]
        logits = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        logits[:, policy._barred] = -torch.inf
        assert torch.equal(logits.argmax(-1), answer)


def test_padding_and_company_change_nothing(policy):
    together = policy.encode(QUESTIONS, [f"It is {POSE}.", f"Sure, here is the pose: {POSE}.", "Hello!"])
    scores = policy.score(together)
    alone = policy.score(policy.encode(QUESTIONS[:1], [f"It is {POSE}."]))
    torch.testing.assert_close(scores.mean[:1], alone.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.text_logp[0].sum(), alone.text_logp.sum(), rtol=1e-4, atol=1e-4)


def test_input_tokens_are_never_answered(policy):
    rollout = draw(policy, group_size=40, temperature=3.0)
    said = rollout.answer[rollout.answer_mask]
    assert not torch.isin(said, policy._barred).any()
    image, pad = policy.model.config.image_token_id, policy.tokenizer.pad_token_id
    assert {image, pad} <= set(policy._barred.tolist())


def test_same_seed_same_rollout_other_seed_another(policy):
    first, again, other = draw(policy), draw(policy), draw(policy, seed=1)
    assert torch.equal(first.answer, again.answer) and torch.equal(first.action, again.action)
    assert first.answer.shape != other.answer.shape or not torch.equal(first.answer, other.answer)


def test_only_the_first_pose_token_of_an_answer_counts(policy):
    tokens = policy.encode(["arms up"], [f"It is {POSE} or {POSE}."])
    assert policy._first_pose(tokens.answer).sum() == 1


def test_generate_gives_the_mean_first_and_nan_where_there_is_no_pose(policy):
    pose, answers, log_prob = policy.generate(QUESTIONS, n=5, seed=0)
    assert pose.shape == (3, 5, 24, 3, 3) and log_prob.shape == (3, 5)
    assert log_prob.isfinite().all()
    for p in range(3):
        for n in range(5):
            assert pose[p, n].isnan().any().item() == (POSE not in answers[p][n])
    greedy = draw(policy, temperature=0.0, group_size=1)
    torch.testing.assert_close(pose[:, 0][greedy.scores.has_pose], to_pose(greedy.scores.mean))


def test_a_saved_policy_loads_with_the_same_outputs(policy, tmp_path):
    policy.save_pretrained(tmp_path / "one")
    back = PosePolicy.from_pretrained(tmp_path / "one")
    pose, answers, log_prob = policy.generate(QUESTIONS, n=2)
    pose2, answers2, log_prob2 = back.generate(QUESTIONS, n=2)
    assert answers == answers2 and torch.equal(log_prob, log_prob2)
    assert torch.equal(pose.nan_to_num(), pose2.nan_to_num())


def break_nothing_there(folder):
    for file in folder.iterdir():
        file.unlink()


def break_half_a_file(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def break_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = 96
    (folder / "config.json").write_text(json.dumps(config))


def break_no_head(folder):
    (folder / "head.safetensors").unlink()


def break_policy_json(folder):
    (folder / "policy.json").write_text("{")


@pytest.mark.parametrize("damage", [break_nothing_there, break_half_a_file, break_another_shape, break_no_head,
                                    break_policy_json])
def test_a_damaged_checkpoint_is_one_clear_line(policy, tmp_path, damage):
    policy.save_pretrained(tmp_path / "c")
    damage(tmp_path / "c")
    with pytest.raises(InputError) as caught:
        PosePolicy.from_pretrained(tmp_path / "c")
    assert str(tmp_path / "c") in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_no_model_names_those_that_ship():
    with pytest.raises(InputError, match="neither a checkpoint folder nor a model that ships"):
        PosePolicy.from_pretrained("no-such-model")
