// Codes of fixed-point values: the integers behind ap_fixed, and the integers that sums are made in.
//
// The value of a code is code * 2^-frac. Sums and products need no binary point: kernels add codes
// and place the point once, in the type of the result.
//
// A sum is kept modulo 2^W, W being the width of its result. In synthesis that is an ap_int<W>, and
// each product has exactly the width of its factors. In C simulation a machine integer of 32 or 64
// bits takes its place: reducing modulo 2^W commutes with + and *, so the result is the same bit for
// bit, overflow included. -DSYNTH_VENDOR_INTEGERS keeps the vendor's integers in C simulation too.
#ifndef SYNTH_LIB_CODES_H
#define SYNTH_LIB_CODES_H

#include "ap_fixed.h"
#include "ap_int.h"

namespace synth_lib {

// Width and sign of a fixed-point type, and the integer type of its codes.
template <class T> struct Layout;

template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> struct Layout<ap_fixed<W, I, Q, O, N> > {
    static const int width = W;
    static const bool is_signed = true;
    typedef ap_int<W> code_t;
};

template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> struct Layout<ap_ufixed<W, I, Q, O, N> > {
    static const int width = W;
    static const bool is_signed = false;
    typedef ap_uint<W> code_t;
};

template <class T> inline typename Layout<T>::code_t code(const T &x) {
    typename Layout<T>::code_t bits;
    bits.range(Layout<T>::width - 1, 0) = x.range(Layout<T>::width - 1, 0);
    return bits;
}

template <class Integer, class T> inline void set_code(T &x, const Integer &bits) {
    ap_uint<Layout<T>::width> low = bits;
    x.range(Layout<T>::width - 1, 0) = low.range(Layout<T>::width - 1, 0);
}

// The smallest machine integer of at least W bits.
template <bool Small> struct Machine {
    typedef int type;
};
template <> struct Machine<false> {
    typedef long long type;
};

// Arithmetic modulo 2^W on the vendor's integers: what is synthesised.
template <int W, bool OnMachine> struct Arithmetic {
    typedef ap_int<W> sum_t;
    // A factor of `Width` bits, one more than its own where it is unsigned.
    template <int Width> struct Factor {
        typedef ap_int<Width> type;
    };
    template <int Width, class T> static ap_int<Width> factor(const T &x) { return code(x); }
    template <class T> static void store(const sum_t &sum, T &y) { set_code(y, sum); }
};

// The same on machine integers: C simulation of results of at most 64 bits.
template <int W> struct Arithmetic<W, true> {
    typedef typename Machine<(W <= 32)>::type sum_t;
    template <int Width> struct Factor {
        typedef sum_t type;
    };
    template <int Width, class T> static sum_t factor(const T &x) {
        return (sum_t)x.bits_to_uint64();
    }
    template <class T> static void store(sum_t sum, T &y) { y.setBits((ap_ulong)(long long)sum); }
};

// The factor behind a constant's code, or behind a computed value.
template <class A, int Width, class Code>
inline typename A::template Factor<Width>::type second(const Code &value) {
    return (typename A::template Factor<Width>::type)value;
}
template <class A, int Width, int W, int I, ap_q_mode Q, ap_o_mode O, int N>
inline typename A::template Factor<Width>::type second(const ap_fixed<W, I, Q, O, N> &value) {
    return A::template factor<Width>(value);
}
template <class A, int Width, int W, int I, ap_q_mode Q, ap_o_mode O, int N>
inline typename A::template Factor<Width>::type second(const ap_ufixed<W, I, Q, O, N> &value) {
    return A::template factor<Width>(value);
}

#if defined(__SYNTHESIS__) || defined(SYNTH_VENDOR_INTEGERS)
static const int machine_width = 0;
#else
static const int machine_width = 64;
#endif

// Arithmetic modulo 2^W on factors of at most `Width` signed bits. (An unsigned value of 64 bits
// counts 65, and still fits: nothing but its residue is used.)
template <int W, int Width> struct Modular {
    typedef Arithmetic<W, (W <= machine_width && Width <= machine_width + 1)> type;
};

// The signed width of a type's codes.
template <class T> struct Signed {
    static const int width = Layout<T>::width + (Layout<T>::is_signed ? 0 : 1);
};

// Move a code into another type of value, `shift` bits up. Both types count in binary fractions;
// where the value fits, this is assignment.
template <int Shift, class X, class Y> inline void move(const X &x, Y &y) {
#pragma HLS INLINE
    typedef typename Modular<Layout<Y>::width, Signed<X>::width>::type A;
    A::store(typename A::sum_t(A::template factor<Signed<X>::width>(x)) << Shift, y);
}

// A constant that takes part in arithmetic of fixed-point values: codes become an array of T.
template <int Size, class Code, class T> void load(const Code codes[Size], T y[Size]) {
    typedef typename Modular<Layout<T>::width, Signed<T>::width>::type A;
constants:
    for (int i = 0; i < Size; i++) {
#pragma HLS UNROLL
        A::store(typename A::sum_t(second<A, Signed<T>::width>(codes[i])), y[i]);
    }
}

} // namespace synth_lib

#endif
