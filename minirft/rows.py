"""The trained row of the embeddings, <POSE>'s, beside the table instead of in a copy of it.

peft (0.21) writes its trained rows into a copy of the whole table at each call, and the gradient is as large again: of Qwen2.5-VL-3B's
151,936 words each is 0.6 GiB. Same layer, same names and files, same numbers.
"""

import torch
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from torch import nn


class Rows(TrainableTokensLayer):
    """peft's layer over an embedding or the head that shares its form, in this way of computing it."""

    def forward_adapters(self, x, active_adapters, *args, **kwargs):
        words = isinstance(self.base_layer, nn.Embedding)
        exact = not words and x.dtype == torch.float32 and not torch.is_grad_enabled()  # of a small model: peft's, to the last bit
        if self.disable_adapters or self.merged or not active_adapters or exact:
            return super().forward_adapters(x, active_adapters, *args, **kwargs)
        out = self.base_layer(x)
        for adapter in active_adapters:
            rows, values = self.token_indices[adapter], self.trainable_tokens_delta[adapter].to(out)
            if words:
                for row, value in zip(rows, values):
                    out = torch.where((x == row)[..., None], value, out)
            else:
                out = out.index_copy(-1, torch.tensor(rows, device=out.device), nn.functional.linear(x, values))
        return out


def beside(model):
    """Have a model under peft compute its trained rows so. Returns the model."""
    for layer in model.modules():
        if type(layer) is TrainableTokensLayer:
            layer.__class__ = Rows
    return model
