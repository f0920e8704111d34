"""Writes the small models of the family tests: random weights, real tokenizers, the same bytes on every run.

usage: make_test_models.py VOCABULARIES OUT
  VOCABULARIES  folder of llama.cpp's ggml-vocab-*.gguf (share/vocabularies of the engine prefix)
  OUT           folder to write into; made if missing
needs: numpy, gguf

They generate nonsense, but every weight matters: a layer that is left out, doubled or shifted changes the logits.
Element types are mixed on purpose: Q4_0 and Q8_0 are repacked by ggml, F16 and F32 are not.
"""

import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value

CONTEXT = 2048
TEMPLATE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)


@dataclass
class Model:
    """One file to write. Widths are multiples of 32, the block of Q4_0 and Q8_0."""

    file: str
    family: str
    vocabulary: str
    layers: int = 6
    width: int = 64
    hidden: int = 128
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    tied: bool = False
    embedding: Type = Type.Q8_0
    matrices: tuple = (Type.Q8_0, Type.Q4_0, Type.F16)
    experts: int = 0
    files: int = 1
    extra: dict = field(default_factory=dict)


MODELS = [
    Model("llama", "llama", "llama-spm"),
    Model("llama-tied", "llama", "llama-spm", tied=True, embedding=Type.Q4_0, extra={"rope_freqs": True}),
    Model("llama-experts", "llama", "llama-spm", experts=4),
    Model("llama-split", "llama", "llama-spm", files=3),
    Model("qwen2", "qwen2", "qwen2", embedding=Type.Q4_0),
    Model("qwen3", "qwen3", "qwen2", tied=True, head_size=32, embedding=Type.Q4_0),
    Model("phi3", "phi3", "phi-3", extra={"rope_factors": True}),
    Model("mamba", "mamba", "gpt-neox", tied=True),
    Model("gemma3", "gemma3", "llama-spm", layers=12, head_size=32, tied=True, extra={"window": 16}),
    Model("gpt2-unsupported", "gpt2", "gpt-2", layers=2, kv_heads=4, embedding=Type.Q4_0),
]


@cache
def tokenizer(path):
    """The tokenizer's metadata: name to value, type and element type."""
    return {
        name: (entry.contents(), entry.types[0], entry.types[1] if entry.types[0] == Value.ARRAY else None)
        for name, entry in gguf.GGUFReader(path).fields.items()
        if name.startswith("tokenizer.")
    }


class Writer:
    """Adds metadata and tensors of one model to a GGUF file."""

    def __init__(self, model, vocabularies, out):
        self.model = model
        self.random = np.random.default_rng(sum(model.file.encode()))
        self.matrix_count = 0
        split = {"split_max_tensors": -(-self.tensor_count() // model.files)} if model.files > 1 else {}
        self.gguf = gguf.GGUFWriter(out / f"{model.file}.gguf", model.family, **split)
        self.token_count = self.copy_tokenizer(vocabularies / f"ggml-vocab-{model.vocabulary}.gguf")

    def tensor_count(self):
        return 3 + 9 * self.model.layers  # of an untied llama, the only one that is split

    def copy_tokenizer(self, path):
        entries = tokenizer(path)
        for name, (value, kind, element) in entries.items():
            self.gguf.add_key_value(name, value, kind, sub_type=element)
        if "tokenizer.chat_template" not in entries:
            self.gguf.add_chat_template(TEMPLATE)
        return len(entries["tokenizer.ggml.tokens"][0])

    def matrix(self, name, *shape, kind=None):
        """Rows last: shape is (outputs, inputs) or (experts, outputs, inputs)."""
        if kind is None:
            kind = self.model.matrices[self.matrix_count % len(self.model.matrices)]
            self.matrix_count += 1
        values = self.random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))
        self.gguf.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    def vector(self, name, size, mean=1.0, spread=0.1):
        values = mean + spread * self.random.standard_normal(size, dtype=np.float32)
        self.gguf.add_tensor(name, values.astype(np.float32))

    def finish(self):
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def write_metadata(writer):
    model, out = writer.model, writer.gguf
    out.add_name(model.file)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(model.width)
    out.add_block_count(model.layers)
    out.add_vocab_size(writer.token_count)
    if model.family == "gpt2":
        out.add_layer_norm_eps(1e-5)
    else:
        out.add_layer_norm_rms_eps(1e-6)
    if model.family == "mamba":
        out.add_feed_forward_length(0)
        out.add_head_count(0)
        out.add_ssm_conv_kernel(4)
        out.add_ssm_inner_size(2 * model.width)
        out.add_ssm_state_size(16)
        out.add_ssm_time_step_rank(4)
        return
    out.add_feed_forward_length(model.hidden)
    out.add_head_count(model.heads)
    out.add_head_count_kv(model.kv_heads)
    out.add_key_length(model.head_size)
    out.add_value_length(model.head_size)
    if model.family == "gpt2":
        return
    out.add_rope_dimension_count(model.head_size)
    out.add_rope_freq_base(1e4)
    if model.experts:
        out.add_expert_count(model.experts)
        out.add_expert_used_count(2)
    if "window" in model.extra:
        out.add_sliding_window(model.extra["window"])
    if "rope_factors" in model.extra:
        out.add_rope_scaling_orig_ctx_len(CONTEXT)
        out.add_rope_scaling_attn_factors(1.0)


def write_shared(writer):
    model = writer.model
    writer.matrix("token_embd.weight", writer.token_count, model.width, kind=model.embedding)
    if not model.tied:
        writer.matrix("output.weight", writer.token_count, model.width, kind=model.embedding)
    writer.vector("output_norm.weight", model.width)
    if model.family == "gpt2":
        writer.matrix("position_embd.weight", CONTEXT, model.width, kind=Type.F32)
        writer.vector("output_norm.bias", model.width, 0)
    if "rope_freqs" in model.extra:
        writer.vector("rope_freqs.weight", model.head_size // 2, 2.0)
    if "rope_factors" in model.extra:
        writer.vector("rope_factors_long.weight", model.head_size // 2, 4.0)
        writer.vector("rope_factors_short.weight", model.head_size // 2, 1.5)


def write_attention(writer, block):
    model = writer.model
    queries, keys = model.heads * model.head_size, model.kv_heads * model.head_size
    if model.family in ("phi3", "gpt2"):
        writer.matrix(block + "attn_qkv.weight", queries + 2 * keys, model.width)
    else:
        for name, size in (("q", queries), ("k", keys), ("v", keys)):
            writer.matrix(f"{block}attn_{name}.weight", size, model.width)
            if model.family == "qwen2":
                writer.vector(f"{block}attn_{name}.bias", size, 0)
    if model.family in ("qwen3", "gemma3"):
        writer.vector(block + "attn_q_norm.weight", model.head_size)
        writer.vector(block + "attn_k_norm.weight", model.head_size)
    writer.matrix(block + "attn_output.weight", model.width, queries)
    if model.family == "gemma3":
        writer.vector(block + "post_attention_norm.weight", model.width)
    if model.family == "gpt2":
        writer.vector(block + "attn_norm.bias", model.width, 0)
        writer.vector(block + "attn_qkv.bias", queries + 2 * keys, 0)
        writer.vector(block + "attn_output.bias", model.width, 0)


def write_feed_forward(writer, block):
    model = writer.model
    writer.vector(block + "ffn_norm.weight", model.width)
    if model.experts:
        writer.matrix(block + "ffn_gate_inp.weight", model.experts, model.width, kind=Type.F32)
        for name, rows, columns in (
            ("gate", model.hidden, model.width),
            ("down", model.width, model.hidden),
            ("up", model.hidden, model.width),
        ):
            writer.matrix(f"{block}ffn_{name}_exps.weight", model.experts, rows, columns)
        return
    if model.family not in ("phi3", "gpt2"):
        writer.matrix(block + "ffn_gate.weight", model.hidden, model.width)
    writer.matrix(block + "ffn_up.weight", model.hidden * (2 if model.family == "phi3" else 1), model.width)
    writer.matrix(block + "ffn_down.weight", model.width, model.hidden)
    if model.family == "gemma3":
        writer.vector(block + "post_ffw_norm.weight", model.width)
    if model.family == "gpt2":
        writer.vector(block + "ffn_norm.bias", model.width, 0)
        writer.vector(block + "ffn_up.bias", model.hidden, 0)
        writer.vector(block + "ffn_down.bias", model.width, 0)


def write_mamba(writer, block):
    width = writer.model.width
    inner, states, kernel, rank = 2 * width, 16, 4, 4
    writer.matrix(block + "ssm_in.weight", 2 * inner, width)
    writer.matrix(block + "ssm_conv1d.weight", inner, kernel, kind=Type.F32)
    writer.vector(block + "ssm_conv1d.bias", inner, 0)
    writer.matrix(block + "ssm_x.weight", rank + 2 * states, inner)
    writer.matrix(block + "ssm_dt.weight", inner, rank, kind=Type.F32)
    writer.vector(block + "ssm_dt.bias", inner, -3, 0.5)
    decay = -np.tile(np.arange(1, states + 1, dtype=np.float32), (inner, 1))
    writer.gguf.add_tensor(block + "ssm_a", decay)
    writer.vector(block + "ssm_d", inner)
    writer.matrix(block + "ssm_out.weight", width, inner)


def write(model, vocabularies, out):
    writer = Writer(model, vocabularies, out)
    write_metadata(writer)
    write_shared(writer)
    for layer in range(model.layers):
        block = f"blk.{layer}."
        writer.vector(block + "attn_norm.weight", model.width)
        if model.family == "mamba":
            write_mamba(writer, block)
        else:
            write_attention(writer, block)
            write_feed_forward(writer, block)
    writer.finish()


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    vocabularies, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for model in MODELS:
        write(model, vocabularies, out)
    for path in sorted(out.glob("*.gguf")):
        print(f"{path.name} {path.stat().st_size / 2**20:.1f} MiB")


main()
