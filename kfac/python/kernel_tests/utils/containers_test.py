"""Tests of the containers in utils."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import utils


class SequenceDictTest(tf.test.TestCase):

  def testReadsOneKeyOrSequenceOfKeys(self):
    dct = utils.SequenceDict([("a", 1), ("b", 2)])
    self.assertEqual(1, dct["a"])
    self.assertEqual([2, 1, 2], dct[["b", "a", "b"]])
    self.assertEqual([2, 1, 2], dct["b", "a", "b"])
    self.assertEqual([2, [1, 2]], dct[["b", ("a", "b")]])
    self.assertEqual([], dct[[]])
    self.assertEqual([], dct[()])
    with self.assertRaises(KeyError):
      dct["c"]
    for keys in (["a", "c"], ("a", "c")):
      with self.assertRaises(KeyError):
        dct[keys]

  def testWritesOneKeyOrSequenceOfKeys(self):
    dct = utils.SequenceDict({"a": 1})
    dct["b"] = [5, 6]
    dct[["c", "a"]] = (value for value in (7, 8))
    self.assertEqual([("a", 8), ("b", [5, 6]), ("c", 7)], list(dct.items()))
    dct["a", "b"] = [1, 2]
    dct[("d", ["e", "f"])] = [3, (4, 5)]
    self.assertEqual(
        [("a", 1), ("b", 2), ("c", 7), ("d", 3), ("e", 4), ("f", 5)],
        list(dct.items()))

  def testWritesNothingUnlessThereIsOneValueForEachKey(self):
    dct = utils.SequenceDict()
    with self.assertRaisesRegex(
        ValueError, "^val_or_vals must have one value for each of 2 keys, "
        r"got 3\.$"):
      dct["a", "b"] = [1, 2, 3]
    self.assertEqual([], list(dct.items()))

  def testDoesNotChangeItsSource(self):
    source = {"a": 1}
    dct = utils.SequenceDict(source)
    dct["a"] = 2
    self.assertEqual({"a": 1}, source)
    self.assertEqual({"a": 2}, dct._dict)


class SetdefaultTest(tf.test.TestCase):

  def testMakesValueOnlyOnce(self):
    calls = []
    dct = {"none": None}

    def make():
      calls.append(1)
      return len(calls)

    self.assertEqual(1, utils.setdefault(dct, "a", make))
    self.assertEqual(1, utils.setdefault(dct, "a", make))
    self.assertIsNone(utils.setdefault(dct, "none", make))
    self.assertEqual({"none": None, "a": 1}, dct)


class EnsureSequenceTest(tf.test.TestCase):

  def testWrapsAllButTuplesAndLists(self):
    for sequence in ((), [], (1, 2), [1, 2]):
      self.assertIs(sequence, utils.ensure_sequence(sequence))
    for single in (1, "ab", None, {"a": 1}):
      self.assertEqual((single,), utils.ensure_sequence(single))


class PartitionedTensorTest(tf.test.TestCase):

  def testConvertsToJoinedParts(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        parts = [np.arange(6.).reshape(3, 2).astype(dtype),
                 np.arange(8.).reshape(4, 2).astype(dtype)]
        tensor = utils.PartitionedTensor([tf.constant(p) for p in parts])
        whole = np.concatenate(parts)
        joined = tf.convert_to_tensor(tensor)
        self.assertEqual(dtype, joined.dtype)
        self.assertEqual(dtype, tensor.dtype)
        self.assertEqual([7, 2], joined.shape.as_list())
        values = sess.run({
            "joined": joined,
            "product": tf.matmul(tensor, tensor, transpose_a=True),
            "dtype": tf.convert_to_tensor(tensor, dtype=dtype),
            "method": tensor.as_tensor(dtype=dtype, name="whole"),
            "row": tensor[3],
            "slice": tensor[2:5, :1],
        })
        self.assertAllEqual(whole, values["joined"])
        self.assertAllEqual(whole, values["dtype"])
        self.assertAllEqual(whole, values["method"])
        self.assertAllEqual(whole.T @ whole, values["product"])
        self.assertAllEqual(whole[3], values["row"])
        self.assertAllEqual(whole[2:5, :1], values["slice"])

  def testAddsNoOpUntilConverted(self):
    with tf.Graph().as_default() as graph:
      parts = [tf.zeros([1, 2]), tf.zeros([3, 2])]
      before = len(graph.get_operations())
      tensor = utils.PartitionedTensor(parts)
      str(tensor), tensor.shape, tensor.dtype, tensor.device, hash(tensor)
      self.assertLen(graph.get_operations(), before)
      self.assertEqual("whole", tensor.as_tensor(name="whole").op.name)

  def testShapeAddsUpAxisZero(self):
    with tf.Graph().as_default():
      tensor = utils.PartitionedTensor(
          [tf.placeholder(tf.float32, shape)
           for shape in ([3, None, 5], [4, 2, None])])
      self.assertEqual([7, 2, 5], tensor.shape.as_list())
      self.assertEqual([7, 2, 5], tensor.get_shape().as_list())
      tensor = utils.PartitionedTensor(
          [tf.zeros([3, 2]), tf.placeholder(tf.float32, [None, 2])])
      self.assertEqual([None, 2], tensor.shape.as_list())
      tensor = utils.PartitionedTensor(
          [tf.zeros([3, 2]), tf.placeholder(tf.float32)])
      self.assertEqual([None, 2], tensor.shape.as_list())

  def testEqualWhenPartsAreTheSameObjects(self):
    with tf.Graph().as_default():
      a, b, c = (tf.zeros([2]) for _ in range(3))
      tensor = utils.PartitionedTensor([a, b])
      same = utils.PartitionedTensor((a, b))
      self.assertEqual(tensor, same)
      self.assertFalse(tensor != same)
      self.assertEqual(hash(tensor), hash(same))
      self.assertEqual("factor", {tensor: "factor"}[same])
      for other in ([a, c], [b, a], [a], [a, b, b]):
        self.assertNotEqual(tensor, utils.PartitionedTensor(other))
      self.assertNotEqual(tensor, a)
      self.assertNotEqual(tensor, "tensor")

  def testHashesWhereTensorsCannotBeHashed(self):
    class Unhashable:
      shape = tf.TensorShape([2])
      dtype = tf.float32
      __hash__ = None

      def __eq__(self, other):
        raise TypeError("compared")

    parts = [Unhashable(), Unhashable()]
    tensor = utils.PartitionedTensor(parts)
    self.assertEqual(1, {tensor: 1}[utils.PartitionedTensor(parts)])

  def testIsOnTheDeviceOfItsFirstPart(self):
    with tf.Graph().as_default():
      with tf.device("/cpu:0"):
        a = tf.zeros([2])
      with tf.device("/cpu:1"):
        b = tf.zeros([2])
      self.assertEqual(a.device, utils.PartitionedTensor([a, b]).device)
      self.assertEqual(b.device, utils.PartitionedTensor([b, a]).device)

  def testReprNamesItsParts(self):
    with tf.Graph().as_default():
      tensor = utils.PartitionedTensor(
          [tf.zeros([2], name="a"), tf.zeros([3], name="b")])
      for text in ("a:0", "b:0", "(5,)", "float32"):
        self.assertIn(text, str(tensor))
        self.assertIn(text, repr(tensor))

  def testRejectsPartsThatCannotBeJoined(self):
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError, r"^tensors must hold at least one tensor, got \[\]\.$"):
        utils.PartitionedTensor([])
      with self.assertRaisesRegex(
          ValueError, "^tensors must have one dtype, got "
          r"\['float32', 'float64'\]\.$"):
        utils.PartitionedTensor([tf.zeros([2]), tf.zeros([2], tf.float64)])
      for shapes in (([2, 3], [2, 4]), ([2, 3], [2]), ([], []), ([2], []),
                     ([2, 3], [2, 3, 1])):
        with self.assertRaisesRegex(
            ValueError,
            r"^tensors must have one shape except for axis 0, got \[.*\]\.$"):
          utils.PartitionedTensor([tf.zeros(shape) for shape in shapes])

  def testRejectsAnotherDtypeAndReferences(self):
    with tf.Graph().as_default():
      tensor = utils.PartitionedTensor([tf.zeros([2])])
      with self.assertRaisesRegex(
          ValueError, "^dtype must be None or 'float32', got 'float64'\\.$"):
        tensor.as_tensor(dtype=tf.float64)
      with self.assertRaisesRegex(
          ValueError, "^as_ref must be False, got True\\.$"):
        tensor.as_tensor(as_ref=True)

  def testDepthOfOneHotVectors(self):
    with tf.Graph().as_default():
      parts = [tf.constant([1, 2]), tf.constant([0])]
      whole = utils.PartitionedTensor(parts)
      self.assertIsNone(whole.one_hot_depth)
      for part in parts:
        part.one_hot_depth = 5
      self.assertEqual(5, whole.one_hot_depth)
      parts[0].one_hot_depth = 4
      with self.assertRaisesRegex(
          ValueError, r"^tensors must have one one_hot_depth, got \[4, 5\]\.$"):
        whole.one_hot_depth  # noqa: B018


if __name__ == "__main__":
  tf.test.main()
