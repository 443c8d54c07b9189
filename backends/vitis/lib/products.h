// Sums of products: dense layers, convolutions and products of two computed matrices.
//
//   y[row, j] = (sum over terms of x[row, term] * w[row, term, j]) << sum_shift
//               + (bias[row, j] << bias_shift)
//
// A configuration says
//   rows, terms, outputs                    the sizes; a convolution has a row for each position and
//                                           group of channels
//   row_step, term_step, output_step        how much of each one iteration does at once
//   iterations                              of the one loop; each takes a cycle
//   input(row, term)                        a position in x, or -1 for a padded zero
//   kernel(row, term), bias(row)            where the outputs of a row begin in w and bias
//   x_width, w_width                        of the factors, as signed integers
//   sum_shift, bias_shift                   how the binary points of products and bias meet
// There are row_step * term_step * output_step multipliers; the interval is `iterations` cycles.
#ifndef SYNTH_LIB_PRODUCTS_H
#define SYNTH_LIB_PRODUCTS_H

#include "codes.h"

namespace synth_lib {

template <class C, class X, class W, class Bias, class Y>
void sum_products(const X x[C::x_size], const W w[C::w_size], const Bias b[C::b_size],
                  Y y[C::rows * C::outputs]) {
    const int width = C::x_width > C::w_width ? C::x_width : C::w_width;
    typedef typename Modular<Layout<Y>::width, width>::type A;
    typename A::sum_t sums[C::row_step * C::output_step];
#pragma HLS ARRAY_PARTITION variable=sums complete
    int row0 = 0, output0 = 0, term0 = 0;
share:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    rows:
        for (int r = 0; r < C::row_step; r++) {
#pragma HLS UNROLL
            const int row = row0 + r;
            if (term0 == 0) {
            clear:
                for (int j = 0; j < C::output_step; j++) {
#pragma HLS UNROLL
                    sums[r * C::output_step + j] = 0;
                }
            }
        terms:
            for (int k = 0; k < C::term_step; k++) {
#pragma HLS UNROLL
                const int term = term0 + k;
                // The last block may be ragged.
                if (row < C::rows && term < C::terms) {
                    const int from = C::input(row, term), first = C::kernel(row, term) + output0;
                    if (from >= 0) {
                        const typename A::template Factor<C::x_width>::type factor =
                            A::template factor<C::x_width>(x[from]);
                    outputs:
                        for (int j = 0; j < C::output_step; j++) {
#pragma HLS UNROLL
                            if (C::outputs % C::output_step == 0 || output0 + j < C::outputs)
                                sums[r * C::output_step + j] +=
                                    factor * second<A, C::w_width>(w[first + j]);
                        }
                    }
                }
            }
            if (row < C::rows && term0 + C::term_step >= C::terms) {
            results:
                for (int j = 0; j < C::output_step; j++) {
#pragma HLS UNROLL
                    if (output0 + j < C::outputs) {
                        const typename A::sum_t offset = b[C::bias(row) + output0 + j];
                        const typename A::sum_t sum = sums[r * C::output_step + j];
                        A::store((sum << C::sum_shift) + (offset << C::bias_shift),
                                 y[row * C::outputs + output0 + j]);
                    }
                }
            }
        }
        // The next block: terms run fastest, so that a sum is finished before the next one begins.
        term0 += C::term_step;
        if (term0 >= C::terms) {
            term0 = 0;
            output0 += C::output_step;
            if (output0 >= C::outputs) {
                output0 = 0;
                row0 += C::row_step;
            }
        }
    }
}

} // namespace synth_lib

#endif
