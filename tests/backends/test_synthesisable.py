"""Kernels and generated firmware hold nothing that an HLS compiler refuses, as libclang reads them.

No HLS compiler is needed for this: no allocation, recursion, unbounded loops, virtual calls, or
floating point. What Vitis makes of the code is another matter, and not shown here.
"""

import functools
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from clang.cindex import Cursor, CursorKind, Index, TranslationUnit, TypeKind

from backends.vitis import emit
from backends.vitis.emit import library
from projects.tools import require_compiler
from projects.vendored import ap_types_files
from projects.write import write_files
from tests.csim_batch import SETTINGS
from tests.typed_examples import examples

HOST_ONLY = {"batch.h", "golden.h", "trace.h", "words.h"}
FLOATS = {TypeKind.FLOAT, TypeKind.DOUBLE, TypeKind.LONGDOUBLE, TypeKind.HALF, TypeKind.FLOAT128}
ALLOCATORS = {"malloc", "calloc", "realloc", "free", "alloca"}
UNBOUNDED = {CursorKind.WHILE_STMT, CursorKind.DO_STMT, CursorKind.GOTO_STMT}
UNRESOLVED = {CursorKind.TEMPLATE_NON_TYPE_PARAMETER, CursorKind.OVERLOADED_DECL_REF}
FUNCTIONS = {CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD, CursorKind.FUNCTION_TEMPLATE}


@functools.cache
def system_includes() -> tuple[str, ...]:
    """The directories in which the machine's compiler finds its headers."""
    command = [require_compiler(), "-E", "-x", "c++", "-v", "-"]
    text = subprocess.run(command, input="", capture_output=True, text=True, check=True).stderr
    lines = text.split("search starts here:\n")[-1].split("End of search list")[0].splitlines()
    return tuple(f"-isystem{line.strip()}" for line in lines)


def parse(path: Path, flags: Sequence[str] = ()) -> TranslationUnit:
    arguments = ["-std=c++14", "-xc++", "-nostdinc", "-nostdinc++", *system_includes(), *flags]
    unit = Index.create().parse(str(path), args=arguments)
    errors = [str(d) for d in unit.diagnostics if d.severity >= 3]
    assert not errors, errors[:3]
    return unit


def violations(unit: TranslationUnit, folder: Path) -> list[str]:
    """Say what, below `folder`, cannot be synthesised."""
    found: list[str] = []
    calls: dict[str, set[str]] = {}
    for cursor in own(unit.cursor, folder):
        found += [f"{what} at {place(cursor)}" for what in wrong_with(cursor)]
        if cursor.kind in FUNCTIONS and cursor.is_definition():
            calls.setdefault(cursor.spelling, set()).update(called(cursor))
    return found + [f"recursion of {name}" for name in calls if name in reached(name, calls)]


def own(cursor: Cursor, folder: Path) -> Iterator[Cursor]:
    """Walk what stands in files of the folder, the vendor's and the host's left out."""
    for child in cursor.get_children():
        file = child.location.file
        if file is None:
            continue
        path = Path(file.name).resolve()
        ours = folder.resolve() in path.parents and "ap_types" not in path.parts
        if ours and path.name not in HOST_ONLY:
            yield child
            yield from child.walk_preorder()


def wrong_with(cursor: Cursor) -> Iterator[str]:
    kind = cursor.kind
    if kind in (CursorKind.CXX_NEW_EXPR, CursorKind.CXX_DELETE_EXPR):
        yield "allocation"
    if kind is CursorKind.CALL_EXPR and cursor.spelling in ALLOCATORS:
        yield "allocation"
    if kind in UNBOUNDED:
        yield "a loop without a constant bound"
    if kind is CursorKind.FOR_STMT and not is_bounded(cursor):
        yield "a loop without a constant bound"
    if kind is CursorKind.CXX_METHOD and cursor.is_virtual_method():
        yield "a virtual call"
    if kind is CursorKind.FLOATING_LITERAL or cursor.type.get_canonical().kind in FLOATS:
        yield "floating point"


def is_bounded(loop: Cursor) -> bool:
    """Whether a loop is ``for (int i = ...; i < constant; i++)`` with nothing else moving i."""
    start, condition, step, body = (*loop.get_children(), None, None, None)[:4]
    if start is None or condition is None or step is None or body is None:
        return False
    words = [token.spelling for token in condition.get_tokens()]
    variables = [c.spelling for c in start.walk_preorder() if c.kind is CursorKind.VAR_DECL]
    # Not the kind of expression: `<` on what depends on a template argument could be a call.
    if len(variables) != 1 or words[:2] != [variables[0], "<"] or "(" in words:
        return False
    if [token.spelling for token in step.get_tokens()] != [variables[0], "++"]:
        return False
    return is_constant(condition, variables[0]) and not moves(body, variables[0])


def is_constant(condition: Cursor, variable: str) -> bool:
    """Whether all but the loop's variable is a literal, a constant or a template's member."""
    for cursor in condition.walk_preorder():
        target = cursor.referenced
        if cursor.kind is not CursorKind.DECL_REF_EXPR:
            continue
        if cursor.spelling == variable:
            continue
        # What depends on a template argument is resolved when it is used, to a constant there.
        if target is None or target.kind in UNRESOLVED:
            continue
        if not target.type.is_const_qualified():
            return False
    return True


def moves(body: Cursor, variable: str) -> bool:
    """Whether a body assigns to the variable of its loop."""
    changing = (
        CursorKind.UNARY_OPERATOR,
        CursorKind.BINARY_OPERATOR,
        CursorKind.COMPOUND_ASSIGNMENT_OPERATOR,
    )
    for cursor in body.walk_preorder():
        if cursor.kind in changing:
            words = [token.spelling for token in cursor.get_tokens()]
            if {f"{words[0]}{words[1]}", f"{words[-2]}{words[-1]}"} & {
                f"{variable}++", f"{variable}--", f"++{variable}", f"--{variable}",
                f"{variable}=", f"{variable}+=", f"{variable}-=",
            }:  # fmt: skip
                return True
    return False


def called(function: Cursor) -> set[str]:
    """The names that a function's body refers to as functions: overloads and templates included."""
    kinds = (CursorKind.CALL_EXPR, CursorKind.DECL_REF_EXPR, CursorKind.OVERLOADED_DECL_REF)
    return {c.spelling for c in function.walk_preorder() if c.kind in kinds and c.spelling}


def reached(name: str, calls: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(calls[name])
    while waiting:
        other = waiting.pop()
        if other in calls and other not in seen:
            seen.add(other)
            waiting += calls[other]
    return seen


def place(cursor: Cursor) -> str:
    return f"{Path(cursor.location.file.name).name}:{cursor.location.line}"


@pytest.mark.parametrize("reuse", [1, 3], ids=["unrolled", "shared"])
def test_kernels_and_firmware_are_synthesisable(reuse: int, tmp_path: Path) -> None:
    # All examples in one unit, so that the vendor's headers are read once.
    lines = []
    for number, graph in enumerate(examples().values()):
        settings = replace(SETTINGS, name=f"g{number}", reuse_factor=reuse)
        write_files(emit(graph, settings).files, tmp_path / settings.name)
        lines.append(f'#include "{settings.name}/firmware/{settings.name}.cpp"\n')
    write_files(ap_types_files(), tmp_path / "ap_types")
    write_files({"all.cpp": "".join(lines)}, tmp_path)
    flags = [f"-I{tmp_path / 'ap_types'}", "-DSYNTH_VENDOR_INTEGERS"]
    assert violations(parse(tmp_path / "all.cpp", flags), tmp_path) == []


KERNEL = """
template <int N> int good(const int (&x)[N]) {
    const int size = N; int sum = 0;
    for (int i = 0; i < N; i++) sum += x[i];
    for (int i = 0; i < size; i++) sum -= x[i];
    return sum;
}
"""
INJECTED = {
    "int *f() { return new int; }": "allocation",
    "void f(int *x) { delete x; }": "allocation",
    'extern "C" void *malloc(unsigned long); void *f() { return malloc(4); }': "allocation",
    "int f(int n) { while (n > 0) n--; return n; }": "a loop without a constant bound",
    "int f(int n) { do n--; while (n > 0); return n; }": "a loop without a constant bound",
    "int f(int n) { int s = 0; for (int i = 0; i < n; i++) s++; return s; }": "a loop without",
    "int g(); int f() { for (int i = 0; i < g(); i++) {} return 0; }": "a loop without",
    "int f() { for (;;) {} }": "a loop without a constant bound",
    "int f() { for (int i = 0; i < 4; i++) i = 0; return 0; }": "a loop without a constant bound",
    "int f() { for (int i = 0; i < 4; i++) { i--; } return 0; }": "a loop without a constant bound",
    "struct S { virtual int f() { return 1; } };": "a virtual call",
    "int f(int n) { return n ? f(n - 1) : 0; }": "recursion of f",
    "int g(int); int f(int n) { return g(n); } int g(int n) { return f(n); }": "recursion of f",
    "template <class T> int f(T n) { return n ? f(n - 1) : 0; }": "recursion of f",
    "int f(int n) { return n * 0.5; }": "floating point",
    "double f(int n) { return n; }": "floating point",
    "typedef float real; int f(int n) { real x = n; return x; }": "floating point",
}


@pytest.mark.parametrize("text", INJECTED)
def test_the_check_can_fail(text: str, tmp_path: Path) -> None:
    path = tmp_path / "kernel.cpp"
    path.write_text(KERNEL)
    assert violations(parse(path), tmp_path) == []
    path.write_text(KERNEL + text)
    assert any(INJECTED[text] in found for found in violations(parse(path), tmp_path))


def test_all_kernels_are_reached() -> None:
    kernels = ("codes", "elementwise", "movement", "products", "reduce", "table", "trees")
    included = {f"{kernel}.h" for kernel in kernels}
    assert set(library()) - HOST_ONLY == included
