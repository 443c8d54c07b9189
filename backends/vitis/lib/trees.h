// Tree ensembles: comparisons, votes of trees, and adder trees that grow by a bit a level.
//
// A forest F is printed for each layer of trees. It says
//   size, step, iterations         rows in all, in one iteration, iterations (a cycle each)
//   features, keys, slots, outputs
//   ask(x, k)                      answers every comparison of the codes of one row, once
//   vote(k, leaf)                  selects the leaf of each tree, ordered by output
//   sum(leaf, y)                   adds them up, in one adder tree an output
#ifndef SYNTH_LIB_TREES_H
#define SYNTH_LIB_TREES_H

#include "codes.h"

namespace synth_lib {

// An integer of so many bits: the vendor's, or a machine integer that holds it.
template <bool IsSigned, int W, bool OnMachine> struct Number {
    typedef ap_int<W> type;
};
template <int W> struct Number<false, W, false> {
    typedef ap_uint<W> type;
};
template <bool IsSigned, int W> struct Number<IsSigned, W, true> {
    typedef typename Machine<(W + !IsSigned <= 32)>::type type;
};

// One level of an adder tree: half as many numbers, each a bit wider.
template <int N, class X, class Y> void add_pairs(const X x[N], Y y[(N + 1) / 2]) {
#pragma HLS INLINE
pairs:
    for (int i = 0; i < N / 2; i++) {
#pragma HLS UNROLL
        y[i] = Y(x[2 * i]) + Y(x[2 * i + 1]);
    }
    if (N % 2) y[N / 2] = x[N - 1];
}

template <class F, class X, class Y> void score(const X x[F::features], Y y[F::outputs]) {
#pragma HLS INLINE
    typedef typename Modular<Signed<X>::width, Signed<X>::width>::type A;
    typename A::sum_t codes[F::features];
#pragma HLS ARRAY_PARTITION variable=codes complete
features:
    for (int i = 0; i < F::features; i++) {
#pragma HLS UNROLL
        codes[i] = A::template factor<Signed<X>::width>(x[i]);
    }
    bool keys[F::keys];
#pragma HLS ARRAY_PARTITION variable=keys complete
    F::ask(codes, keys);
    typename F::leaf_t leaves[F::slots];
#pragma HLS ARRAY_PARTITION variable=leaves complete
    F::vote(keys, leaves);
    F::sum(leaves, y);
}

template <class F, class X, class Y>
void trees(const X x[F::size * F::features], Y y[F::size * F::outputs]) {
rows:
    for (int t = 0; t < F::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < F::step; l++) {
#pragma HLS UNROLL
            const int i = t * F::step + l;
            if (F::size % F::step == 0 || i < F::size)
                score<F>(x + i * F::features, y + i * F::outputs);
        }
    }
}

} // namespace synth_lib

#endif
