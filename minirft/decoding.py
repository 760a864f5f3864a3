"""Saying an answer word by word, as a card likes it: every step the same kernels at the same addresses, so that CUDA can replay them.

From Python a step of a model in four bits under an adapter is thousands of launches, a tenth of a second on any card; replayed it
takes as long as its arithmetic.
"""

import functools

import torch


class Room:
    """Keys and values of prompts (transformers' cache), and room for so many words more. What a model's layers ask of a cache is here;
    where to write is in `at`, (1,)."""

    def __init__(self, cache, words):
        self.keys, self.values, self.at = [], [], None
        for layer in cache.layers:
            self.keys.append(torch.nn.functional.pad(layer.keys, (0, 0, 0, words)))
            self.values.append(torch.nn.functional.pad(layer.values, (0, 0, 0, words)))
            layer.keys = layer.values = None  # no second copy

    def update(self, key, value, layer, *_, **__):
        self.keys[layer].index_copy_(2, self.at, key), self.values[layer].index_copy_(2, self.at, value)
        return self.keys[layer], self.values[layer]

    def get_seq_length(self, *_):
        return 0  # asked only to count positions, which are given


class Replayed:
    """A function of tensors on a card that gives one: recorded the first time, from then on played again. What it gives is overwritten
    by the next call; nothing in it may wait for the card or change its shape."""

    def __init__(self, function, *inputs):
        with torch.cuda.device(inputs[0].device):
            self.inputs, self.graph, stream = [x.clone() for x in inputs], torch.cuda.CUDAGraph(), _side_stream(inputs[0].device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                function(*self.inputs)  # libraries make ready the first time, which cannot be recorded
                torch.cuda.synchronize()
                torch.cuda.empty_cache()  # while PyTorch records it cannot give back what it keeps (torch.cuda.graph may be slow here)
                self.graph.capture_begin()
                try:
                    self.output = function(*self.inputs)
                finally:
                    self.graph.capture_end()
            torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, *inputs):
        for kept, given in zip(self.inputs, inputs):
            kept.copy_(given)
        self.graph.replay()
        return self.output


@functools.cache
def _side_stream(device):
    """One for each card: memory that PyTorch keeps for a stream serves no other."""
    return torch.cuda.Stream(device)
