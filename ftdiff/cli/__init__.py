"""Each command is one call of the Python API, printed; a module each, named as the command.

To add a command: `cli/<command>.py` with a click command of that name, and its line in GROUPS.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import click

from ftdiff.cli import settings
from ftdiff.cli.teaching import Teaching
from ftdiff.cli.voice import VOICE

#: The commands under their headings, each with its line; each is in the module of its name.
GROUPS: Mapping[str, Mapping[str, str]] = {
    "What changed": {
        "compare": "Measure what changed from BASE to TUNED",
        "inspect": "List what is in a checkpoint or adapter; headers alone",
        "parts": "Measure rows, columns, heads and tokens of tensors",
    },
    "Is it right": {
        "audit": "Hold a fine-tune against rules; 1 where it breaks them",
        "verify": "Is MERGED the base with this adapter merged in?",
        "recover": "Write the adapter that was merged into a model",
        "attest": "Sign what a diff says, once it is recomputed",
        "verify-claim": "Recompute what others have signed",
    },
    "Several models": {
        "similarity": "How alike are many fine-tunes of one base?",
        "trajectory": "How did a change grow over the checkpoints of a run?",
        "lineage": "Which of these is a model nearest to?",
        "merge-of": "Which merge of these is a model?",
    },
    "On a text": {
        "importance": "What weights, and their change, are worth",
        "probe": "In which layers a label can be read",
        "drift": "Where states and predictions lie apart",
    },
    "From a saved result": {
        "findings": "Say what stands out, each with its test",
        "plot": "Draw it; no weight is read",
        "report": "Make a page of it",
        "card": "Put it into a model card, or check a card",
    },
    "To learn": {
        "help": "What a command, metric, finding or audit rule is",
        "metrics": "What every number is: formula, range, noise, source",
        "completion": "Let the shell complete commands, options and words",
    },
}
#: Their names, in the order of a first visit.
COMMANDS = tuple(name for group in GROUPS.values() for name in group)


@click.group(
    cls=Teaching,
    groups=GROUPS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine; 1 a check failed; 2 the call or the input was wrong. Defaults are "
    "read from [tool.ftdiff] in the pyproject.toml of the working folder.",
)
@click.version_option(package_name="ftdiff")
@click.option(
    "--offline",
    is_flag=True,
    help="Ask no other machine: of the hub, what its cache holds. As HF_HUB_OFFLINE=1.",
)
@click.pass_context
def ftdiff(ctx: click.Context, offline: bool) -> None:
    """What changed in the weights, where, how much, and is it real?

    \b
    ftdiff compare BASE TUNED -o out/   the main job: summary, map, report
    ftdiff inspect ADAPTER              what is in the files, nothing read
    ftdiff audit BASE ADAPTER           would it load, is anything broken?
    ftdiff plot out/diff.json           redraw without reading a weight

    Paths are files and folders, repositories of the hub (org/name, hf://org/name@revision) and
    addresses (https://, s3://, gs://, az://).
    """
    _set_defaults(ctx)
    if offline or ctx.meta.get("ftdiff.offline"):
        os.environ["HF_HUB_OFFLINE"] = "1"
    _say_who_is_asked()


def _set_defaults(ctx: click.Context) -> None:
    """Take the defaults of the working folder's file for the command that is called."""
    found = settings.read([*COMMANDS])
    name = ctx.invoked_subcommand
    ctx.meta["ftdiff.offline"] = settings.of_program(found, name)
    command = ftdiff.get_command(ctx, name) if found and name else None
    if command is not None and name is not None:
        ctx.meta["ftdiff.settings"] = found
        ctx.default_map = {name: settings.defaults(found, command, name)}


def _say_who_is_asked() -> None:
    """Show on standard error which other machine is asked for what."""
    logger = logging.getLogger("ftdiff.remote")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.WARNING if VOICE.quiet else logging.INFO)
