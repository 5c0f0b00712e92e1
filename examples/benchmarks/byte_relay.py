"""Counts the bytes that the tasks of a cluster send to each other.

The relay listens on a port for each ordered pair of tasks. A task is told these
ports instead of those of the others, so that all bytes pass the relay, which
forwards and counts them. They include the headers of gRPC, but not those of
TCP and IP.
"""

import contextlib
import ctypes
import multiprocessing
import socket
import threading

import numpy as np

from examples import cluster

_CHUNK_BYTES = 1 << 18


class Counts:
  """Bytes sent by each task to each other one, shared by processes."""

  def __init__(self, num_tasks):
    """Starts at 0.

    Args:
      num_tasks: Number of tasks.
    """
    self._num_tasks = num_tasks
    self._values = multiprocessing.Array(
        ctypes.c_uint64, num_tasks * num_tasks)

  def add(self, source, target, count):
    """Adds bytes."""
    with self._values.get_lock():
      self._values[source * self._num_tasks + target] += count

  def read(self):
    """Returns an int array [tasks, tasks], from source to target."""
    values = np.array(self._values[:], np.int64)
    return values.reshape(self._num_tasks, self._num_tasks)


class Relay:
  """The ports between tasks; after `start`, it forwards what arrives there.

  Args:
    addresses: Addresses of the tasks, "HOST:PORT".
    counts: Counts.
  """

  def __init__(self, addresses, counts):
    self._addresses = addresses
    self._counts = counts
    numbers = range(len(addresses))
    self._listeners = {
        (source, target): socket.create_server((cluster.HOST, 0))
        for source in numbers for target in numbers if source != target}

  def addresses(self, source):
    """Returns the addresses of all tasks for one of them."""
    return [
        address if target == source else "{}:{}".format(
            *self._listeners[source, target].getsockname())
        for target, address in enumerate(self._addresses)]

  def start(self):
    """Starts threads that forward bytes until the process ends."""
    for pair, listener in self._listeners.items():
      threading.Thread(target=self._serve, args=(listener, pair),
                       daemon=True).start()

  def _serve(self, listener, pair):
    """Connects a task with another one whenever it calls."""
    source, target = pair
    host, port = self._addresses[target].split(":")
    while True:
      caller, _ = listener.accept()
      try:
        called = socket.create_connection((host, int(port)))
      except OSError:  # The other does not listen yet; the task calls again.
        caller.close()
        continue
      for end in (caller, called):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
      for ends, direction in (((caller, called), (source, target)),
                              ((called, caller), (target, source))):
        threading.Thread(target=self._forward, args=(*ends, *direction),
                         daemon=True).start()

  def _forward(self, sender, receiver, source, target):
    """Forwards bytes in one direction until one end closes."""
    with contextlib.suppress(OSError):
      while data := sender.recv(_CHUNK_BYTES):
        self._counts.add(source, target, len(data))
        receiver.sendall(data)
    for end in (sender, receiver):
      with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
      end.close()
