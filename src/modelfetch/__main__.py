"""The `modelfetch` command; needs the `cli` extra."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]

# Objects made and not yet freed, after which to look for garbage; Python 3.11's default is 700.
_RARELY = 50_000


def main() -> None:
    """Run the command line, or say what it lacks."""
    # Looking for garbage among what is imported takes a tenth of a second, and as long at the end,
    # and finds none. Commands import what they need when they run, so it stays rare.
    gc.disable()
    gc.set_threshold(_RARELY)
    try:
        from modelfetch.cli import run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(
            f"The command line needs {error.name}, which is not installed.\n"
            "Install it with: pip install 'modelfetch[cli]'"
        )
    gc.enable()
    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
