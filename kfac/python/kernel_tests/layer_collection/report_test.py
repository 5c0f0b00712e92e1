"""Tests of the report of auto_register_layers."""

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import report

ROWS = (
    report.Row(("v:0", "b:0"), "dense", "kron", 1, ("x:0",), ("y:0",), None,
               ("MatMul",)),
    report.Row(("long/name:0",), "scale", "full", 3, ("(derivative)",) * 3,
               ("a:0", "b:0", "c:0"), None, ("Mul", "Mul_1", "Mul_2")),
    report.Row(("s:0",), "shift", "full", 1, (), ("d:0",)),
    report.Row(("t:0", "u:0"), "generic", "diagonal", reason="are odd",
               ops=("A", "B", "C", "D")),
)
TEXT = """\
variables    kind     approximation  uses  inputs               outputs
v:0, b:0     dense    kron           1     x:0                  y:0
long/name:0  scale    full           3     (derivative), .. (3)  a:0, .. (3)
s:0          shift    full           1     -                    d:0
t:0, u:0     generic  diagonal       -     -                    -
t:0, u:0 are odd (ops A, B, C, .. (4)): registered as generic, by its gradient \
alone."""


class ReportTest(tf.test.TestCase):

  def testIsASequenceOfRows(self):
    found = report.Report(ROWS)
    self.assertLen(found, 4)
    self.assertEqual(ROWS[1], found[1])
    self.assertEqual(list(ROWS), list(found))
    self.assertEqual(ROWS[3:], found.generic)
    self.assertIn(ROWS[2], found)

  def testText(self):
    # Columns are as wide as their longest cell.
    squeezed = [" ".join(line.split()) for line in TEXT.splitlines()]
    lines = str(report.Report(ROWS)).splitlines()
    self.assertEqual(squeezed, [" ".join(line.split()) for line in lines])
    starts = {line.index(word) for line, word in zip(
        lines, ("uses", "1 ", "3 "), strict=False)}
    self.assertLen(starts, 1)
    self.assertEqual(lines, [line.rstrip() for line in lines])

  def testEmpty(self):
    self.assertEqual("variables  kind  approximation  uses  inputs  outputs",
                     str(report.Report([])))


if __name__ == "__main__":
  tf.test.main()
