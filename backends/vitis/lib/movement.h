// Data movement: wires, no arithmetic.
//
// A configuration says size, step, iterations as in elementwise.h, and
//   source(i)      of `gather`: the operand's element that becomes element i, or -1 for a zero
//   target(i)      of `place`: where element i of this operand goes (size is the operand's)
//   shift          of `place`: how far its binary point is from the result's
#ifndef SYNTH_LIB_MOVEMENT_H
#define SYNTH_LIB_MOVEMENT_H

#include "codes.h"

namespace synth_lib {

template <class C, class A, class Y> void gather(const A a[C::a_size], Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                const int from = C::source(i);
                if (from < 0)
                    y[i].range(Layout<Y>::width - 1, 0) = 0;
                else
                    move<0>(a[from], y[i]);
            }
        }
    }
}

template <class C, class A, class Y> void place(const A a[C::size], Y y[C::y_size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) 
                move<C::shift>(a[i], y[C::target(i)]);
        }
    }
}

} // namespace synth_lib

#endif
