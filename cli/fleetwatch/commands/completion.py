"""`fleetwatch completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Prints the completion script for a shell.

    \b
    fleetwatch completion bash >> ~/.bashrc
    fleetwatch completion zsh  >> ~/.zshrc
    fleetwatch completion fish > ~/.config/fish/completions/fleetwatch.fish
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell}")
    root = context.find_root().command
    click.echo(completion(root, {}, "fleetwatch", "_FLEETWATCH_COMPLETE").source())
