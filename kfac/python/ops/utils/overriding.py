"""Which class defines a member: what a user's subclass has redefined."""

from __future__ import annotations

from typing import Any


def _owners(instance):
  return [instance, *type(instance).__mro__]


def _rank(instance, member):
  """Returns the index of the owner of a member, or None without one."""
  return next((rank for rank, owner in enumerate(_owners(instance))
               if member in getattr(owner, "__dict__", {})), None)


def definer(instance: Any, member: str) -> Any:
  """Returns the object or the class that defines a member of an object.

  Args:
    instance: The object.
    member: Name of the member.

  Returns:
    The object itself, one of its classes, or None if none of them defines it.
  """
  rank = _rank(instance, member)
  return None if rank is None else _owners(instance)[rank]


def is_up_to_date(instance: Any, member: str, *others: str) -> bool:
  """Whether a member knows what others do, as none was redefined without it.

  Args:
    instance: The object.
    member: Name of the member.
    *others: Names of members that a subclass may redefine without `member`.

  Returns:
    False if there is no such member, or if a class that derives from its class
    defines one of the others.
  """
  rank = _rank(instance, member)
  others_ranks = [_rank(instance, other) for other in others]
  return rank is not None and all(
      rank <= other for other in others_ranks if other is not None)
