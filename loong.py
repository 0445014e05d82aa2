"""The door: checks the interpreter and the platform, then hands over to the command line."""

import sys


def main():  # type: () -> int
    """Run the command that the process was started with. Returns the exit code."""
    # No annotations and no f-strings here: an old interpreter must get as far as this sentence.
    if sys.version_info < (3, 9):
        sys.stderr.write("error: loong needs Python 3.9 or newer\n")
        return 2
    if sys.platform == "win32":
        sys.stderr.write("error: loong runs on Linux and macOS; on Windows use WSL\n")
        return 2
    from loong_gateway.commandline.main import main as run  # noqa: PLC0415  not importable on an old interpreter

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
