"""Cuts on events: an expression of branches, or a function of them.

Expressions are Python's, as uproot's cuts are, and work on ROOT's trees and RNTuples alike. They
are walked over and never executed: names of branches, numbers, arithmetic, comparisons, ``&``,
``|``, ``~`` (or ``and``, ``or``, ``not``), and a few functions.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from synth.errors import DataError, SettingsError
from synth.exact import Array

__all__ = ["Cut", "Expression", "evaluated"]

Cut: TypeAlias = str | Callable[[Mapping[str, Array]], Array]

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.Mod: operator.mod,
        ast.Pow: operator.pow,
        ast.BitAnd: np.logical_and,
        ast.BitOr: np.logical_or,
        ast.And: np.logical_and,
        ast.Or: np.logical_or,
        ast.Not: np.logical_not,
        ast.Invert: np.logical_not,
        ast.USub: operator.neg,
        ast.UAdd: operator.pos,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
    }
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": np.abs,
        "cos": np.cos,
        "cosh": np.cosh,
        "exp": np.exp,
        "isfinite": np.isfinite,
        "log": np.log,
        "max": np.maximum,
        "min": np.minimum,
        "sin": np.sin,
        "sinh": np.sinh,
        "sqrt": np.sqrt,
        "tan": np.tan,
    }
)


class Expression:
    """A cut that was written down.

    Attributes
    ----------
    text
        As given.
    names
        The branches that it reads; one with dots, such as "jet.pt", is one name.

    Raises
    ------
    SettingsError
        It is no expression of this kind.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise SettingsError(f"the cut {text!r} is no expression: {error}") from error
        self.names: list[str] = []
        self._check(self._tree)

    def __call__(self, branches: Mapping[str, Array]) -> Array:
        """Return the value of the expression."""
        with np.errstate(all="ignore"):
            return np.asarray(self._value(self._tree, branches))

    def _check(self, node: ast.expr) -> None:
        name = _dotted(node)
        if name is not None:
            if name not in self.names:
                self.names.append(name)
            return
        if not _known(node):
            raise self._unknown(node)
        for part in node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self._check(part)

    def _unknown(self, node: ast.AST) -> SettingsError:
        part = ast.unparse(node)
        return SettingsError(
            f"the cut {self.text!r} holds {part!r}, which is not understood: use branches, "
            f"numbers, arithmetic, comparisons, & | ~, and {', '.join(_FUNCTIONS)}; or give a "
            "function"
        )

    def _value(self, node: ast.AST, branches: Mapping[str, Array]) -> Any:
        match node:
            case ast.Constant(value=number):
                return number
            case ast.BinOp(op=op, left=left, right=right):
                operands = self._value(left, branches), self._value(right, branches)
                return _OPERATORS[type(op)](*operands)
            case ast.UnaryOp(op=op, operand=operand):
                return _OPERATORS[type(op)](self._value(operand, branches))
            case ast.BoolOp(op=op, values=values):
                parts = [self._value(value, branches) for value in values]
                return reduce(_OPERATORS[type(op)], parts)
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [self._value(value, branches) for value in (left, *others)]
                pairs = zip(ops, values[:-1], values[1:], strict=True)
                return reduce(np.logical_and, [_OPERATORS[type(op)](a, b) for op, a, b in pairs])
            case ast.Call(func=ast.Name(id=function), args=args):
                return _FUNCTIONS[function](*[self._value(value, branches) for value in args])
        name = _dotted(node)
        assert name is not None
        return branches[name]


def _known(node: ast.expr) -> bool:
    """Say whether a part of an expression is one of those that are understood."""
    match node:
        case ast.Constant(value=number):
            return isinstance(number, int | float)
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.BoolOp(op=op):
            return type(op) in _OPERATORS
        case ast.Compare(ops=ops):
            return all(type(op) in _OPERATORS for op in ops)
        case ast.Call(func=ast.Name(id=function), keywords=[]):
            return function in _FUNCTIONS
    return False


def _dotted(node: ast.AST) -> str | None:
    """Return the name that a name or a chain of attributes spells."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            before = _dotted(value)
            return None if before is None else f"{before}.{attr}"
    return None


def evaluated(cut: Callable[[Mapping[str, Array]], Any], branches: Mapping[str, Array]) -> Array:
    """Return which events a cut lets through: [events] bool.

    Raises
    ------
    DataError
        The cut gives no truth value an event.
    """
    events = len(next(iter(branches.values())))
    found = np.asarray(cut(branches))
    name = repr(cut.text) if isinstance(cut, Expression) else getattr(cut, "__name__", repr(cut))
    if found.shape != (events,) or found.dtype.kind != "b":
        raise DataError(
            f"the cut {name} gives {found.dtype} of shape {found.shape} for {events} events; it "
            "must give one truth value an event (of a vector branch, compare one element, or count)"
        )
    return found
