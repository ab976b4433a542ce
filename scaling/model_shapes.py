"""Shapes of the dense language models whose training speed is published or predicted.

Sources: the models' published configurations. For the MegatronGPT and nanotron series none is published: their shapes
follow from the parameters in their names and the operations that their sources state.
"""

import re
from dataclasses import dataclass, fields
from typing import Any

from ..core.errors import UserError, nearest
from ..core.qwen3 import SIZES, Qwen3Config
from .read_row import Row


@dataclass(frozen=True)
class Architecture:
    """Shape of a dense decoder.

    Attributes:
        layers: decoder layers.
        hidden: width of the residual stream.
        ffn: width of the MLP; if it is gated, of one of its halves.
        heads: query heads.
        kv_heads: key/value heads.
        head_dim: size of a head.
        vocab: rows of the embedding.
        gated: whether the MLP has a gate, and so three matrices instead of two.
        tied: whether the output layer is the embedding.
    """

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    gated: bool
    tied: bool

    @property
    def q(self) -> int:
        """Width of the queries."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Width of the keys."""
        return self.kv_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer's matrices; norms and biases are some 0.1 % more."""
        return self.hidden * (2 * self.q + 2 * self.kv + (3 if self.gated else 2) * self.ffn)

    @property
    def parameters(self) -> int:
        """Parameters of all matrices, a tied embedding counted once."""
        return self.layers * self.layer_parameters + self.vocab * self.hidden * (1 if self.tied else 2)

    def flops_per_token(self, attended: float, *, causal: bool) -> float:
        """Operations per token, forward and backward.

        Args:
            attended: sum of the squared lengths divided by the sum of the lengths; for full sequences, their length.
            causal: whether attention counts half, as in Megatron from core 0.12 on, instead of fully.
        """
        matrices = 6 * (self.layers * self.layer_parameters + self.hidden * self.vocab)
        return matrices + (6 if causal else 12) * self.layers * self.q * attended


def of_qwen3(shape: Qwen3Config) -> Architecture:
    """A Qwen3's shape."""
    sizes = (shape.layers, shape.hidden, shape.ffn, shape.heads, shape.kv_heads, shape.head_dim, shape.vocab)
    return Architecture(*sizes, gated=True, tied=shape.tied)


def _gpt(layers: int, hidden: int, heads: int, vocab: int, tied: bool) -> Architecture:
    """Shape of a GPT: the MLP is four times as wide and not gated, and each head has its own keys."""
    return Architecture(
        layers=layers,
        hidden=hidden,
        ffn=4 * hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        vocab=vocab,
        gated=False,
        tied=tied,
    )


def _llama(
    layers: int, hidden: int, ffn: int, heads: int, kv_heads: int, vocab: int, tied: bool = False, head_dim: int = 0
) -> Architecture:
    """Shape of a Llama: the MLP is gated."""
    return Architecture(
        layers=layers,
        hidden=hidden,
        ffn=ffn,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim or hidden // heads,
        vocab=vocab,
        gated=True,
        tied=tied,
    )


GPT_VOCAB, MPT_VOCAB, LLAMA2, LLAMA3, MEGATRON, NEMOTRON = 51_200, 50_368, 32_000, 128_256, 131_072, 256_000
LUCIOLE = 128_000
"""With it, `nemotron1b` of OpenLLM-France/Luciole-Training (24 layers, 32 heads, 8 groups, MLP of 8,192) has the
1.3193 G parameters that the repository counts."""
MODELS = {
    "GPT3-126M": _gpt(12, 768, 12, GPT_VOCAB, tied=True),
    "GPT3-5B": _gpt(24, 4096, 32, GPT_VOCAB, tied=True),
    "GPT3-20B": _gpt(44, 6144, 48, GPT_VOCAB, tied=True),
    "GPT3-40B": _gpt(48, 8192, 64, GPT_VOCAB, tied=True),
    "GPT3-175B": _gpt(96, 12288, 96, GPT_VOCAB, tied=True),
    "MPT-125m": _gpt(12, 768, 12, MPT_VOCAB, tied=True),
    "MPT-350m": _gpt(24, 1024, 16, MPT_VOCAB, tied=True),
    "MPT-760m": _gpt(24, 1536, 12, MPT_VOCAB, tied=True),
    "MPT-1b": _gpt(24, 2048, 16, MPT_VOCAB, tied=True),
    "MPT-3b": _gpt(32, 2560, 20, MPT_VOCAB, tied=True),
    "MPT-7b": _gpt(32, 4096, 32, MPT_VOCAB, tied=True),
    "MPT-13b": _gpt(40, 5120, 40, MPT_VOCAB, tied=True),
    "MPT-30b": _gpt(48, 7168, 64, MPT_VOCAB, tied=True),
    "MPT-70b": _gpt(80, 8192, 64, MPT_VOCAB, tied=True),
    "MegatronGPT-1.7B": _gpt(24, 2048, 16, MEGATRON, tied=False),
    "MegatronGPT-16B": _gpt(32, 6144, 48, MEGATRON, tied=False),
    "MegatronGPT-70B": _gpt(84, 8192, 64, MEGATRON, tied=False),
    "MegatronGPT-119B": _gpt(92, 10240, 80, MEGATRON, tied=False),
    "MegatronGPT-177B": _gpt(96, 12288, 96, MEGATRON, tied=False),
    "MegatronGPT-314B": _gpt(96, 16384, 128, MEGATRON, tied=False),
    "MegatronGPT-462B": _gpt(112, 18432, 144, MEGATRON, tied=False),
    "Nemotron-8B": _gpt(32, 4096, 32, NEMOTRON, tied=False),
    "Nemotron-22B": _gpt(40, 6144, 48, NEMOTRON, tied=False),
    "Nemotron4-15B": Architecture(32, 6144, 24576, 48, 8, 128, NEMOTRON, gated=False, tied=False),
    "Nemotron4-340B": Architecture(96, 18432, 73728, 96, 8, 192, NEMOTRON, gated=False, tied=False),
    "nanotron-1.34B": _llama(16, 2048, 8192, 32, 32, MEGATRON, tied=True),
    "nanotron-3.57B": _llama(28, 3072, 8192, 24, 24, MEGATRON, tied=True),
    "nanotron-8.86B": _llama(32, 4096, 14336, 32, 32, MEGATRON),
    "nanotron-80.0B": _llama(80, 8192, 28672, 64, 64, MEGATRON),
    "Llama2-7B": _llama(32, 4096, 11008, 32, 32, LLAMA2),
    "Llama2-13B": _llama(40, 5120, 13824, 40, 40, LLAMA2),
    "Llama2-70B": _llama(80, 8192, 28672, 64, 8, LLAMA2),
    "Llama3-8B": _llama(32, 4096, 14336, 32, 8, LLAMA3),
    "Llama3-70B": _llama(80, 8192, 28672, 64, 8, LLAMA3),
    "Llama3.1-405B": _llama(126, 16384, 53248, 128, 8, LLAMA3),
    "Llama3.2-1B": _llama(16, 2048, 8192, 32, 8, LLAMA3, tied=True),
    "Llama3.2-3B": _llama(28, 3072, 8192, 24, 8, LLAMA3, tied=True),
    "Luciole-1B": Architecture(24, 2048, 8192, 32, 8, 64, LUCIOLE, gated=False, tied=True),
    "Lucie-7B": _llama(32, 4096, 12288, 32, 8, 65_024),
    "Mistral-7B": _llama(32, 4096, 14336, 32, 8, LLAMA2),
    "TinyLlama-1.1B": _llama(22, 2048, 5632, 32, 4, LLAMA2),
    "OLMo2-1B": _llama(16, 2048, 8192, 16, 16, 100_352),
    "OLMo2-7B": _llama(32, 4096, 11008, 32, 32, 100_352),
    "OLMo2-13B": _llama(40, 5120, 13824, 40, 40, 100_352),
    "OLMo2-32B": _llama(64, 5120, 27648, 40, 8, 100_352),
    "Qwen2.5-0.5B": _llama(24, 896, 4864, 14, 2, 151_936, tied=True),
    "Qwen2.5-1.5B": _llama(28, 1536, 8960, 12, 2, 151_936, tied=True),
    "Qwen2.5-3B": _llama(36, 2048, 11008, 16, 2, 151_936, tied=True),
    "Qwen2.5-7B": _llama(28, 3584, 18944, 28, 4, 152_064),
    "Qwen2.5-14B": _llama(48, 5120, 13824, 40, 8, 152_064),
    "Qwen2.5-32B": _llama(64, 5120, 27648, 40, 8, 152_064),
    "Qwen2.5-72B": _llama(80, 8192, 29568, 64, 8, 152_064),
    "Qwen3-0.6B": of_qwen3(SIZES["0p6b"]),
    "Qwen3-1.7B": of_qwen3(SIZES["1p7b"]),
    "Qwen3-4B": of_qwen3(SIZES["4b"]),
    "Qwen3-8B": of_qwen3(SIZES["8b"]),
    "Qwen3-14B": _llama(40, 5120, 17408, 40, 8, 151_936, head_dim=128),
    "Qwen3-32B": _llama(64, 5120, 25600, 64, 8, 151_936, head_dim=128),
}
"""Name in the published tables -> shape."""
FAMILIES = {
    "megatrongpt": (MEGATRON, False, False),
    "gpt3": (GPT_VOCAB, False, True),
    "gpt": (GPT_VOCAB, False, True),
    "mpt": (MPT_VOCAB, False, True),
    "nemotron4": (NEMOTRON, False, False),
    "nemotron": (NEMOTRON, False, False),
    "nanotron": (MEGATRON, True, False),
    "llama2": (LLAMA2, True, False),
    "llama3": (LLAMA3, True, False),
    "llama": (LLAMA3, True, False),
}
"""Family -> vocabulary, whether the MLP is gated, whether the embedding is tied: for sizes not in MODELS."""
WIDTHS = [*range(512, 4096, 256), *range(4096, 8192, 512), *range(8192, 24577, 1024)]
"""Hidden sizes to try for an unknown shape."""


def _plain(name: str) -> str:
    """Normalise the spelling of a name."""
    text = re.sub(r"[^a-z0-9.]", "", name.lower().split("/")[-1])
    return re.sub(r"^meta|(base|instruct)$", "", text).replace("llama3.1", "llama3")


KNOWN = {_plain(name): shape for name, shape in MODELS.items()}


def find(name: str) -> tuple[Architecture, str | None]:
    """Find a model's shape by its name, and say what was assumed about it.

    For a size of a known family that is not in the table, the shape with that number of parameters is sought.

    Raises:
        UserError: neither the model nor its family is known.
    """
    plain = _plain(name)
    if plain in KNOWN:
        return KNOWN[plain], None
    size = re.search(r"(?:^|[^\d.])(\d+(?:\.\d+)?)(b|m)$", name.lower())
    family = next((key for key in FAMILIES if plain.startswith(key)), None)
    if size is None or family is None or "moe" in plain:
        raise UserError(
            f"no dense model is called {name!r}",
            where="model",
            allowed=f"a shape in the row's own `shape`, or one of {', '.join(MODELS)}",
            fix=nearest(name, list(MODELS)),
        )
    parameters = float(size.group(1)) * (1e9 if size.group(2) == "b" else 1e6)
    shape = _of_size(parameters, *FAMILIES[family])
    return shape, f"the shape of {name} is unknown: {shape.layers} layers of {shape.hidden} fit its parameters"


def of_flops(causal: float, full: float, seq: float) -> tuple[Architecture, str]:
    """Find a GPT's shape with a number of operations per token, for a model of which nothing else is known.

    Args:
        causal: operations per token with attention counted half.
        full: the same with attention counted fully.
        seq: slots of a sequence.
    """
    attention = (full - causal) / (6 * seq)  # layers x width
    matrices = causal / 6 - attention * seq
    hidden = matrices / (12 * attention + LLAMA3)
    heads = max(1, round(hidden / 128))
    shape = _gpt(max(1, round(attention / (128 * heads))), 128 * heads, heads, LLAMA3, tied=False)
    return shape, f"the shape is unknown: {shape.layers} layers of {shape.hidden} fit its operations"


def from_row(value: Any, where: str) -> Architecture:
    """Read the shape that a row states itself, by the names of `Architecture`'s attributes.

    Raises:
        UserError: an attribute is missing or is not a positive number.
    """
    names = [item.name for item in fields(Architecture)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise UserError(f"shape is {value!r}", where=where, allowed=f"an object with {', '.join(names)}")
    row = Row(value, f"{where}: shape")
    for name in names[:7]:
        if row.whole(name) is None:
            raise UserError(f"{name} is null", where=row.where, allowed="a whole number from 1")
    for name in names[7:]:
        if not isinstance(value[name], bool):
            raise UserError(f"{name} is {value[name]!r}", where=row.where, allowed="true or false")
    return Architecture(**value)


def _of_size(parameters: float, vocab: int, gated: bool, tied: bool) -> Architecture:
    """Find a family's shape with about `parameters` parameters, with the usual 110 to 170 units of width per layer."""
    tables = vocab * (1 if tied else 2)
    shapes = []
    for hidden in WIDTHS:
        ffn = 256 * round(3.5 * hidden / 256) if gated else 4 * hidden
        layer = 4 * hidden * hidden + (3 if gated else 2) * hidden * ffn
        layers = max(2, 2 * round((parameters - tables * hidden) / layer / 2))
        heads = max(1, hidden // 128)
        shapes.append(
            Architecture(
                layers=layers,
                hidden=hidden,
                ffn=ffn,
                heads=heads,
                kv_heads=heads,
                head_dim=hidden // heads,
                vocab=vocab,
                gated=gated,
                tied=tied,
            )
        )
    fitting = [shape for shape in shapes if abs(shape.parameters / parameters - 1) < 0.1] or shapes
    return min(fitting, key=lambda shape: abs(shape.hidden / shape.layers - 128))
