"""Each command is one call of the Python API, printed; a module each, named as the command.

To add a command: `cli/<command>.py` with a click command of that name, and its line in COMMANDS.
"""

from __future__ import annotations

import importlib
import logging
import os

import click

#: The commands in the order of a first visit; each is in the module of its name.
COMMANDS = (
    *("compare", "inspect", "similarity", "trajectory", "verify", "lineage", "merge-of"),
    *("recover", "parts"),
    *("importance", "probe", "drift"),
    *("findings", "audit", "plot", "report", "card", "attest", "verify-claim", "metrics", "help"),
)


class Teaching(click.Group):
    """A group that lists its commands in the order of a first visit."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of that name, imported when it is asked for."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"ftdiff.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=Teaching,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine; 1 a check failed; 2 the call or the input was wrong.",
)
@click.version_option(package_name="ftdiff")
@click.option(
    "--offline",
    is_flag=True,
    help="Ask no other machine: of the hub, what its cache holds. As HF_HUB_OFFLINE=1.",
)
def ftdiff(offline: bool) -> None:
    """What changed in the weights, where, how much, and is it real?

    \b
    ftdiff compare BASE TUNED -o out/     the main job: summary, heatmap, report
    ftdiff inspect ADAPTER                what is in the files, nothing read
    ftdiff plot out/diff.json             redraw without reading a weight

    Paths are files and folders, repositories of the hub (org/name, hf://org/name@revision) and
    addresses (https://, s3://, gs://, az://).
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _say_who_is_asked()


def _say_who_is_asked() -> None:
    """Show on standard error which other machine is asked for what."""
    logger = logging.getLogger("ftdiff.remote")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
