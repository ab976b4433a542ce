"""Qwen3's facts: sizes, special tokens, and how its Hugging Face configuration is read.

Sizes are those of the published `config.json` files of Qwen3-{0.6B,1.7B,4B,8B}-Base.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_object
from .hf.config import CONFIG, both_spellings, check_supported, rope_base

VOCAB_SIZE = 151_936
"""Rows of the embedding; the tokenizer has 151,669 ids, the other rows are padding in the weights."""
END_OF_DOCUMENT = "<|endoftext|>"
"""Token that ends a document. It is not the tokenizer's `eos_token`, which in Qwen3's configuration is `<|im_end|>`."""
END_OF_DOCUMENT_ID = 151_643
"""Its id in the published tokenizers."""
END_OF_TURN = "<|im_end|>"
"""Token that ends a turn of a conversation."""
EMBEDDING = "model.embed_tokens.weight"
"""Hugging Face's name of the embedding, and of an output layer that is tied to it."""
SPECIAL_TOKENS = (END_OF_DOCUMENT, "<|im_start|>", END_OF_TURN)
ROPE_BASE = 1_000_000
RMS_NORM_EPS = 1e-6


@dataclass(frozen=True)
class Qwen3Config:
    """Shape of a dense Qwen3.

    Attributes:
        layers: number of decoder layers.
        hidden: width of the residual stream.
        ffn: width of the gated MLP (of one of its two halves).
        heads: query heads.
        kv_heads: key/value heads (GQA groups).
        head_dim: size of one head; `heads * head_dim` need not equal `hidden`.
        vocab: rows of the embedding.
        tied: whether the output layer is the embedding.
        max_positions: longest sequence that the configuration states.
    """

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    max_positions: int = 32_768
    rope_base: float = ROPE_BASE
    norm_eps: float = RMS_NORM_EPS

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise UserError(f"{self.heads} attention heads cannot be shared by {self.kv_heads} key/value heads")

    @property
    def parameters(self) -> int:
        """Number of parameters, the tied embedding counted once."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer = self.hidden * (2 * q + 2 * kv + 3 * self.ffn + 2) + 2 * self.head_dim
        return self.layers * layer + self.hidden + self.vocab * self.hidden * (1 if self.tied else 2)

    def to_hf(self, dtype: str) -> dict[str, Any]:
        """Contents of a Hugging Face `config.json` for weights of `dtype` (`bfloat16`, `float32`)."""
        config = {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.max_positions,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_base,
            "rope_scaling": None,
            "sliding_window": None,
            "use_sliding_window": False,
            "tie_word_embeddings": self.tied,
            "vocab_size": self.vocab,
        }
        return both_spellings(config, dtype)


SIZES = {
    "0p6b": Qwen3Config(
        layers=28, hidden=1024, ffn=3072, heads=16, kv_heads=8, head_dim=128, vocab=VOCAB_SIZE, tied=True
    ),
    "1p7b": Qwen3Config(
        layers=28, hidden=2048, ffn=6144, heads=16, kv_heads=8, head_dim=128, vocab=VOCAB_SIZE, tied=True
    ),
    "4b": Qwen3Config(
        layers=36, hidden=2560, ffn=9728, heads=32, kv_heads=8, head_dim=128, vocab=VOCAB_SIZE, tied=True
    ),
    "8b": Qwen3Config(
        layers=36, hidden=4096, ffn=12288, heads=32, kv_heads=8, head_dim=128, vocab=VOCAB_SIZE, tied=False
    ),
}


def size_of(shape: Qwen3Config) -> str | None:
    """The published size of a model; None if it has another size. Window, rope and epsilon do not matter."""
    free = {"max_positions": 0, "rope_base": 0.0, "norm_eps": 0.0}
    return next((name for name, known in SIZES.items() if replace(known, **free) == replace(shape, **free)), None)


_SIZES = (
    ("layers", "num_hidden_layers", None),
    ("hidden", "hidden_size", None),
    ("ffn", "intermediate_size", None),
    ("heads", "num_attention_heads", None),
    ("kv_heads", "num_key_value_heads", None),
    ("head_dim", "head_dim", 128),
    ("vocab", "vocab_size", None),
    ("max_positions", "max_position_embeddings", 32_768),
)
"""Sizes of `Qwen3Config`: our name, config.json's, and transformers' default."""
_LARGEST = 2**31 - 1
"""Largest value of any size; beyond it, torch's and Megatron's own arithmetic overflows."""


def read_config(folder: Path) -> Qwen3Config:
    """Read a Hugging Face folder's `config.json`.

    Raises:
        UserError: it is missing, does not describe a dense Qwen3, or needs something that Qwen3-Base does not have.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}", where=str(folder), allowed="a Hugging Face Qwen3 folder")
    config = read_object(path)
    value = config.values
    kind = value.get("model_type")
    if kind != "qwen3":
        raise UserError(
            f"the model is not Qwen3: model_type is {kind!r}, architectures are {value.get('architectures')}",
            where=str(path),
            allowed="model_type 'qwen3' (dense, Qwen3ForCausalLM)",
            fix="give a folder of Qwen3-Base weights",
        )
    check_supported(value, str(path))
    sizes = {name: config.integer(key, default, minimum=1, maximum=_LARGEST) for name, key, default in _SIZES}
    if sizes["heads"] % sizes["kv_heads"]:
        raise UserError(
            f"num_attention_heads is {sizes['heads']}, num_key_value_heads {sizes['kv_heads']}",
            where=str(path),
            allowed="a number of query heads that the number of key/value heads divides",
            fix="take the config.json that was saved with the weights",
        )
    norm_eps = config.number("rms_norm_eps", RMS_NORM_EPS)
    if norm_eps <= 0:  # a norm divides by the root of a mean of squares plus this, and the mean may be 0
        raise UserError(f"rms_norm_eps is {norm_eps:g}", where=str(path), allowed="a number above 0")
    return Qwen3Config(
        **sizes,
        tied=config.flag("tie_word_embeddings", False),
        rope_base=rope_base(value, str(path)),
        norm_eps=norm_eps,
    )


def hf_shapes(shape: Qwen3Config) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of the Hugging Face model, by its name, in the order of its files."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer = {
        "self_attn.q_proj.weight": (q, shape.hidden),
        "self_attn.k_proj.weight": (kv, shape.hidden),
        "self_attn.v_proj.weight": (kv, shape.hidden),
        "mlp.gate_proj.weight": (shape.ffn, shape.hidden),
        "mlp.up_proj.weight": (shape.ffn, shape.hidden),
        "self_attn.o_proj.weight": (shape.hidden, q),
        "self_attn.q_norm.weight": (shape.head_dim,),
        "self_attn.k_norm.weight": (shape.head_dim,),
        "input_layernorm.weight": (shape.hidden,),
        "post_attention_layernorm.weight": (shape.hidden,),
        "mlp.down_proj.weight": (shape.hidden, shape.ffn),
    }
    layers = {f"model.layers.{n}.{name}": size for n in range(shape.layers) for name, size in layer.items()}
    outer = {"model.norm.weight": (shape.hidden,)} | (
        {} if shape.tied else {"lm_head.weight": (shape.vocab, shape.hidden)}
    )
    return {EMBEDDING: (shape.vocab, shape.hidden)} | layers | outer
