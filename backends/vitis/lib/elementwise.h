// Arithmetic, order and choice, element by element, and casts from one format into another.
//
// A configuration says
//   size, step, iterations     elements in all, elements of one iteration, iterations (a cycle each)
//   a(i), b(i), c(i)           the positions of the operands' elements: this is broadcasting
//   common_t                   where values are compared: a format that holds both
// Results are exact: their formats were grown from what the operands can be.
#ifndef SYNTH_LIB_ELEMENTWISE_H
#define SYNTH_LIB_ELEMENTWISE_H

#include "codes.h"

namespace synth_lib {

struct Add {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        y = a + b;
    }
};

struct Sub {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        y = a - b;
    }
};

struct Mul {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        y = a * b;
    }
};

struct Maximum {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        const typename C::common_t left = a, right = b;
        y = left < right ? right : left;
    }
};

struct Minimum {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        const typename C::common_t left = a, right = b;
        y = left < right ? left : right;
    }
};

struct Less {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        const typename C::common_t left = a, right = b;
        y = left < right ? 1 : 0;
    }
};

struct LessEqual {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        const typename C::common_t left = a, right = b;
        y = left <= right ? 1 : 0;
    }
};

struct Equal {
    template <class C, class A, class B, class Y> static void apply(const A &a, const B &b, Y &y) {
        const typename C::common_t left = a, right = b;
        y = left == right ? 1 : 0;
    }
};

struct Relu {
    template <class C, class A, class Y> static void apply(const A &a, Y &y) {
        if (a < A(0))
            y = 0;
        else
            y = a;
    }
};

struct Neg {
    template <class C, class A, class Y> static void apply(const A &a, Y &y) { y = -a; }
};

struct Abs {
    template <class C, class A, class Y> static void apply(const A &a, Y &y) {
        if (a < A(0))
            y = -a;
        else
            y = a;
    }
};

struct Copy {
    template <class C, class A, class Y> static void apply(const A &a, Y &y) { y = a; }
};

// C::target_t rounds and overflows; Y is the same format without those modes.
struct Cast {
    template <class C, class A, class Y> static void apply(const A &a, Y &y) {
        const typename C::target_t value = a;
        y = value;
    }
};

template <class C, class Op, class A, class Y> void unary(const A a[C::a_size], Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) Op::template apply<C>(a[i], y[i]);
        }
    }
}

template <class C, class Op, class A, class B, class Y>
void binary(const A a[C::a_size], const B b[C::b_size], Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size)
                Op::template apply<C>(a[C::a(i)], b[C::b(i)], y[i]);
        }
    }
}

template <class C, class A, class B, class D, class Y>
void select(const A condition[C::a_size], const B b[C::b_size], const D c[C::c_size],
            Y y[C::size]) {
elements:
    for (int t = 0; t < C::iterations; t++) {
#pragma HLS PIPELINE II=1
    lanes:
        for (int l = 0; l < C::step; l++) {
#pragma HLS UNROLL
            const int i = t * C::step + l;
            if (C::size % C::step == 0 || i < C::size) {
                if (condition[C::a(i)] != A(0))
                    y[i] = b[C::b(i)];
                else
                    y[i] = c[C::c(i)];
            }
        }
    }
}

} // namespace synth_lib

#endif
