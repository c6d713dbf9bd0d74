"""Options of commands that run a model, each with one help, decided into one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ftdiff.cli.options import decided


@dataclass(frozen=True)
class Running:
    """Where and how the model runs."""

    device: str
    dtype: str
    batch: int


RUNNING = decided(
    Running,
    "running",
    click.option("--device", default="cpu", show_default=True, help="A device of torch's."),
    click.option(
        "--dtype",
        default="float32",
        show_default=True,
        type=click.Choice(["float32", "bfloat16", "float16", "float64"]),
        help="Of the forward pass; less than float32 moves losses and states more than some "
        "fine-tunes do.",
    ),
    click.option(
        "--batch", default=8, show_default=True, help="Texts at a time; halved out of memory."
    ),
)


@dataclass(frozen=True)
class Reading:
    """Which texts are read, and how much of them."""

    text: Path
    max_texts: int
    max_tokens: int
    seed: int


READING = decided(
    Reading,
    "reading",
    click.option(
        "--text",
        required=True,
        type=click.Path(path_type=Path),
        help="A text a line; or .jsonl of text, prompt and answer, messages, or input_ids.",
    ),
    click.option("--max-texts", default=64, show_default=True, help="So many, drawn at random."),
    click.option("--max-tokens", default=256, show_default=True, help="Longer texts are cut."),
    click.option("--seed", default=0, show_default=True, help="Of what is drawn."),
)
