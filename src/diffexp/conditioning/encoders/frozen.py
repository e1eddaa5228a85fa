"""A model of transformers that reads text, and its tokenizer."""

# transformers gives its functions no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

import hashlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffexp.conditioning.encoders.concepts import Concepts
from diffexp.files import open_regular
from diffexp.hub import check_stored, is_file, weights_of, whole

_MOST = 256  # tokens, where nobody says how many
_LETTERS = 50_000  # of a caption: a tokenizer takes seconds for a million
_FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
)  # fmt: skip


class Frozen:
    """A folder of transformers holds this model. dim: the width; room: tokens of a caption; mask: whether its
    padding counts for nothing. Copies share it.
    """

    def __init__(self, folder: Path, layer: int, norm: bool, length: int | None, mask: bool | None) -> None:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config = getattr(config, "text_config", config)
        self.folder, self.layer, self.norm, self.kind = folder, layer, norm, str(config.model_type)
        self.clip = self.kind.startswith("clip")
        self.mask = not self.clip if mask is None else mask
        self.dim, depth = int(config.hidden_size), int(config.num_hidden_layers)
        self.width = int(getattr(config, "embedding_size", None) or self.dim)
        self._with = dict[int, Any]()
        if -layer > depth:
            raise ValueError(f"layer={layer} of a model of {depth} layers")
        own = min(int(self.tokenizer.model_max_length), getattr(config, "max_position_embeddings", 1 << 30))
        self.room = min(own, length or _MOST)

    def __deepcopy__(self, memo: object) -> "Frozen":
        return self

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, which fills up at the right."""
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        made.padding_side = made.truncation_side = "right"
        made.pad_token = made.pad_token or made.eos_token
        return made

    @cached_property
    def net(self) -> Any:
        """The model, read when it is first needed: cached captions need none."""
        import transformers

        encoders = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
        name = "CLIPTextModel" if self.clip else encoders.get(self.kind, "AutoModel")
        for file in weights_of(self.folder):
            check_stored(file)
        with torch.random.fork_rng(devices=[]):
            net = whole(
                getattr(transformers, name), self.folder, trust_remote_code=False, unused=("pooler.",)
            )
        net = net.get_encoder() if getattr(net.config, "is_encoder_decoder", False) else net
        return net.float().eval().requires_grad_(False)

    @cached_property
    def final_norm(self) -> Any:
        """The norm behind the last layer, None for a model without."""
        names = (
            "final_layer_norm",
            "text_model.final_layer_norm",
            "encoder.final_layer_norm",
            "norm",
            "ln_f",
        )
        parts = dict(self.net.named_modules())
        return next((parts[name] for name in names if name in parts), None)

    def digest(self) -> bytes:
        """Return the sha256 of all that decides what comes out."""
        total = hashlib.sha256()
        for file in (*weights_of(self.folder), *(self.folder / name for name in _FILES)):
            if is_file(file):
                with open_regular(file) as opened:
                    own = hashlib.file_digest(opened, "sha256").hexdigest()
                total.update(f"{file.name} {own}\n".encode())
        return total.digest()

    def _read(self, texts: Sequence[str], concepts: Concepts, **options: Any) -> Any:
        plain = [text[:_LETTERS].encode("utf-8", "replace").decode() for text in texts]
        spelled = ["".join(_spelled(part) for part in concepts.parts(text)) for text in plain]
        return self._tokenizer(len(concepts))(spelled, **options)

    def _tokenizer(self, new: int) -> Any:
        """Return the tokenizer with so many tokens more, for the rows of new words."""
        if not new:
            return self.tokenizer
        if new not in self._with:
            from transformers import AddedToken

            names = [AddedToken(_spelled(range(i, i + 1)), normalized=False) for i in range(new)]
            made = self._with[new] = deepcopy(self.tokenizer)
            made.add_tokens(names)
        return self._with[new]

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text that are known, without those that begin and end a caption."""
        read: list[int] = self.tokenizer(text[:_LETTERS], add_special_tokens=False)["input_ids"]
        return [token for token in read if token != self.tokenizer.unk_token_id]

    def embeddings(self) -> Tensor:
        """Return the vector of each token, (tokens, width)."""
        return self.net.get_input_embeddings().weight

    def lengths(self, texts: Sequence[str], concepts: Concepts) -> list[int]:
        """Return how many tokens each has, those that begin and end it as well."""
        ids = [
            self._read(texts[i : i + 1000], concepts, verbose=False)["input_ids"]
            for i in range(0, len(texts), 1000)
        ]
        return [len(row) for part in ids for row in part]

    def rows(self, texts: Sequence[str], device: torch.device, concepts: Concepts) -> list[Tensor]:
        """Return of each caption its vector and then its tokens, (1 + L, dim)."""
        padding = "longest" if self.mask else "max_length"
        options = {"truncation": True, "max_length": self.room, "return_tensors": "pt"}
        read = self._read(texts, concepts, padding=padding, **options).to(device)
        real = read["attention_mask"]
        mask = real if self.mask else None
        tokens, pooled = self._tokens(read["input_ids"], mask, device, concepts)
        if pooled is None:
            pooled = (tokens * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        lengths = real.sum(1).clamp(min=1).tolist() if self.mask else [tokens.shape[1]] * len(texts)
        return [torch.cat([pooled[i : i + 1], tokens[i, :n]]) for i, n in enumerate(lengths)]

    def _tokens(
        self, ids: Tensor, mask: Tensor | None, device: torch.device, concepts: Concepts
    ) -> tuple[Tensor, Tensor | None]:
        before = list[Tensor]()
        net, norm = self.net.to(device), self.final_norm
        hook = norm and norm.register_forward_pre_hook(lambda _, given: before.append(given[0]))
        try:
            with self._told(ids, concepts) as known:
                out = net(input_ids=known, attention_mask=mask, output_hidden_states=True)
        finally:
            if hook:
                hook.remove()
        pooled = out.pooler_output if self.clip else None
        if self.layer == -1:
            return (out.last_hidden_state if self.norm or not before else before[-1]), pooled
        hidden = out.hidden_states[self.layer]
        return (norm(hidden) if self.norm and norm is not None else hidden), pooled

    @contextmanager
    def _told(self, ids: Tensor, concepts: Concepts) -> Generator[Tensor]:
        """Yield tokens that the model knows in place of those of new words, whose vectors it then gets. The
        stand-in is no token that means anything to it, as one that ends a caption does.
        """
        first = len(self.tokenizer)
        new = ids >= first
        if not concepts.sizes or not new.any():
            yield ids
            return
        marks = set(self.tokenizer.all_special_ids)
        stand_in = next(i for i in range(first) if i not in marks)
        rows = concepts.rows()[(ids - first).clamp(min=0)]
        done = list[bool]()

        def put(module: Any, given: Any, made: Tensor) -> Tensor:
            done.append(True)
            return torch.where(new[..., None], rows.to(made), made)

        table = self.embeddings().data_ptr()  # T5 has it twice, and calls one of both
        parts = [
            m for m in self.net.modules() if isinstance(m, nn.Embedding) and m.weight.data_ptr() == table
        ]
        hooks = [part.register_forward_hook(put) for part in parts]
        try:
            yield torch.where(new, stand_in, ids)
            if not done:
                raise ValueError("it does not look its tokens up in a table, and learns no word")
        finally:
            for hook in hooks:
                hook.remove()


def _spelled(part: str | range) -> str:
    """Return a part of a caption as the tokenizer is to read it: a token of its own for each row."""
    return part if isinstance(part, str) else "".join(f"\ue000{row}\ue001" for row in part)
