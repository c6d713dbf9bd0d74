"""`ftdiff completion`: let the shell complete commands, options, paths and words."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete what ftdiff takes.

    Commands and options; paths where a path is meant; metrics and groups, styles, formats; of a
    saved diff its stacks, components and tensors.

    \b
    eval "$(ftdiff completion bash)"        in ~/.bashrc
    eval "$(ftdiff completion zsh)"         in ~/.zshrc
    ftdiff completion fish | source         in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from ftdiff.cli import ftdiff

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ftdiff, {}, "ftdiff", "_FTDIFF_COMPLETE").source())
