"""A small CLIP with random weights, in the folder that transformers writes."""

import json

import pytest
import torch

LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """With a vocabulary of letters, and none of the merges that make words of them."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("models") / "clip-tiny"
    letters = [chr(i) for i in range(33, 127)]
    words = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    torch.manual_seed(0)
    text = LAYERS | {
        "intermediate_size": 64, "vocab_size": len(words), "max_position_embeddings": 77,
        "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1,
    }  # fmt: skip
    vision = LAYERS | {"intermediate_size": 64, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return folder
