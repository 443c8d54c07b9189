"""What all C-like targets share: identifiers that no language reserves, comments, literals.

Names of a model are hostile: they never reach generated code as they are. An identifier is made of
the letters and digits of a name and of a number that makes it unique; the name itself appears in
comments only, with everything escaped that could end the comment.
"""

import re
from dataclasses import dataclass, field

__all__ = ["RESERVED", "Names", "comment", "integer_literal", "integer_type", "is_identifier"]

_CPP = """
alignas alignof and and_eq asm assert atomic_cancel atomic_commit atomic_noexcept auto bitand bitor
bool break case catch char char8_t char16_t char32_t class co_await co_return co_yield compl concept
const const_cast consteval constexpr constinit continue decltype default delete do double
dynamic_cast else enum errno explicit export extern false far float for friend goto half huge if
import inline int int8_t int16_t int32_t int64_t interface linux long main module mutable namespace
near new noexcept not not_eq NULL nullptr operator or or_eq override private protected public
reflexpr register reinterpret_cast requires return short signed size_t sizeof static static_assert
static_cast std stderr stdin stdout struct switch synchronized template this thread_local throw true
try typedef typeid typename uint8_t uint16_t uint32_t uint64_t union unix unsigned using virtual
void volatile wchar_t while xor xor_eq
abort abs acos asin atan atan2 atof atoi atol bsearch calloc ceil clock close connect cos cosh div
exit exp fabs fclose floor fmod fopen fork fprintf fputs fread free frexp fseek fwrite getenv index
infinity j0 j1 jn labs ldexp link log log10 malloc memcpy memmove memset modf nan open pause pipe
pow printf puts qsort raise rand read realloc remove rename rindex scanf select send signal sin sinh
sleep socket sprintf sqrt srand stat strcat strchr strcmp strcpy strlen system tan tanh time tolower
toupper truncate unlink wait write y0 y1 yn
"""

_VERILOG = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before
begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class
clocking cmos config const constraint context continue cover covergroup coverpoint cross deassign
default defparam design disable dist do edge else end endcase endchecker endclass endclocking
endconfig endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram
endproperty endsequence endspecify endtable endtask enum event eventually expect export extends
extern final first_match for force foreach forever fork forkjoin function generate genvar global
highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include
initial inout input inside instance int integer interconnect interface intersect join join_any
join_none large let liblist library local localparam logic longint macromodule matches medium
modport module nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or
output package packed parameter pmos posedge primitive priority program property protected pull0
pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence
rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal
showcancelled signed small soft solve specify specparam static string strong strong0 strong1 struct
super supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout time
timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union
unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait wait_order
wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""

_VHDL = """
abs access after alias all and architecture array assert assume assume_guarantee attribute begin
block body buffer bus case component configuration constant context cover default disconnect downto
else elsif end entity exit fairness file for force function generate generic group guarded if impure
in inertial inout is label library linkage literal loop map mod nand new next nor not null of on
open or others out package parameter port postponed procedure process property protected pure range
record register reject release rem report restrict restrict_guarantee return rol ror select sequence
severity shared signal sla sll sra srl strong subtype then to transport type unaffected units until
use variable view vmode vprop vunit wait when while with xnor xor
"""

_TCL = """
after append apply array auto_execok auto_import auto_load bgerror binary break catch cd chan clock
close concat continue coroutine dict else elseif encoding eof error eval exec exit expr fblocked
fconfigure fcopy file fileevent flush for foreach format gets glob global history if incr info
interp join lappend lassign lindex linsert list llength lmap load lrange lrepeat lreplace lreverse
lsearch lset lsort namespace open package pid proc puts pwd read regexp regsub rename return scan
seek set socket source split string subst switch tailcall tell then throw time trace try unknown
unload unset update uplevel upvar variable vwait while yield yieldto zlib
"""

RESERVED: frozenset[str] = frozenset(
    word.lower() for text in (_CPP, _VERILOG, _VHDL, _TCL) for word in text.split()
)
"""Words of C++, Verilog, VHDL and Tcl, and of the C library, in lower case: VHDL ignores case."""

_VENDOR = ("ap_", "synth_lib")
"""What names of the vendor's types and of our kernels begin with."""

_IDENTIFIER = re.compile(r"[A-Za-z]([A-Za-z0-9]|_(?=[A-Za-z0-9])){0,63}")


def is_identifier(name: str) -> bool:
    """Say whether a name may stand in C++, Verilog, VHDL and Tcl as it is."""
    word = name.lower()
    free = word not in RESERVED and not word.startswith(_VENDOR)
    return free and _IDENTIFIER.fullmatch(name) is not None


def comment(text: str) -> str:
    """Return text that can stand behind ``//``, and between quotes, whatever it held."""
    return "".join(c if " " <= c <= "~" and c not in '\\?"' else f"<U+{ord(c):04X}>" for c in text)


_DERIVED = ("_t", "_config", "_values")
"""Endings of what printers derive from identifiers: types, configurations, loaded constants."""


@dataclass
class Names:
    """Gives each name of a model an identifier of its own.

    Identifiers differ in more than case, and none ends as the names do that printers derive from
    them.
    """

    avoid: frozenset[str] = frozenset()
    _taken: set[str] = field(default_factory=set)

    def port(self, name: str) -> str:
        """Return the name itself where it is a free identifier, else a numbered one."""
        if is_identifier(name) and self._take(name):
            return name
        return self.numbered(name, 0)

    def numbered(self, name: str, number: int) -> str:
        """Return the letters and digits of a name with a number behind them."""
        base = re.sub(r"[^A-Za-z0-9]+", "_", name[:200]).strip("_")[:32].strip("_")
        if not base or not base[0].isalpha() or base.lower().startswith(_VENDOR):
            base = f"v_{base}".strip("_")
        while not self._take(f"{base}_{number}"):
            base += "x"
        return f"{base}_{number}"

    def _take(self, identifier: str) -> bool:
        key = identifier.lower()
        derived = key.endswith(_DERIVED) or key.startswith(_VENDOR)
        if derived or key in self._taken or key in self.avoid:
            return False
        self._taken.add(key)
        return True


def integer_type(width: int, signed: bool) -> str:
    """Return the smallest C type of at least `width` bits, at most 64."""
    assert width <= 64, width
    name = next(
        t
        for t, bits in (("char", 8), ("short", 16), ("int", 32), ("long long", 64))
        if width <= bits
    )
    if not signed:
        return f"unsigned {name}"
    return "signed char" if name == "char" else name


def integer_literal(value: int) -> str:
    """Return a C literal of a value of at most 64 bits."""
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    if value >= 1 << 63:
        return f"{value}ULL"
    return str(value) if -(1 << 31) < value < 1 << 31 else f"{value}LL"
