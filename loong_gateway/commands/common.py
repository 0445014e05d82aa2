"""What every command gets: where things are, the streams, the clock, and how to say that something is wrong."""

from __future__ import annotations

from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.base.tinyjson import dumps
from loong_gateway.base.wording import visible
from loong_gateway.owner.paths import Places

__all__ = ["URL_VARIABLE", "Context", "OutputFailed", "add_target_flags", "error_lines"]

# Names a gateway elsewhere for every verb that can ask one.
URL_VARIABLE = "LOONG_GATEWAY_URL"


def add_target_flags(parser) -> None:  # type: ignore[no-untyped-def]  # argparse is not loaded on every path
    """Declare the flags that name a gateway by its address instead of by its home."""
    parser.add_argument("--url", metavar="ws://...", help=f"ask the gateway there (or {URL_VARIABLE})")
    parser.add_argument("--token-file", metavar="PATH", help="its token, for --url (or LOONG_GATEWAY_TOKEN)")


class OutputFailed(OSError):
    """Raised when the result cannot be written: a full disk behind the redirection, for one."""


class Context:
    """The surroundings of one command. Results go to `out` and `document`, everything else to `err`.

    `json` says that the result is wanted as one JSON document. `verbose` and `no_color` are the global flags.
    """

    def __init__(  # type: ignore[no-untyped-def]  # noqa: PLR0913  the streams have no name without typing
        self,
        places: Places,
        environ: dict[str, str],
        *,
        stdin,
        stdout,
        stderr,
        clock: Clock | None = None,
        json: bool = False,
        verbose: bool = False,
        no_color: bool = False,
    ) -> None:
        self.places = places
        self.environ = environ
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.clock = clock or Clock()
        self.json = json
        self.verbose = verbose
        self.no_color = no_color

    def out(self, line: str = "") -> None:
        """Print one line of the result. Raises BrokenPipeError when the reader has left, else OutputFailed."""
        try:
            self.stdout.write(line + "\n")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from error

    def err(self, line: str) -> None:
        """Print one line that is not the result: progress, a warning. What cannot be written is passed over."""
        try:
            self.stderr.write(line + "\n")
        except OSError:
            # Nobody can be told; the exit code still says what happened.
            return

    def document(self, value: object) -> None:
        """Print the result as the one JSON document, two spaces per level."""
        encoding = str(getattr(self.stdout, "encoding", None) or "utf-8").lower().replace("_", "-")
        self.out(dumps(value, 2, ascii_only=encoding not in ("utf-8", "utf8")))

    def report(self, error: CommandError) -> int:
        """Say what is wrong, on stderr, and as a document on stdout when one was asked for. Returns the exit code."""
        for line in error_lines(error):
            self.err(line)
        if self.json:
            said: dict[str, object] = {
                "code": error.code,
                "message": error.message,
                "fix": error.fix,
                "exit_code": error.exit_code,
            }
            if error.details:
                said["findings"] = list(error.details)
            self.document({"error": said})
        return error.exit_code


def error_lines(error: CommandError) -> list[str]:
    """The lines of an error: what, where, and what to do next. None of them steers a terminal."""
    lines = [f"error: {error.message}", *(f"  {line}" for line in error.details)]
    if error.where:
        lines.append(f"  where: {error.where}")
    if error.fix:
        lines.append(f"  fix:   {error.fix}" if error.where else f"  fix: {error.fix}")
    return [visible(line) for line in lines]
