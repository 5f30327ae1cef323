"""Ctrl-C that waits for the end of a step."""

import signal


class Stopped(KeyboardInterrupt):
    """Ctrl-C, obeyed after a whole step, with all saved."""


class Interrupted:
    """While it is entered, the first Ctrl-C only makes it true, so that a step is never left half done."""

    def __enter__(self) -> "Interrupted":
        self.pressed = False
        self.previous = signal.signal(signal.SIGINT, self._press)
        return self

    def _press(self, *_: object) -> None:
        self.pressed = True
        signal.signal(signal.SIGINT, self.previous)  # the second one works as ever

    def __bool__(self) -> bool:
        return self.pressed

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.previous)
