// Reductions over axes and over sliding windows.
//
// A configuration says size, step, iterations as in elementwise.h, and
//   terms              elements of x behind one result
//   input(i, k)        the position of the k-th of them for result i, or -1 for padding
#ifndef SYNTH_LIB_REDUCE_H
#define SYNTH_LIB_REDUCE_H

#include "codes.h"

namespace synth_lib {

// Adds codes: every term has the binary point of the result.
struct Sum {
    template <class C, class X, class Y> static void apply(const X x[C::x_size], int i, Y &y) {
        typedef typename Modular<Layout<Y>::width, Signed<X>::width>::type A;
        typename A::sum_t sum = 0;
    terms:
        for (int k = 0; k < C::terms; k++) {
#pragma HLS UNROLL
            const int from = C::input(i, k);
            if (from >= 0) sum += A::template factor<Signed<X>::width>(x[from]);
        }
        A::store(sum, y);
    }
};

// Every window has at least one element of x, and padding never wins.
template <bool Most> struct Extreme {
    template <class C, class X, class Y> static void apply(const X x[C::x_size], int i, Y &y) {
        // Codes are compared whole, not modulo the width of the result.
        typedef typename Modular<Signed<X>::width, Signed<X>::width>::type A;
        typedef typename A::sum_t S;
        S best = 0;
        bool found = false;
    terms:
        for (int k = 0; k < C::terms; k++) {
#pragma HLS UNROLL
            const int from = C::input(i, k);
            if (from >= 0) {
                const S value = S(A::template factor<Signed<X>::width>(x[from]));
                if (!found || (Most ? best < value : value < best)) best = value;
                found = true;
            }
        }
        A::store(best, y);
    }
};

typedef Extreme<true> Greatest;
typedef Extreme<false> Least;

template <class C, class Op, class X, class Y> void reduce(const X x[C::x_size], Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) Op::template apply<C>(x, i, y[i]);
        }
    }
}

} // namespace synth_lib

#endif
