// Arithmetic, order and choice, element by element, and casts from one format into another.
//
// A configuration says
//   size, step, iterations         elements in all, in one iteration, iterations (a cycle each)
//   a(i), b(i), c(i)               the positions of the operands' elements: this is broadcasting
//   a_shift, b_shift, c_shift      how the operands' binary points meet
//   width                          of codes: sums and products are made modulo 2^width, and where
//                                  values are compared, all of them fit
// Results are exact: their formats were grown from what the operands can be.
#ifndef SYNTH_LIB_ELEMENTWISE_H
#define SYNTH_LIB_ELEMENTWISE_H

#include "codes.h"

namespace synth_lib {

struct Add {
    template <class S> static S apply(const S &a, const S &b) { return a + b; }
};
struct Sub {
    template <class S> static S apply(const S &a, const S &b) { return a - b; }
};
struct Mul {
    template <class S> static S apply(const S &a, const S &b) { return a * b; }
};
struct Maximum {
    template <class S> static S apply(const S &a, const S &b) { return a < b ? b : a; }
};
struct Minimum {
    template <class S> static S apply(const S &a, const S &b) { return a < b ? a : b; }
};
struct Less {
    template <class S> static S apply(const S &a, const S &b) { return a < b ? 1 : 0; }
};
struct LessEqual {
    template <class S> static S apply(const S &a, const S &b) { return a <= b ? 1 : 0; }
};
struct Equal {
    template <class S> static S apply(const S &a, const S &b) { return a == b ? 1 : 0; }
};

struct Copy {
    template <class S> static S apply(const S &a) { return a; }
};
struct Relu {
    template <class S> static S apply(const S &a) { return a < 0 ? S(0) : a; }
};
struct Neg {
    template <class S> static S apply(const S &a) { return S(0) - a; }
};
struct Abs {
    template <class S> static S apply(const S &a) { return a < 0 ? S(S(0) - a) : a; }
};

template <class C, class Op, class X, class Y> void unary(const X x[C::size], Y y[C::size]) {
    typedef typename Modular<C::width, Signed<X>::width>::type A;
    typedef typename A::sum_t S;
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                const S value = S(A::template factor<Signed<X>::width>(x[i]));
                A::store(Op::apply(value), y[i]);
            }
        }
    }
}

template <class C, class Op, class U, class V, class Y>
void binary(const U a[C::a_size], const V b[C::b_size], Y y[C::size]) {
    const int widest = Signed<U>::width > Signed<V>::width ? Signed<U>::width : Signed<V>::width;
    typedef typename Modular<C::width, widest>::type A;
    typedef typename A::sum_t S;
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                const S left = S(A::template factor<Signed<U>::width>(a[C::a(i)])) << C::a_shift;
                const S right = S(A::template factor<Signed<V>::width>(b[C::b(i)])) << C::b_shift;
                A::store(Op::apply(left, right), y[i]);
            }
        }
    }
}

template <class C, class Condition, class U, class V, class Y>
void select(const Condition a[C::a_size], const U b[C::b_size], const V c[C::c_size],
            Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                if (a[C::a(i)][0])
                    move<C::b_shift>(b[C::b(i)], y[i]);
                else
                    move<C::c_shift>(c[C::c(i)], y[i]);
            }
        }
    }
}

// The one place where values are rounded and overflow: assignment to C::target_t, whose modes say
// how. C::source_t is a format that holds x; few of them occur, which compilers are grateful for.
template <class C, class X, class Y> inline void cast_one(const X &x, Y &y) {
#pragma HLS INLINE
    typename C::source_t source;
    move<0>(x, source);
    const typename C::target_t target = source;
    move<C::y_shift>(target, y);
}

template <class C, class X, class Y> void cast(const X x[C::size], Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) cast_one<C>(x[i], y[i]);
        }
    }
}

// The elements at C::at(i) only: those that have one format.
template <class C, class X, class Y> void cast_some(const X x[C::x_size], Y y[C::x_size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) cast_one<C>(x[C::at(i)], y[C::at(i)]);
        }
    }
}

} // namespace synth_lib

#endif
