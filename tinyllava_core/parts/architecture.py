"""The numbers of each encoder's and language model's published config.json: enough to count its parameters without its weights.

They could not be downloaded where this was written. TinyLlama, Phi-2, Gemma, Qwen2.5, Qwen3 and SmolLM2 were held against litgpt's
config.py (commit 26857050); those of 2025 have the totals that their pages state; Qwen2 against table 1 of its report (arXiv 2407.10671); the encoders and StableLM-2 are from memory of
their pages, and only their totals are published (tests/model/test_counts.py). Where a model's own configuration is on this disk, it
is what is counted and assembled, and a row that says otherwise is an error.
"""

from __future__ import annotations

from typing import Any

_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
}

_SIGLIP_BASE = _SIGLIP | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
}


def _naflex(config: dict[str, Any]) -> dict[str, Any]:
    """Positions lie on 16 x 16 and are scaled to each picture's shape."""
    return config | {"model_type": "siglip2_vision_model", "patch_size": 16, "num_patches": 256}


def _dinov3(hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    """Positions are turned into the queries and keys, so it has no table of them and takes any size. Four register tokens."""
    return {
        "model_type": "dinov3_vit",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": 16,
        "image_size": 224,
        "num_register_tokens": 4,
    }


# Keys of parts.VISIONS. SigLIP2 with a fixed resolution is SigLIP's architecture.
VISION_CONFIGS: dict[str, dict[str, Any]] = {
    "clip-vit-large-patch14-336": _CLIP | {"image_size": 336},
    "clip-vit-large-patch14-224": _CLIP | {"image_size": 224},
    "siglip-so400m-patch14-384": _SIGLIP,
    "siglip-so400m-patch14-384-728": _SIGLIP,
    "siglip2-so400m-patch14-384": _SIGLIP,
    **{f"siglip2-base-patch16-{size}": _SIGLIP_BASE | {"image_size": size} for size in (256, 384, 512)},
    **{f"siglip2-so400m-patch16-{size}": _SIGLIP | {"patch_size": 16, "image_size": size} for size in (256, 384, 512)},
    "siglip2-base-patch16-naflex": _naflex({key: _SIGLIP_BASE[key] for key in _SIGLIP_BASE if key != "image_size"}),
    "siglip2-so400m-patch16-naflex": _naflex({key: _SIGLIP[key] for key in _SIGLIP if key != "image_size"}),
    "dinov3-vits16": _dinov3(384, 1536, 12, 6),
    "dinov3-vitb16": _dinov3(768, 3072, 12, 12),
    "dinov3-vitl16": _dinov3(1024, 4096, 24, 16),
    **{
        f"aimv2-large-patch14-{size}": {
            "model_type": "aimv2_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 24,
            "num_attention_heads": 8,
            "patch_size": 14,
            "image_size": size,
            "use_head": False,
        }
        for size in (224, 336, 448)
    },
    # 518: its position embeddings lie on 37 x 37 and are interpolated to the 16 x 16 of 224 pixels.
    "dinov2-large-patch14-224": {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 518,
    },
    "dinov2-small-patch14-112": {
        "model_type": "dinov2",
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "patch_size": 14,
        "image_size": 518,  # as above, here for 8 x 8
    },
}


def _llama(hidden: int, inner: int, layers: int, heads: int, key_heads: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "rms_norm_eps": 1e-5,
        **more,
    }


def _smollm2(hidden: int, inner: int, layers: int, heads: int, key_heads: int, rope_theta: float) -> dict[str, Any]:
    more = {"vocab_size": 49152, "tie_word_embeddings": True, "max_position_embeddings": 8192, "rope_theta": rope_theta}
    return _llama(hidden, inner, layers, heads, key_heads, **more)


def _qwen(kind: str, hidden: int, inner: int, layers: int, heads: int, key_heads: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-6,
        **more,
    }


STABLELM = {
    "model_type": "stablelm",
    "vocab_size": 100352,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": 0.25,
    "use_qkv_bias": True,
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "max_position_embeddings": 4096,
}
PHI2 = {
    "model_type": "phi",
    "vocab_size": 51200,
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": 0.4,
    "qk_layernorm": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
}
GEMMA = {
    "model_type": "gemma",
    "vocab_size": 256000,
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "num_hidden_layers": 18,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "tie_word_embeddings": True,
}
GEMMA2 = {
    "model_type": "gemma2",
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
}
QWEN2_HALF = _qwen("qwen2", 896, 4864, 24, 14, 2)
QWEN2_MIDDLE = _qwen("qwen2", 1536, 8960, 28, 12, 2)
QWEN2_THREE = _qwen("qwen2", 2048, 11008, 36, 16, 2)
QWEN3_SMALL = _qwen("qwen3", 1024, 3072, 28, 16, 8, head_dim=128)
QWEN3_MIDDLE = _qwen("qwen3", 2048, 6144, 28, 16, 8, head_dim=128)
SMOLLM2_135M = _smollm2(576, 1536, 30, 9, 3, 1e5)
SMOLLM2_360M = _smollm2(960, 2560, 32, 15, 5, 1e5)
SMOLLM2_1_7B = _smollm2(2048, 8192, 24, 32, 32, 1.3e5)
TINYLLAMA = _llama(2048, 5632, 22, 32, 4, vocab_size=32000, max_position_embeddings=2048)
QWEN3_LARGE = _qwen("qwen3", 2560, 9728, 36, 32, 8, head_dim=128)


def _qwen3_5(hidden: int, inner: int, layers: int, heads: int, key_heads: int, value_heads: int) -> dict[str, Any]:
    """Three layers of the gated delta rule, then one of attention. Source: each model's config.json, text_config."""
    kinds = ["full_attention" if number % 4 == 3 else "linear_attention" for number in range(layers)]
    linear = {"linear_num_key_heads": 16, "linear_num_value_heads": value_heads}
    more = {"linear_key_head_dim": 128, "linear_value_head_dim": 128, "layer_types": kinds, "vocab_size": 248320}
    return _qwen("qwen3_5_text", hidden, inner, layers, heads, key_heads, head_dim=256, **linear, **more)


QWEN3_5_SMALL = _qwen3_5(1024, 3584, 24, 8, 2, 16)
QWEN3_5_MIDDLE = _qwen3_5(2048, 6144, 24, 8, 2, 16)
QWEN3_5_LARGE = _qwen3_5(2560, 9216, 32, 16, 4, 32)


def _gemma3(hidden: int, inner: int, layers: int) -> dict[str, Any]:
    return GEMMA | {
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 512,
    }


GEMMA3_270M, GEMMA3_1B = _gemma3(640, 2048, 18), _gemma3(1152, 6912, 26)
SMOLLM3 = _llama(2048, 11008, 36, 16, 4, vocab_size=128256, tie_word_embeddings=True) | {"model_type": "smollm3"}
LLAMA_3_2_1B = _llama(2048, 8192, 16, 32, 8, vocab_size=128256, tie_word_embeddings=True, head_dim=64)
LLAMA_3_2_3B = _llama(3072, 8192, 28, 24, 8, vocab_size=128256, tie_word_embeddings=True, head_dim=128)
OLMO2 = _llama(2048, 8192, 16, 16, 16, vocab_size=100352, tie_word_embeddings=False) | {"model_type": "olmo2"}
PHI4_MINI = _llama(3072, 8192, 32, 24, 8, vocab_size=200064, tie_word_embeddings=True) | {
    "model_type": "phi3",
    "partial_rotary_factor": 0.75,
}
# All four factors are the model's own but the last, which divides its logits: model/tinyllava.py, Head.
GRANITE = _llama(2048, 8192, 40, 32, 8, vocab_size=49159, tie_word_embeddings=True) | {
    "model_type": "granite",
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.015625,
    "logits_scaling": 8.0,
}


def _lfm2(hidden: int, inner: int, heads: int) -> dict[str, Any]:
    """`block_ff_dim` is what the file says; the class makes two thirds of it, up to a multiple of 256."""
    kinds = ["full_attention" if number in (2, 5, 8, 10, 12, 14) else "conv" for number in range(16)]
    return {
        "model_type": "lfm2",
        "vocab_size": 65536,
        "hidden_size": hidden,
        "block_ff_dim": inner,
        "block_auto_adjust_ff_dim": True,
        "num_hidden_layers": 16,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "layer_types": kinds,
        "tie_word_embeddings": True,
    }


LFM2_350M, LFM2_700M, LFM2_1_2B = _lfm2(1024, 6656, 16), _lfm2(1536, 10240, 24), _lfm2(2048, 12288, 32)
