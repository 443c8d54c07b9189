// Look-up tables: y = entries[clamp(code(x) - lo)].
//
// A configuration says size, step, iterations as in elementwise.h, and
//   entries, lo        the table's length and the code of its first entry
#ifndef SYNTH_LIB_TABLE_H
#define SYNTH_LIB_TABLE_H

#include "codes.h"

namespace synth_lib {

template <class C, class X, class Entry, class Y>
void look_up(const X x[C::size], const Entry entries[C::entries], Y y[C::size]) {
    // Wide enough for code - lo: index_width is one more than the wider of both.
    typedef ap_int<C::index_width> index_t;
    const bool on_machine = Layout<Y>::width <= machine_width;
    typedef Arithmetic<Layout<Y>::width, on_machine> A;
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                index_t offset = index_t(code(x[i])) - index_t(C::lo);
                if (offset < 0) offset = 0;
                if (offset > C::entries - 1) offset = C::entries - 1;
                A::store(second<A, Layout<Y>::width + 1>(entries[offset.to_int()]), y[i]);
            }
        }
    }
}

} // namespace synth_lib

#endif
