"""The typer application that the verbs register with."""

import typer

from fomm_lib.errors import printable

app = typer.Typer(
    help="The First Order Motion Model: animates a portrait by a driving video.",
    epilog="--debug, anywhere, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def say(text: str) -> None:
    """Print one line; names in it that are not plain text cannot do anything to the terminal."""
    print(printable(text))
