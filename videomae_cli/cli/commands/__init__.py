"""Lists the commands, each with its one-line help.

A command's module is imported only when that command is used, which keeps `videomae --help` fast
(benchmarks/startup.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from videomae_cli.cli.options.completion import complete
from videomae_cli.cli.options.flags import words_of
from videomae_cli.cli.options.help_page import PageContext, row_of
from videomae_cli.cli.options.plain_values import plain_help, plainly
from videomae_cli.cli.options.sections import GUIDES, LONG_HELP, headings
from videomae_cli.cli.options.wrong_usage import refusing
from videomae_cli.cli.terminal import console
from videomae_cli.errors import switch


class Entry(NamedTuple):
    """A command's entry. name: as typed; help: its line in the list; module, function: its place in `videomae_cli.cli`."""

    name: str
    help: str
    module: str
    function: str


# In the order of `videomae --help`, where a line has room for some 65 characters.
COMMANDS = [
    Entry("demo", "See what it does, on a film that ships with it.", "demo", "demo"),
    Entry("classify", "Say what each video shows.", "classify", "classify"),
    Entry("timeline", "Say what happens when in long videos and live streams.", "timeline", "timeline"),
    Entry("embed", "Turn each video into a vector, for search and training.", "embed", "embed"),
    Entry("similar", "Find the videos most like one, or near-duplicates.", "similar", "similar"),
    Entry("map", "Draw similar videos close together, on one page.", "map", "map_"),
    Entry("reconstruct", "Show what a model makes of what it does not see.", "reconstruct", "reconstruct"),
    Entry("attend", "Show where a model looks, as heat over the frames.", "attend", "attend"),
    Entry("label", "Teach it your own classes by answering on a page.", "label", "label"),
    Entry("finetune", "Train a classifier on your own classes.", "finetune", "finetune"),
    Entry("evaluate", "Measure a model on labelled clips.", "evaluate", "evaluate"),
    Entry("pretrain", "Train an encoder on videos without labels.", "pretrain", "pretrain"),
    Entry("merge", "Join the outputs of a job that was split with --shard.", "merge", "merge"),
    Entry("bench", "Measure which engine is fastest on this machine.", "bench", "bench"),
    Entry("models", "List or describe checkpoints, or remove cached ones.", "models", "models"),
    Entry("download", "Download models, so that they work without a network.", "download", "download"),
    Entry("export", "Write a model as ONNX, OpenVINO or PyTorch file.", "export", "export"),
    Entry("convert", "Write a checkpoint as a Hugging Face directory.", "convert", "convert"),
]


class GuidedCommand(TyperCommand):
    """A command whose help lists options under headings, the most used ones first, and ends with examples."""

    context_class = PageContext

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help that explains this command."""
        return plain_help(super().get_help_option(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments. Raises OptionError for those that are wrong."""
        with refusing(ctx, args):
            return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line after the command: [OPTIONS] PATH..."""
        return ["[OPTIONS]", *(_usage(one) for one in self.params if one.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options, under headings if there are many."""
        options = {max(p.opts, key=len): p for p in self.get_params(ctx) if p.param_type_name == "option"}
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in self.params:
            if one.param_type_name == "argument" and (row := row_of(one, ctx)) is not None:
                sections.setdefault("Arguments", []).append(row)
        few = len(options) < LONG_HELP
        for flag, heading in (dict.fromkeys(options, "Options") if few else headings(str(self.name), options)).items():
            if (row := row_of(options[flag], ctx)) is not None:
                sections.setdefault(heading, []).append(row)
        for heading, listed in sections.items():
            with formatter.section(heading):
                formatter.write_dl(listed)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, one command a line."""
        if guide := GUIDES.get(str(self.name)):
            with formatter.section("Examples"):
                for line in guide.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _usage(argument: Any) -> str:
    """Format an argument for the usage line: PATH, PATH... or [PATH]."""
    name = str(argument.metavar or argument.name.upper())
    name += "..." if argument.nargs < 0 and " " not in name and not name.endswith("...") else ""
    return name if argument.required else f"[{name}]"


class LazyCommand(TyperCommand):
    """Stands in for a command in lists and suggestions, and loads the real one when run."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.help)
        self._entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the real command, with its options and function."""
        command = self.load()
        taken = {flag for parameter in command.params for flag in parameter.opts}
        console.set_options(self._entry.name, taken)
        switch(words_of(self._entry.name, taken))
        return command.make_context(info_name, args, parent=parent, **extra)

    def load(self) -> TyperCommand:
        """Import the command's module and return the command."""
        module = import_module(f"{__name__}.{self._entry.module}")
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command(self._entry.name, cls=GuidedCommand)(getattr(module, self._entry.function))
        command = typer.main.get_command(alone)
        assert isinstance(command, TyperCommand)
        for parameter in command.params:
            parameter._custom_shell_complete = complete
            parameter.process_value = plainly(parameter)  # type: ignore[assignment, method-assign]
        return command


def stand_ins() -> Sequence[LazyCommand]:
    """Return all commands without importing them."""
    return [LazyCommand(entry) for entry in COMMANDS]
