"""`ftdiff audit`: hold a fine-tune against rules; exit 1 where it breaks them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.analyses.audit import Audit
    from ftdiff.comparison.result import Diff

#: By a file's ending, the format that is written into it.
ENDINGS = {
    ".sarif": "sarif",
    ".sarif.json": "sarif",
    ".json": "json",
    ".xml": "junit",
    ".md": "markdown",
    ".txt": "table",
}


@dataclass(frozen=True)
class Held:
    """What a fine-tune is held against, and what of it fails."""

    policy: Path | None
    written: Path | None
    baseline: Path | None
    fail_on: str


HELD = options.decided(
    Held,
    "held",
    click.option("--policy", type=click.Path(path_type=Path), help="What is expected, in TOML."),
    click.option(
        "--write-policy",
        "written",
        type=click.Path(path_type=Path),
        help="Write the policy that this fine-tune fulfils, to be reviewed, and stop.",
    ),
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        metavar="OLD",
        help="What was found before fails no more: an audit as .json or .sarif, or a diff.json.",
    ),
    click.option(
        "--fail-on",
        type=click.Choice(["alarm", "caution", "note"]),
        default="alarm",
        show_default=True,
        help="The least severity that fails.",
    ),
)


@click.command()
@click.argument("base", type=words.PLACE, metavar="BASE|DIFF")
@click.argument("tuned", type=words.PLACE, required=False)
@HELD
@options.WORKERS
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it, too (repeat for several formats): .json, .sarif, .xml (JUnit), .md or .txt.",
)
@options.format_of("table", "json", "sarif", "junit", "github", "markdown")
@click.pass_context
def audit(
    ctx: click.Context,
    base: str,
    tuned: str | None,
    held: Held,
    workers: options.Workers,
    outputs: tuple[Path, ...],
    format_: str,
) -> None:
    """Hold a fine-tune against the built-in rules and a policy; exit 1 where it breaks them.

    \b
    ftdiff audit base/ my-lora/
    ftdiff audit my-lora/
    ftdiff audit out/diff.json --policy release.toml -o audit.sarif -o audit.xml --format github
    ftdiff audit base/ my-lora/ --fail-on caution --baseline audit.json
    ftdiff audit base/ my-lora/ --write-policy release.toml
    """
    from ftdiff.analyses import audit as analysis
    from ftdiff.analyses.audit.baseline import opened
    from ftdiff.reports import text
    from ftdiff.reports.terminal.tables import write_text

    given = ctx.get_parameter_source("format_") is not ParameterSource.DEFAULT
    files = _formats(outputs, format_ if given else None)
    if held.written is not None and (files or held.baseline is not None):
        raise BadCall("--write-policy writes a policy and stops: no -o, no --baseline beside it")
    # before a weight is read
    policy = analysis.read_policy(held.policy) if held.policy is not None else None
    earlier = opened(held.baseline) if held.baseline is not None else None
    diff = _diff(base, tuned, workers)
    if held.written is not None:
        click.echo(analysis.save_policy(diff, held.written))
        return
    result = analysis.audit(diff, policy, fail_on=held.fail_on, baseline=earlier)
    shown = "table" if format_ in files.values() else format_
    (write_text if shown == "table" else click.echo)(text.audit(result, shown))
    _write(result, files)
    sys.exit(result.exit_code)


def _formats(paths: tuple[Path, ...], named: str | None) -> dict[Path, str]:
    """Return the format of each file, by its ending; of another ending, the one that was named."""
    found = {}
    for path in paths:
        name = path.name.lower()
        ending = ".sarif.json" if name.endswith(".sarif.json") else path.suffix.lower()
        format_ = ENDINGS.get(ending, named)
        if format_ is None:
            raise BadCall(f"{path}: written are {', '.join(ENDINGS)}, or what --format names")
        found[path] = format_
    return found


def _write(result: Audit, files: dict[Path, str]) -> None:
    from ftdiff.comparison.storage import written
    from ftdiff.reports import text

    for path, format_ in files.items():
        with written(path) as temporary:
            temporary.write_text(
                text.audit(result, format_) + "\n", encoding="utf-8", errors="backslashreplace"
            )
    if files:
        out.wrote(files)


def _diff(base: str, tuned: str | None, workers: options.Workers) -> Diff:
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison import engine
    from ftdiff.comparison.result import Diff

    if tuned is None and (Path(base).is_file() or base.endswith((".json", ".csv", ".parquet"))):
        held = load_for("audit", base)
        assert isinstance(held, Diff)
        return held
    if tuned is None:
        base, tuned = options.base_of(base), base
    with workers.lent() as (executor, progress):
        return engine.compare(base, tuned, (), executor, progress, say=out.say)
