"""Command line: the ``gateway`` command, with a module for each subcommand, imported when it is run."""

from __future__ import annotations

import importlib

import click

from gateway import __version__

COMMANDS = {
    "serve": "Answer mParticle and deliver to partners.",
    "check": "Validate the configuration; name every problem.",
    "demo": "Run everything against fake partners and show what arrives.",
    "preview": "Show what each connection would be sent for a message; send nothing.",
    "explain": "Show the outcomes of a message, an event or a user's messages.",
    "erasures": "List the erasures that reached nobody at a destination.",
    "datapoints": "List every data point seen, and whether each connection sends it.",
    "filter": "Switch data points on and off in the configuration file.",
    "accounts": "List the accounts of hosted connections, and the problems of their settings.",
    "status": "Show the backlog of each connection, and when it will be empty.",
    "replay": "Redeliver finished facts (dead letters by default).",
    "pause": "Pause the deliveries of a connection; new posts are stored.",
    "resume": "Resume the deliveries of a paused connection.",
    "drop": "Drop the backlog of a connection that is no longer configured.",
    "registration": "Print the registration that mParticle imports.",
    "plugins": "List installed destination plugins.",
}


class LazyGroup(click.Group):
    """A group of commands that imports only the subcommand that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the protocol has it
        """Return the subcommands in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002  # the protocol has it
        """Import one subcommand."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"gateway.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # the protocol has it
        """List the subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Store what mParticle posts durably, and deliver it through destination plugins."""
