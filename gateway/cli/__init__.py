"""Command line: the ``gateway`` command, with a module for each subcommand, imported when it is asked for."""

from __future__ import annotations

import importlib

import click

from gateway import __version__

COMMANDS = {
    "serve": "Answer mParticle and deliver to partners.",
    "check": "Validate the configuration; name every problem.",
    "demo": "Run everything against fake partners and show what arrives.",
    "preview": "Show what each connection would be sent for a message; send nothing.",
    "explain": "Say what became of a message, an event or a user.",
    "datapoints": "List the data points that were seen, and what each connection does with them.",
    "filter": "Switch data points on and off in the configuration file.",
    "accounts": "List the customers of a hosted gateway, and whether their settings work.",
    "status": "Say what waits on each connection, and when it will be caught up.",
    "replay": "Send again what has had its word: dead letters, above all.",
    "pause": "Send nothing on a connection for a while; what is posted is kept.",
    "resume": "Send again what waits on a connection that was paused.",
    "drop": "Give up what waits for a connection that is no longer configured.",
    "registration": "Print the registration that mParticle imports.",
    "plugins": "List installed destination plugins.",
}


class Lazy(click.Group):
    """Knows its subcommands by name, and imports the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import one subcommand."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"gateway.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Takes what mParticle posts, durably, and delivers it to destination plugins."""
