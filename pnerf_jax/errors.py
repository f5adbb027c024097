"""The one error that users see: bad input, named with its file, value and remedy."""


class InputError(ValueError):
  """Bad input. The message is one line that names the file or field, the value and the remedy.

  Binaries print the message and exit with code 1; nothing else in the project is caught.
  """

  def __init__(self, message: str):
    super().__init__(' '.join(message.split()))


class SharedInputError(InputError):
  """Bad input that one process found and all processes of a job raise together."""


class Interrupted(KeyboardInterrupt):
  """Training stopped by a signal, after saving, in all processes of a job together."""
