"""Build data/tokenizer, the mini policy's own: byte-fallback BPE over what captions.py can say and data.py answers.

    python data/build/tokenizer.py data/tokenizer

Text is read in lower case (the chat template lowers it), so "Kneel" and "kneel" are one word; any other character still
has a token, its bytes.
"""

import random
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from minirft import captions
from minirft.data import ANSWERS, POSE, QUESTIONS, TALK

VOCABULARY = 2000
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", POSE, "USER:", "ASSISTANT:"]
TEMPLATE = ("<s>{% for message in messages %}{% if message['role'] == 'user' %}USER: {{ message['content'] | lower }}"
            "{% else %}ASSISTANT:{{ message['content'] }}</s>{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}ASSISTANT:{% endif %}")


def corpus(count, rng):
    """Sentences as training sees them: of made-up sets of true statements, since only the words matter here."""
    number = len(captions.STATEMENTS)
    for i in range(count):
        true = torch.zeros(number, dtype=torch.bool)
        true[rng.sample(range(number), 4)] = True
        yield rng.choice(QUESTIONS).format(captions.describe(true, rng).text).lower()
    for _ in range(count // 20):
        questions, answers = rng.choice(TALK)
        yield rng.choice(questions).lower()
        yield rng.choice(answers)
        yield rng.choice(ANSWERS).replace(POSE, "")


def main(folder):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL + bytes_, show_progress=False,
                                  min_frequency=5, initial_alphabet=[])
    tokenizer.train_from_iterator(corpus(60_000, random.Random(0)), trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE, pad_token="<pad>", bos_token="<s>",
                            eos_token="</s>", unk_token="<unk>", padding_side="left",
                            additional_special_tokens=["<image>", POSE, "USER:", "ASSISTANT:"]).save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
