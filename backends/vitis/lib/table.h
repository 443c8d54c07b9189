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
    // C::index_width holds every code of x less lo.
    typedef typename Modular<C::index_width, Signed<X>::width>::type I;
    typedef typename Modular<Layout<Y>::width, Signed<Y>::width>::type A;
    typedef typename I::sum_t Index;
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                Index offset = Index(I::template factor<Signed<X>::width>(x[i])) - Index(C::lo);
                if (offset < 0) offset = 0;
                if (offset > C::entries - 1) offset = C::entries - 1;
                A::store(typename A::sum_t(second<A, Signed<Y>::width>(entries[(int)offset])), y[i]);
            }
        }
    }
}

} // namespace synth_lib

#endif
