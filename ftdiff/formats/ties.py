"""Names of one parameter: a head that is its embedding, an embedding that two towers share.

A file mostly stores such a parameter once, under one of its names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.naming import strip_wrappers

#: By the end of an embedding's name, the heads that a configuration may tie to it. Where a model
#: has several embeddings, the one whose end stands first here.
_HEADS: Mapping[str, tuple[str, ...]] = {
    "shared.weight": ("lm_head.weight", "proj_out.weight"),
    "decoder.embed_tokens.weight": ("lm_head.weight", "proj_out.weight"),
    "embed_tokens.weight": ("lm_head.weight",),
    "wte.weight": ("lm_head.weight",),
    "embeddings.word_embeddings.weight": (
        *("cls.predictions.decoder.weight", "lm_head.decoder.weight", "predictions.decoder.weight"),
        *("vocab_projector.weight", "generator_lm_head.weight"),
    ),
    "embeddings.tok_embeddings.weight": ("decoder.weight",),
    "word_embeddings.weight": ("lm_head.weight",),
    "embed_in.weight": ("embed_out.weight",),
    "tok_embeddings.weight": ("output.weight",),
    "embeddings.weight": ("lm_head.weight",),
}
#: Names of one parameter in every model that has them.
_SHARED = (
    ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
    ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ("lm_head.bias", "lm_head.decoder.bias"),
)
_ENDS = (
    *_HEADS,
    *(head for heads in _HEADS.values() for head in heads),
    *(name for group in _SHARED for name in group),
)
#: Ends of the names of models that have a head over the vocabulary.
_WITH_HEAD = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM")
_INNER = ("text_config", "llm_config", "language_config")


def says_tied(config: Mapping[str, Any]) -> bool | None:
    """Return what a configuration says of the head and the embedding; None where it does not.

    >>> says_tied({"text_config": {"tie_word_embeddings": True}}), says_tied({})
    (True, None)
    """
    parts = [config, *(config.get(name) for name in _INNER)]
    told = [part.get("tie_word_embeddings") for part in parts if isinstance(part, Mapping)]
    return True if True in told else False if False in told else None


def tied(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Return the names under which a model uses what its file stores under another.

    A head that is not stored is the embedding's where the configuration ties them, or, since most
    that do leave it out, where it is silent and names a model that has such a head.

    Examples
    --------
    >>> tied(["model.embed_tokens.weight"], {"tie_word_embeddings": True})
    {'lm_head.weight': 'model.embed_tokens.weight'}
    """
    stored = {strip_wrappers(name): name for name in names if name.endswith(_ENDS)}
    found: dict[str, str] = {}
    for group in _SHARED:
        held = [name for name in group if name in stored]
        # two towers that store an embedding each, and no shared one, have one each
        if len(held) == 1 or group[0] in held:
            found |= {name: stored[held[0]] for name in group if name not in stored}
    known = {**found, **stored}
    embedding = _embedding(known)
    if embedding is None or not _ties(config):
        return found
    heads = _HEADS[embedding[0]]
    if not any(head in stored for head in heads):
        found |= dict.fromkeys(heads, known[embedding[1]])
    return found


def with_tied_names(base: Checkpoint | None) -> Checkpoint | None:
    """Return a base whose tied parameters stand under all of their names, for who asks by name."""
    if base is None or not (found := tied(base.tensors, base.config)):
        return base
    more = {name: base.tensors[stored] for name, stored in found.items()}
    return replace(base, tensors={**base.tensors, **more})


def _embedding(known: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the end in `_HEADS`, and the name, of the embedding that a head would be tied to."""
    for end in _HEADS:
        ending = [name for name in known if name == end or name.endswith(f".{end}")]
        if len(ending) == 1:
            return end, ending[0]
    return None


def _ties(config: Mapping[str, Any]) -> bool:
    told = says_tied(config)
    if told is not None:
        return told
    models = config.get("architectures")
    return any(str(name).endswith(_WITH_HEAD) for name in models or ())
