"""Exceptions that users see as one line instead of a traceback."""


class InputError(ValueError):
  """Bad input. The message is one line that names the file or field, the value and the remedy.

  Binaries print the message and exit with code 1.
  """

  def __init__(self, message: str):
    super().__init__(' '.join(message.split()))


class SharedInputError(InputError):
  """Bad input found by one process and raised in all processes of a distributed run."""


class Interrupted(KeyboardInterrupt):
  """Training stopped by a signal, after saving, in all processes of a distributed run."""
