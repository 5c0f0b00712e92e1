"""What ops of TensorFlow write to the standard error of the process."""

import contextlib
import io
import os
import sys
import tempfile


@contextlib.contextmanager
def captured():
  """Context that yields a StringIO, which has the text after the context."""
  with tempfile.TemporaryFile("w+") as file:
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    text = io.StringIO()
    try:
      yield text
    finally:
      os.dup2(kept, 2)
      os.close(kept)
      file.seek(0)
      text.write(file.read())
