"""The one exception that users are meant to see."""


class PpcdError(Exception):
    """A mistake in what was asked for: one line that says what was wrong and what to do.

    Command lines print it without a stack trace and exit with status 2; in a notebook it is shown
    as one line as well (IPython calls `_render_traceback_`).
    """

    def _render_traceback_(self) -> list[str]:
        return [f"ppcd: {self}"]
