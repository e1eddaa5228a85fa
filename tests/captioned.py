"""Runs with captions by the command line, each made once, and small text encoders of transformers."""

from pathlib import Path

import torch
import transformers
from forked import forked
from tokenizers import Tokenizer, models, pre_tokenizers, processors

CONF = Path(__file__).parent / "conditioning" / "conf"
BASIC = ["-cd", str(CONF), "plugins=[listener,plugins]", "logger=none"]
QUICK = [
    "data=halves", "metrics=none", "network=listener", "evaluator.pictures=4", "evaluator.every=0",
    "evaluator.scales=[]", "trainer.max_steps=4", "trainer.log_every_n_steps=1", "loader.batch_size=8",
    "callbacks.checkpoint.every=2", "sampler.steps=3", "ema.decays=[0.9]",
]  # fmt: skip
RECIPES = {
    "words": ["conditioning=text"],
    "bytes": ["conditioning=text", "text_encoder=bytes", "conditioning.null=learned", "seed=1"],
    "both": ["conditioning=class_text", "text_encoder.width=16", "conditioning.text_dropout=0.3"],
}


class Runs:
    """Command lines in one folder."""

    def __init__(self, folder):
        self.folder, self._done = folder, set()

    def type(self, *typed):
        """(exit code, what was said)"""
        return forked([*BASIC, *typed], self.folder, self.folder / "said")

    def done(self, name, *typed):
        """(the folder of a command that ends well, what it said)"""
        code, said = self.type(*typed, f"dir={name}")
        assert code == 0, said
        return self.folder / name, said

    def trained(self, recipe):
        """The folder of a run, made once."""
        if recipe not in self._done:
            self.done(recipe, *QUICK, *RECIPES[recipe])
            self._done.add(recipe)
        return self.folder / recipe

    def sampled(self, recipe, name, *typed):
        """(the folder, what was said) of a command that samples a run."""
        return self.done(name, "task=sample", f"task.ckpt={self.trained(recipe)}", "task.n=4", *typed)


WORDS = ["<pad>", "</s>", "<unk>", "<s>", "a", "red", "blue", "three", "on"]
KINDS = ("clip", "t5", "bert")


def tokenizer(begin):
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    single = "<s> $A </s>" if begin else "$A </s>"
    made.post_processor = processors.TemplateProcessing(
        single=single, pair=None, special_tokens=[("<s>", 3), ("</s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=12
    )


def model(kind):
    torch.manual_seed(0)
    size = {"vocab_size": len(WORDS), "pad_token_id": 0}
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    if kind == "clip":
        ids = {"eos_token_id": 1, "bos_token_id": 3}
        return transformers.CLIPTextModel(
            transformers.CLIPTextConfig(**size, **layers, **ids, max_position_embeddings=12)
        )
    if kind == "t5":
        return transformers.T5EncoderModel(
            transformers.T5Config(**size, d_model=32, d_kv=16, d_ff=64, num_layers=3, num_heads=2)
        )
    return transformers.BertModel(
        transformers.BertConfig(**size, **layers, max_position_embeddings=12), add_pooling_layer=False
    )
