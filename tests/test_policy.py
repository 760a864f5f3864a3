"""The policy: what it samples it can score, whatever the padding, the batch or the mode it is in."""

import json

import pytest
import torch
from peft import PeftModel
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import LlavaForConditionalGeneration

from minirft.body import DATA
from minirft.data import POSE, Picture
from minirft.errors import InputError
from minirft.policy import PosePolicy, _take
from minirft.rollout import Tokens, to_pose
from minirft.rows import Rows

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


def test_poses_are_drawn_as_widely_as_asked_and_scored_so(policy):
    rolled, wide = draw(policy, poses_per_answer=400, widths=(1.0, 0.25)), draw(policy, poses_per_answer=400)
    off = (rolled.action - rolled.scores.mean[:, None]) / rolled.scores.std[:, None]  # (A, K, D)
    torch.testing.assert_close(off[:, 1::2].std(1).mean(), torch.tensor(0.25), atol=0.005, rtol=0)
    assert torch.equal(rolled.action[:, ::2], wide.action[:, ::2]) and rolled.width[:2].tolist() == [1.0, 0.25]
    dense = torch.distributions.Normal(rolled.scores.mean[:, None], 0.25 * rolled.scores.std[:, None])
    torch.testing.assert_close(rolled.pose_logp[:, 1::2], dense.log_prob(rolled.action[:, 1::2]).sum(-1), atol=1e-2, rtol=1e-5)


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


def nudge(policy, seed):
    """Move everything that is trained."""
    with torch.no_grad():
        torch.manual_seed(seed)
        for p in policy.parameters():
            if p.requires_grad:
                p += 0.02 * torch.randn_like(p)


def same(one, two, tokens):
    with torch.no_grad():
        a, b = one.score(tokens), two.score(tokens)
    return torch.equal(a.text_logp, b.text_logp) and torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std)


@pytest.fixture
def fresh():
    return PosePolicy.from_pretrained("mini-sft")


def test_a_shared_prompt_gives_the_gradients_of_a_plain_forward(fresh):
    """Trap 3: one forward of the prompt for its group, in training too."""
    rollout = draw(fresh)
    gradients = []
    for shared in (True, False):
        prompts = [part.repeat_interleave(6, 0) for part in (rollout.prompt, rollout.prompt_mask)]
        tokens = rollout if shared else Tokens(*prompts, rollout.answer, rollout.answer_mask)
        scores = fresh.score(tokens)
        fresh.zero_grad()
        (scores.text_logp.mean() + scores.mean.square().mean() + scores.std.mean()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in fresh.parameters() if p.grad is not None]))
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_an_answer_sees_its_prompt_and_itself_and_padding_is_seen_by_nobody():
    """Two prompts, the first of one token and padding before it, with two answers each, of two tokens and of one."""
    prompt, answer = torch.tensor([[0, 1], [1, 1]]).bool(), torch.tensor([[1, 1], [1, 0]] * 2).bool()
    tokens = Tokens(prompt.long(), prompt, answer.long(), answer)
    # fmt: off
    second = [[1, 0, 0, 0, 0, 0],
              [1, 1, 0, 0, 0, 0],
              [1, 1, 1, 0, 0, 0],
              [1, 1, 1, 1, 0, 0],
              [1, 1, 0, 0, 1, 0],
              [1, 1, 0, 0, 1, 1]]  # the last is padding
    # fmt: on
    first = torch.tensor(second)
    first[1:, 0] = 0
    assert torch.equal(tokens.attention_mask(), torch.stack([first, torch.tensor(second)]).bool())


def test_logits_are_made_for_answer_tokens_alone(fresh):
    """Trap 7: over a real vocabulary, logits of the prompt would be what memory runs out for."""
    rollout, rows = draw(fresh), []
    with fresh.model.lm_head.register_forward_hook(lambda module, inputs, out: rows.append(tuple(out.shape[:-1]))):
        fresh.score(rollout)
    assert rows == [tuple(rollout.answer.shape)]


def test_an_adapter_starts_at_nothing_and_its_reference_stays_there(fresh, policy):
    tokens = draw(policy)
    fresh.add_lora("rft")
    assert same(fresh, policy, tokens)
    nudge(fresh, 0)
    assert not same(fresh, policy, tokens)
    with fresh.reference():
        assert same(fresh, policy, tokens)
    assert not same(fresh, policy, tokens)
    trained = {name for name, p in fresh.named_parameters() if p.requires_grad}
    assert trained and all(".rft" in name or name.startswith("head.") for name in trained)
    assert any("trainable_tokens" in name for name in trained) and not any("vision" in name for name in trained)


def test_where_sft_is_lora_too_rft_starts_as_its_copy_and_sft_is_the_reference(fresh, policy, tmp_path):
    tokens = draw(policy)
    nudge(fresh.add_lora("sft"), 0)
    fresh.save_pretrained(tmp_path / "sft")
    sft = PosePolicy.from_pretrained(tmp_path / "sft")
    assert same(sft, fresh, tokens)
    aligned = PosePolicy.from_pretrained(tmp_path / "sft").add_lora("rft")
    assert aligned.adapters == ["sft", "rft"] and same(aligned, sft, tokens)
    with aligned.reference():
        assert same(aligned, sft, tokens)
    nudge(aligned, 1)
    assert not same(aligned, sft, tokens)
    with aligned.reference():
        assert same(aligned, sft, tokens)
    assert {name for name, p in aligned.named_parameters() if p.requires_grad and ".sft" in name} == set()
    aligned.save_pretrained(tmp_path / "rft")
    again = PosePolicy.from_pretrained(tmp_path / "rft")
    assert same(again, aligned, tokens)
    with again.reference():
        assert same(again, sft, tokens)


def test_an_adapter_in_half_precision_finds_its_base_in_full(fresh, tmp_path):
    nudge(fresh, 1)
    fresh.save_pretrained(tmp_path / "base")
    aligned = PosePolicy.from_pretrained(tmp_path / "base").add_lora("rft")
    aligned.save_pretrained(tmp_path / "rft", dtype=torch.float16)
    assert PosePolicy.from_pretrained(tmp_path / "rft").adapters == ["rft"]
    nudge(fresh, 2)
    fresh.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="not the model that it was trained from"):
        PosePolicy.from_pretrained(tmp_path / "rft")


def test_peft_alone_can_load_the_adapter(fresh, tmp_path):
    nudge(fresh.add_lora("rft"), 0)
    fresh.save_pretrained(tmp_path / "run")
    model = LlavaForConditionalGeneration.from_pretrained(DATA / "mini-sft", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, tmp_path / "run" / "rft").eval()
    ids = draw(fresh).answer[:2]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, fresh.model(input_ids=ids).logits)


def test_a_trained_row_beside_its_table_gets_the_gradient_that_it_had_in_a_copy(fresh):
    nudge(fresh.add_lora("rft"), 0)
    ids, layers = draw(fresh).answer[:2], [m for m in fresh.modules() if isinstance(m, Rows)]
    assert len(layers) == 2 and (ids == fresh.pose_id).any()  # the embedding, and the head that shares its table

    table, copies = layers[0].base_layer.weight, []

    def note(made):
        if made.shape == table.shape and made.untyped_storage().data_ptr() != table.untyped_storage().data_ptr():
            copies.append(made)

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            tree_map_only(torch.Tensor, note, out := func(*args, **(kwargs or {})))
            return out

    def learn():
        fresh.zero_grad()
        with Noted():
            fresh.model(input_ids=ids).logits.square().mean().backward()
        return {name: p.grad.clone() for name, p in fresh.named_parameters() if p.grad is not None}

    found = learn()
    assert not copies
    for layer in layers:
        layer.__class__ = TrainableTokensLayer
    expected = learn()
    assert len(copies) > 3 and set(found) == set(expected) and any("trainable_tokens" in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "rft" / "adapter_model.safetensors").unlink(), "adapter_model.safetensors is missing"),
    (lambda folder: (folder / "reference_head.safetensors").unlink(), "reference_head"),
    (lambda folder: (folder / "policy.json").write_text(
        (folder / "policy.json").read_text().replace("mini-sft", "elsewhere")), "elsewhere"),
    (lambda folder: save_file({k: v + 1 for k, v in load_file(folder / "reference_head.safetensors").items()},
                              folder / "reference_head.safetensors"), "is not the model that it was trained from"),
])
def test_a_damaged_adapter_checkpoint_is_one_clear_line(fresh, tmp_path, damage, message):
    fresh.add_lora("rft").save_pretrained(tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(InputError, match=message):
        PosePolicy.from_pretrained(tmp_path / "run")


def test_without_an_adapter_there_is_no_reference(policy):
    with pytest.raises(InputError, match="call add_lora first"), policy.reference():
        pass


def pictures(seed=0):
    """Three pictures for QUESTIONS: all of one, landmarks alone, nothing."""
    generator = torch.Generator().manual_seed(seed)
    landmarks = torch.randn(2, 33, 6, generator=generator)
    pixels = torch.randint(256, (224, 224, 3), generator=generator).byte().numpy()
    return [Picture(pixels, landmarks[0]), Picture(None, landmarks[1]), None]


def test_what_is_sampled_with_pictures_is_scored_with_them(policy):
    rollout = draw(policy, pictures=pictures())
    scores = policy.score(rollout, temperature=rollout.temperature)
    torch.testing.assert_close(scores.text_logp, rollout.scores.text_logp, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores.mean, rollout.scores.mean, rtol=1e-4, atol=1e-4)
    alone = policy.encode(QUESTIONS, ["It is <POSE>."] * 3, pictures())  # one answer each: read in one go
    assert (alone.prompt == policy.model.config.image_token_id).sum(1).tolist() == [49, 0, 0]
    assert (alone.prompt == policy.pose_id).sum(1).tolist() == [8, 8, 0]


def test_a_question_without_a_picture_is_answered_as_among_questions_without(policy):
    mixed, plain = (policy.encode(QUESTIONS, ["It is <POSE>."] * 3, seen) for seen in (pictures(), None))
    torch.testing.assert_close(policy.score(mixed).mean[2], policy.score(plain).mean[2], rtol=1e-4, atol=1e-4)


def test_each_part_of_a_picture_changes_the_answer_and_learns(fresh):
    def mean(*seen):
        return fresh.score(fresh.encode(QUESTIONS, ["It is <POSE>."] * 3, list(seen))).mean

    one, points, none = pictures()
    other_landmarks, other_pixels = Picture(one.pixels, points.features), Picture(255 - one.pixels, one.features)
    torch.nn.init.normal_(fresh.head.layers[-1].weight)
    before = mean(one, points, none)
    for other in (other_landmarks, other_pixels):
        after = mean(other, points, none)
        assert (after[0] - before[0]).abs().max() > 1e-4 and torch.allclose(after[1:], before[1:], atol=1e-5)
    before.square().sum().backward()
    learning = [p for name, p in fresh.named_parameters() if name.startswith("projector.") or "patch_embedding" in name]
    assert len(learning) == 11 and all(p.grad is not None and p.grad.abs().max() > 0 for p in learning)


def test_a_policy_that_sees_is_saved_with_its_eyes(fresh, tmp_path):
    torch.nn.init.normal_(fresh.projector.narrow.weight), torch.nn.init.normal_(fresh.head.layers[-1].weight)
    fresh.sees = "both"
    fresh.save_pretrained(tmp_path)
    tokens, again = fresh.encode(QUESTIONS, ["It is <POSE>."] * 3, pictures()), PosePolicy.from_pretrained(tmp_path)
    torch.testing.assert_close(again.score(tokens).mean, fresh.eval().score(tokens).mean)
    assert again.must_see() == "both"


def test_a_policy_that_has_not_learnt_to_see_says_so(policy):
    assert policy.must_see() == "features"
    with pytest.raises(InputError, match="has not learnt to see.*--image-share"):
        PosePolicy.mini().must_see()


def test_another_encoders_tokens_are_read_and_come_back_from_disk(fresh, tmp_path):
    """Such as HMR2.0's ViT-H, 192 tokens of 1,280 numbers; a policy refuses those of an encoder that it was not made for."""
    wide = PosePolicy(fresh.model, fresh.tokenizer, fresh.head, name="mini", features=(192, 1280))
    seen = [Picture(None, torch.randn(192, 1280, generator=torch.Generator().manual_seed(0)))]
    tokens = wide.encode(["How does this person stand?"], ["It is <POSE>."], seen)
    assert (tokens.prompt == wide.pose_id).sum() == 8
    wide.save_pretrained(tmp_path)
    torch.testing.assert_close(PosePolicy.from_pretrained(tmp_path).score(tokens).mean, wide.eval().score(tokens).mean)
    with pytest.raises(InputError, match=r"\(192, 1280\).*\(33, 6\).*encoder"):
        fresh.encode(["How does this person stand?"], None, seen)


def test_the_mark_of_a_picture_typed_into_a_question_takes_no_picture_away(policy):
    questions = ["What does <image> show?", "<image> <POSE> <POSE>", "hello"]
    tokens = policy.encode(questions, ["It is <POSE>."] * 3, pictures())
    assert (tokens.prompt == policy.model.config.image_token_id).sum(1).tolist() == [49 + 1, 1, 0]
    assert [places.sum(1).tolist() for places in policy._places(tokens)] == [[49, 0, 0], [8, 8, 0]]
    here, alone = (policy.score(t).mean for t in (tokens, policy.encode(questions[1:2], ["It is <POSE>."], pictures()[1:2])))
    torch.testing.assert_close(here[1:2], alone, rtol=1e-4, atol=1e-4)


def test_a_new_encoder_makes_a_policy_forget_that_it_had_learnt_to_see(fresh):
    fresh.sees, before = "features", fresh.projector
    assert fresh.face((33, 6)).projector is before and fresh.sees == "features"
    assert fresh.face((192, 160)).projector is not before and fresh.sees is None


def test_what_is_drawn_depends_on_the_seed_and_not_on_how_many_questions_are_asked_at_once(policy):
    whole = draw(policy, pictures=pictures())
    for size in (1, 2):
        cut = draw(policy, pictures=pictures(), micro_batch=size)
        assert torch.equal(cut.answer, whole.answer) and torch.equal(cut.answer_mask, whole.answer_mask)
        torch.testing.assert_close(cut.action, whole.action, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(cut.scores.text_logp, whole.scores.text_logp, rtol=1e-4, atol=1e-4)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    """Also from the edges: nothing that is barred, however the dice fall."""
    logp = torch.tensor([-torch.inf, 0.5, 0.2, -torch.inf, 0.3, -torch.inf]).log_softmax(-1).nan_to_num(neginf=-torch.inf)
    chance = torch.cat([1 - torch.rand(20_000, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 2**-24])])
    taken = _take(logp.expand(len(chance), 6), chance)
    torch.testing.assert_close(torch.bincount(taken, minlength=6) / len(chance), logp.exp(), atol=0.01, rtol=0)
    assert taken[-2:].tolist() == [4, 1]


def test_padding_of_long_company_is_left_behind(policy):
    """One long question, or one with a picture, does not make the others wide where some are read at once."""
    tokens = policy.encode(["raise both arms", "raise both arms " * 40])
    short, long = (tokens.prompts(slice(i, i + 1)) for i in (0, 1))
    assert short.prompt.shape[1] == policy.encode(["raise both arms"]).prompt.shape[1] < long.prompt.shape[1] == tokens.prompt.shape[1]
    assert short.prompt_mask.all() and [part.prompt.shape for part in tokens.split(1)] == [short.prompt.shape, long.prompt.shape]


def test_to_ask_how_much_fits_copies_no_table(fresh):
    """peft's layer would make a copy of the whole vocabulary's to show its weight."""
    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made.append(function(*args, **(kwargs or {})))
            return made[-1]

    made, fresh.cache_gib = [], 1.0
    fresh.add_lora("rft")
    with torch.no_grad(), Watch():
        assert fresh.rows_at_once(100) > 1 and fresh.prompts_at_once(100) > 1
    assert not [value for value in made if torch.is_tensor(value) and value.numel() >= fresh.model.config.text_config.vocab_size]


def test_how_long_answers_may_be_is_saved_and_heeded(fresh, tmp_path):
    with torch.no_grad():  # says the same word for ever
        fresh.model.lm_head.weight[5] *= 100
    assert fresh.sample(["hello"], temperature=0.0, generator=torch.Generator()).answer.shape[1] <= 24
    fresh.answer_tokens = 40
    fresh.save_pretrained(tmp_path)
    again = PosePolicy.from_pretrained(tmp_path)
    assert again.answer_tokens == 40
    lengths = {again.sample(["hello"], generator=torch.Generator().manual_seed(i)).answer.shape[1] for i in range(8)}
    assert max(lengths) > 24
