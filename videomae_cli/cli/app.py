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
from videomae_cli.cli.run.interrupts import Terminated
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, VideoMAEError, speaking


class Commands(TyperGroup):
    """Turns what a command raises into one line and an exit code, alike under CliRunner and in a process."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in stand_ins():
            self.add_command(command)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help with a default of False instead of Typer's None.

        Typer would coerce None and import pydantic to do so, which would be a third of the time of `COMMAND --help`.
        """
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        with speaking(FLAGS), _exit_codes():
            return super().make_context(info_name, args, parent=parent, **extra)

    def _main_shell_completion(self, *arguments: Any, **extra: Any) -> None:
        if any(name.endswith("_COMPLETE") for name in os.environ):
            from typer._completion_classes import completion_init

            completion_init()
        super()._main_shell_completion(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        with speaking(FLAGS), _exit_codes():
            return super().invoke(ctx)


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        # The message quotes the arguments, among them file names, which may contain anything: escape it.
        # this error's message is the help text; typer doesn't export its class, so compare the name
        if type(error).__name__ != "NoArgsIsHelpError":
            prefix = error.format_message().partition(error.message)[0] if error.message else ""
            error.message = "\n".join(console.wrapped(error.message or "", margin=len(f"Error: {prefix}")))
        raise
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
