"""What lies beside the weights: settings that change what they compute, text, code, pickles."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.analyses.audit.registry import AUDIT, audit_rule
from ftdiff.analyses.finding import Finding
from ftdiff.comparison.beside import sentence
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff


def _said(diff: Diff, code: str) -> Iterator[Finding]:
    for one in reasons(diff.about, code):
        message = f"{_capital(sentence(one))}."
        data = {name: value for name, value in one.items() if name != "code"}
        yield Finding(code, AUDIT[code].severity, message, {"tensors": [], **data})


def _capital(text: str) -> str:
    """Begin a sentence with a capital, unless it begins with the name of a file."""
    first = text.partition(" ")[0]
    return text if "." in first or "_" in first else text[:1].upper() + text[1:]


@audit_rule("config-differs", "caution")
def config_differs(diff: Diff) -> Iterator[Finding]:
    """With another configuration the same weights compute another function."""
    yield from _said(diff, "config-differs")


@audit_rule("config-fields", "note")
def config_fields(diff: Diff) -> Iterator[Finding]:
    """Labels, limits and settings of training differ; what the weights compute does not."""
    yield from _said(diff, "config-fields")


@audit_rule("config-dtype", "note")
def config_dtype(diff: Diff) -> Iterator[Finding]:
    """A model is loaded in the dtype that its configuration names."""
    yield from _said(diff, "config-dtype")


@audit_rule("generation-differs", "note")
def generation_differs(diff: Diff) -> Iterator[Finding]:
    """With other settings of generation the same model answers otherwise."""
    yield from _said(diff, "generation-differs")


@audit_rule("tokenizer-differs", "caution")
def tokenizer_differs(diff: Diff) -> Iterator[Finding]:
    """With another tokenizer the model reads other tokens than it learnt."""
    yield from _said(diff, "tokenizer-differs")


@audit_rule("tokens-without-rows", "caution")
def tokens_without_rows(diff: Diff) -> Iterator[Finding]:
    """A token that has no row in the embedding ends a run with an error."""
    yield from _said(diff, "tokens-without-rows")


@audit_rule("special-tokens-differ", "note")
def special_tokens_differ(diff: Diff) -> Iterator[Finding]:
    """Special tokens say where a text begins and ends."""
    yield from _said(diff, "special-tokens-differ")


@audit_rule("token-ids-disagree", "caution")
def token_ids_disagree(diff: Diff) -> Iterator[Finding]:
    """Where files disagree on a special token, generation may not stop, or stop too soon."""
    yield from _said(diff, "token-ids-disagree")


@audit_rule("chat-template-differs", "caution")
def chat_template_differs(diff: Diff) -> Iterator[Finding]:
    """With another chat template a model is asked otherwise than it learnt to be."""
    yield from _said(diff, "chat-template-differs")


@audit_rule("chat-template-one-sided", "note")
def chat_template_one_sided(diff: Diff) -> Iterator[Finding]:
    """A chat template that one side alone has is new, or was lost."""
    yield from _said(diff, "chat-template-one-sided")


@audit_rule("chat-template-twice", "caution")
def chat_template_twice(diff: Diff) -> Iterator[Finding]:
    """Two chat templates in one folder are read differently by different programs."""
    yield from _said(diff, "chat-template-twice")


@audit_rule("code-beside", "caution")
def code_beside(diff: Diff) -> Iterator[Finding]:
    """Code that a fine-tune brings along runs where remote code is trusted."""
    yield from _said(diff, "code-beside")


@audit_rule("code-as-base", "note")
def code_as_base(diff: Diff) -> Iterator[Finding]:
    """Code that is the base's own, byte by byte, is no more to be trusted than the base's."""
    yield from _said(diff, "code-as-base")


@audit_rule("pickle-beside", "caution")
def pickle_beside(diff: Diff) -> Iterator[Finding]:
    """A pickle can run code when it is read."""
    yield from _said(diff, "pickle-beside")


@audit_rule("auto-mapping", "caution")
def auto_mapping(diff: Diff) -> Iterator[Finding]:
    """A module that an adapter's configuration names is imported when it is loaded."""
    yield from _said(diff, "auto-mapping")


@audit_rule("base-revision", "note")
def base_revision(diff: Diff) -> Iterator[Finding]:
    """An adapter that was trained on another revision of its base may not fit it."""
    yield from _said(diff, "base-revision")


@audit_rule("beside-unreadable", "caution")
def beside_unreadable(diff: Diff) -> Iterator[Finding]:
    """A file that could not be read was not compared."""
    yield from _said(diff, "beside-unreadable")
