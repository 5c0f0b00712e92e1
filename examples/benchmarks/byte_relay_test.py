"""Tests of the relay that counts bytes, with plain sockets."""

import contextlib
import socket
import time

import tensorflow.compat.v1 as tf

from examples import cluster
from examples.benchmarks import byte_relay


class RelayTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._stack = contextlib.ExitStack()
    self.addCleanup(self._stack.close)
    self._listener = self._stack.enter_context(
        socket.create_server((cluster.HOST, 0)))
    host, port = self._listener.getsockname()
    [self._silent] = cluster.free_addresses(1)
    self._counts = byte_relay.Counts(2)
    self._relay = byte_relay.Relay(
        [self._silent, f"{host}:{port}"], self._counts)
    self._relay.start()

  def _call(self, address):
    host, port = address.split(":")
    return self._stack.enter_context(
        socket.create_connection((host, int(port))))

  def _receive(self, end, count):
    data = b""
    while len(data) < count:
      data += end.recv(count - len(data))
    return data

  def testATaskHasItsOwnAddress(self):
    own, other = self._relay.addresses(0)
    self.assertEqual(self._silent, own)
    self.assertNotEqual(own, other)
    self.assertNotEqual(other, self._relay.addresses(1)[1])

  def testForwardsAndCountsInBothDirections(self):
    caller = self._call(self._relay.addresses(0)[1])
    called = self._stack.enter_context(self._listener.accept()[0])
    sent = bytes(range(256)) * 4000
    caller.sendall(sent)
    self.assertEqual(sent, self._receive(called, len(sent)))
    called.sendall(b"yes")
    self.assertEqual(b"yes", self._receive(caller, 3))
    self.assertAllEqual([[0, len(sent)], [3, 0]], self._counts.read())

  def testClosesTheOtherEnd(self):
    caller = self._call(self._relay.addresses(0)[1])
    called = self._stack.enter_context(self._listener.accept()[0])
    caller.close()
    self.assertEqual(b"", called.recv(1))

  def testATaskThatDoesNotListenYetCanBeCalledAgain(self):
    address = self._relay.addresses(1)[0]
    self.assertEqual(b"", self._call(address).recv(1))
    host, port = self._silent.split(":")
    late = self._stack.enter_context(socket.create_server((host, int(port))))
    self._call(address).sendall(b"abc")
    end = self._stack.enter_context(late.accept()[0])
    self.assertEqual(b"abc", self._receive(end, 3))
    for _ in range(100):
      if self._counts.read()[1, 0] == 3:
        break
      time.sleep(0.01)
    self.assertAllEqual([[0, 0], [3, 0]], self._counts.read())


if __name__ == "__main__":
  tf.test.main()
