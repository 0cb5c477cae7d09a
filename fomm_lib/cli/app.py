"""The typer application that the verbs register with."""

import typer

app = typer.Typer(
    help="The First Order Motion Model: animates a portrait by a driving video.",
    epilog="--debug, anywhere, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
