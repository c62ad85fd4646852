"""The `videomae` application: its commands, and the one place where exceptions become exit codes.

Exit codes: 0 fine, 1 something failed, 2 wrong usage, 130 interrupted (143 by SIGTERM). A command's module is imported
only when that command is used, and torch, cv2 and huggingface_hub inside functions, so that help, version and usage
errors stay fast.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from videomae_cli import __version__
from videomae_cli.cli.commands import stand_ins
from videomae_cli.cli.options.flags import FLAGS
from videomae_cli.cli.options.help_page import PageContext
from videomae_cli.cli.options.plain_values import plain_help
from videomae_cli.cli.options.wrong_usage import refusing, unknown_command
from videomae_cli.cli.run.interrupts import Terminated
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, VideoMAEError, speaking


class Commands(TyperGroup):
    """Turns what a command raises into one line and an exit code, alike under CliRunner and in a process."""

    context_class = PageContext

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in stand_ins():
            self.add_command(command)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help that explains this command."""
        return plain_help(super().get_help_option(ctx))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        with speaking(FLAGS), _exit_codes():
            return super().make_context(info_name, args, parent=parent, **extra)

    def _main_shell_completion(self, *arguments: Any, **extra: Any) -> None:
        if any(name.endswith("_COMPLETE") for name in os.environ):
            from typer._completion_classes import completion_init

            completion_init()
        super()._main_shell_completion(*arguments, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before a command. Raises OptionError for those that are wrong."""
        with refusing(ctx, args):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command and its arguments. Raises OptionError if there is none of that name."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown_command(args[0], self.commands)
        with refusing(ctx, args):
            return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, each with the whole of its line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help or "") for name, command in self.commands.items()])

    def invoke(self, ctx: Any) -> Any:
        with speaking(FLAGS), _exit_codes():
            return super().invoke(ctx)


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except VideoMAEError as error:
        console.failure(error)
        raise typer.Exit(2 if isinstance(error, OptionError) else 1) from None
    except KeyboardInterrupt as interruption:
        console.trace()
        console.error(str(interruption) or "interrupted")
        raise typer.Exit(143 if isinstance(interruption, Terminated) else 130) from None
    except BrokenPipeError:
        # The reader (`| head`) has gone, because it has all that it wanted. Python must not try to flush again at exit.
        streams.drop_stdout()
        raise typer.Exit(1) from None
    except MemoryError:
        console.trace()
        console.error("out of memory: try fewer --clips, a smaller model, or --batch-size 1")
        raise typer.Exit(1) from None


app = typer.Typer(
    name="videomae",
    cls=Commands,
    help="Labels, embeddings and reconstructions of video, with VideoMAE.",
    no_args_is_help=True,
    add_completion=False,  # Typer's own imports pydantic for every help
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        streams.put(f"videomae {__version__}")
        raise typer.Exit


def _complete(ctx: typer.Context, param: typer.CallbackParam, wanted: bool) -> None:
    """Install completion for the shell that this runs in, or show it."""
    if wanted:
        from typer.completion import install_callback, show_callback

        (install_callback if param.name == "install_completion" else show_callback)(ctx, param, wanted)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion", callback=_complete, is_eager=True, help="Let this shell complete names and options."
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option("--show-completion", callback=_complete, is_eager=True, help="Print the completion script."),
    ] = False,
) -> None:
    """Labels, embeddings and reconstructions of video, with VideoMAE."""
