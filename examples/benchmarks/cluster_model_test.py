"""Tests of the computed traffic and times, with numbers computed by hand."""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from examples import autoencoder
from examples.benchmarks import cluster_model
from kfac.python.ops.kfac_utils import schedules

# P = 6 parameters; F = 3^2 + 2^2 = 13 elements of factors.
_SIZES = cluster_model.Sizes(6, [3, 2])
_LAYERS = [cluster_model.Layer(2, 3, 1), cluster_model.Layer(4, 1, 5)]
_MACHINE = cluster_model.Machine(flops=10., bandwidth=8., latency=0.5)


class ServersTest(tf.test.TestCase):

  def _links(self, phase, *args):
    return cluster_model.links("servers", phase, _SIZES, *args)

  def testChiefAloneReadsParametersVelocitiesAndInverses(self):
    # The server sends P + P + F, the chief the new velocities and parameters.
    self.assertAllClose([[0., 4 * 25], [4 * 12, 0.]], self._links("step", 1))

  def testServerSendsTheSumOfTheHelpersGradients(self):
    # The chief gets another P.
    self.assertAllClose(4 * np.array(
        [[0., 31., 6., 6.], [12., 0., 0., 0.],
         [6., 0., 0., 0.], [6., 0., 0., 0.]]), self._links("step", 3))

  def testCovariances(self):
    # Of the chief: P, F before and F after the update.
    self.assertAllClose(
        [[0., 4 * 32], [4 * 13, 0.]], self._links("covariances", 1))
    self.assertAllClose(4 * np.array(
        [[0., 45., 6.], [13., 0., 0.], [13., 0., 0.]]),
                        self._links("covariances", 2))

  def testOnlyTheChiefInverts(self):
    self.assertAllClose(4 * np.array(
        [[0., 78., 0.], [13., 0., 0.], [0., 0., 0.]]),
                        self._links("inverses", 2))
    [[_, read], [written, _]] = cluster_model.links(
        "servers", "inverses", _SIZES, 1, 1, [1])
    self.assertAllClose([4 * 6 * 4, 4 * 4], [read, written])

  def testServersShareEvenly(self):
    one, two = (self._links("step", 2, count) for count in (1, 2))
    self.assertAllClose(one.sum(), two.sum())
    self.assertAllClose(one[0, 1:] / 2, two[0, 2:])
    self.assertAllClose(two[0], two[1])


class CollectivesTest(tf.test.TestCase):

  def testRing(self):
    links = cluster_model.links("collectives", "step", _SIZES, 3)
    # 2 (W - 1) / W P
    self.assertAllClose(4 * 2 * 2 / 3 * 6 * np.array(
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]]), links)
    links = cluster_model.links("collectives", "covariances", _SIZES, 2)
    self.assertAllClose([[0., 4 * 13.], [4 * 13., 0.]], links)
    self.assertAllClose(
        [[0.]], cluster_model.links("collectives", "step", _SIZES, 1))

  def testOwnersSendTheirInverses(self):
    self.assertAllEqual([0, 1], cluster_model.owners(_SIZES, 2))
    self.assertAllClose(
        [[0., 4 * 9.], [4 * 4., 0.]],
        cluster_model.links("collectives", "inverses", _SIZES, 2))
    self.assertAllClose(
        [[0., 0.], [4 * 4., 0.]], cluster_model.links(
            "collectives", "inverses", _SIZES, 2, due=[1]))

  def testTreeOfFour(self):
    found = {(source, rank): cluster_model.broadcast_targets(rank, source, 4)
             for source in range(4) for rank in range(4)}
    self.assertEqual({
        (0, 0): [1, 2], (0, 1): [3],
        (1, 1): [0], (1, 0): [2, 3],
        (2, 2): [0, 1], (2, 0): [3],
        (3, 3): [0, 1], (3, 0): [2],
    }, {key: targets for key, targets in found.items() if targets})

  def testEachReceivesABroadcastOnce(self):
    for count in range(1, 20):
      for source in range(count):
        targets = itertools.chain.from_iterable(
            cluster_model.broadcast_targets(rank, source, count)
            for rank in range(count))
        self.assertEqual(
            [rank for rank in range(count) if rank != source], sorted(targets))


class ModelsTest(tf.test.TestCase):

  def testAutoencoder(self):
    sizes = cluster_model.sizes_of(
        cluster_model.dense_layers(autoencoder.LAYER_SIZES))
    pairs = list(itertools.pairwise(autoencoder.LAYER_SIZES))
    self.assertEqual(sum(a * b + b for a, b in pairs), sizes.parameters)
    self.assertEqual(
        [n for a, b in pairs for n in (a + 1, b)], sizes.factors)

  def testResNet50HasThePublishedSize(self):
    layers = cluster_model.resnet50_layers()
    self.assertLen(layers, 1 + 3 * (3 + 4 + 6 + 3) + 4 + 1)
    sizes = cluster_model.sizes_of(
        layers, cluster_model.RESNET50_NORMALIZATION)
    self.assertEqual("25.6 M", f"{sizes.parameters / 1e6:.1f} M")
    # Table 1 of He et al. 2016: 3.8 10^9 multiply-adds.
    operations = sum(a * g * locations for a, g, locations in layers)
    self.assertBetween(operations, 3.75e9, 3.9e9)
    # Each convolution has a scale and a shift per channel.
    self.assertEqual(cluster_model.RESNET50_NORMALIZATION,
                     2 * sum(layer.outputs for layer in layers[:-1]))

  def testOperations(self):
    found = cluster_model.operations(_LAYERS, 7, fraction=0.5)
    # 2 B a g per product; the first layer has two of them, the second three.
    first, second = 2 * 7 * 6, 2 * 7 * 5 * 4
    self.assertEqual(2 * first + 3 * second, found["gradient"])
    self.assertEqual(
        2 * 6 * (2 + 3) + 2 * 4 * (4 + 1), found["preconditioning"])
    self.assertEqual([16, 54, 128, 2], found["inverses"])
    self.assertAllClose(
        0.5 * (second + 1.25 * 7 * (4 + 9) + 1.25 * 35 * (16 + 1)),
        found["covariances"])


class SimulationTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._simulation = cluster_model.Simulation(_LAYERS, 7, _MACHINE)
    self._work = cluster_model.operations(_LAYERS, 7)

  def testWorkersShareTheGradientButNotPreconditioning(self):
    for way in cluster_model.WAYS:
      time = self._simulation.time(way, "step", 2)
      self.assertAllClose((self._work["gradient"] / 2
                           + self._work["preconditioning"]) / 10., time.compute)

  def testInversesAreSharedWithoutServers(self):
    # Factors of 2, 3, 4 and 1 rows: one worker has the largest.
    self.assertAllClose(
        200. / 10., self._simulation.time("servers", "inverses", 2).compute)
    self.assertAllClose(128. / 10., self._simulation.time(
        "collectives", "inverses", 2).compute)
    self.assertAllClose((54. + 16.) / 10., self._simulation.time(
        "collectives", "inverses", 2, due=[0, 1]).compute)

  def testRoundsOfServersFollowEachOther(self):
    # P = 10, F = 4 + 9 + 16 + 1 = 30. Read by two, sent by one, P + P + F to
    # the chief, and 2 P from it; each round has a request and an answer.
    time = self._simulation.time("servers", "step", 2)
    self.assertAllClose(4 * (20 + 10 + 50 + 20) / 8. + 8 * 0.5, time.traffic)

  def testTrafficOfARing(self):
    time = self._simulation.time("collectives", "step", 2)
    self.assertAllClose(4 * 10 / 8. + 2 * 0.5, time.traffic)
    self.assertEqual(0., self._simulation.time(
        "collectives", "step", 1).traffic)

  def testMeanAndSlowestStep(self):
    schedule = schedules.Schedule(cov_every=2, inv_every=4, shares=2)
    seconds = {phase: sum(self._simulation.time("servers", phase, 2))
               for phase in ("step", "covariances")}
    # The factor of 4 rows costs more than all others together.
    shares = [sum(self._simulation.time("servers", "inverses", 2, due=due))
              for due in ([2], [0, 1, 3])]
    self.assertAllClose(
        seconds["step"] + seconds["covariances"] / 2 + sum(shares) / 4,
        sum(self._simulation.mean_step("servers", schedule, 2)))
    self.assertAllClose(
        seconds["step"] + seconds["covariances"] + max(shares),
        self._simulation.slowest_step("servers", schedule, 2))

  def testSaturation(self):
    # Each worker reads and sends 10 numbers.
    self.assertEqual(1008, self._work["gradient"])
    seconds = 1008 / 10.
    per_worker = 2 * 4 * 10 / 8.
    for servers in (1, 3):
      count = cluster_model.saturating_workers(_LAYERS, 7, _MACHINE, servers)
      self.assertGreaterEqual(count * per_worker / servers, seconds)
      self.assertLess((count - 1) * per_worker / servers, seconds)


if __name__ == "__main__":
  tf.test.main()
