// Recurrent layers: one sequence, step by step.
//
// `Row` is how far steps lie apart in what x contributes to the gates: whole blocks of columns.

// rows[t] = x[t] W + bias for all steps; W and bias are packed.
template <int L, int Steps, int K, int M, class A, class X>
inline void contribute(A *__restrict rows, const X *__restrict x, const A *w, const A *bias) {
    constexpr long Row = long(blocks(M)) * block;
    const auto here = [](int) { return 0L; };
    if constexpr (L == 1)
        rows_product<Steps, 1, K, M>(x, K, here, w, bias, rows, Row, Same());
    else
        for (long t = 0; t < Steps; ++t)
            lanes_product<1, K, M>(x + t * K * L, here, w, bias, rows + t * Row * L, Same());
}

// sums = row + h W of a packed W; a row of null is one of `zeros`, which has no events.
template <int L, int H, int M, class A>
inline void add_state(A *__restrict sums, const std::common_type_t<A> *row, const A *__restrict h,
                      const A *w, const A *zeros) {
    const auto here = [](int) { return 0L; };
    if constexpr (L == 1) {
        rows_product<1, 1, H, M>(h, 0, here, w, row ? row : zeros, sums, 0, Same());
    } else {
        lanes_product<1, H, M>(h, here, w, zeros, sums, Same());
        for (long i = 0; row && i < long(M) * L; ++i) sums[i] += row[i];
    }
}

// sums[m] = row(m) + sum of h[k] w(k, m), of any kernel: one of constants, or one of each event.
template <int L, int H, int M, class A, class Row, class X, class W>
inline void add_computed(A *__restrict sums, Row row, const X *__restrict h, W w) {
    for (long m = 0; m < M; ++m)
        for (int l = 0; l < L; ++l) {
            A sum = row(m, l);
            for (long k = 0; k < H; ++k) sum += A(h[k * L + l]) * w(k * M + m, l);
            sums[m * L + l] = sum;
        }
}

// h = f(.)
template <int L, int H, class A, class F>
inline void rnn(A *__restrict h, const A *__restrict sums, F f) {
    for (long i = 0; i < long(H) * L; ++i) h[i] = f(sums[i]);
}

// Gates i, o, f and g: c = f c + i g, h = o e(c); peepholes of i, o and f, if there are any.
// Functions are quotients, as a division takes as long as a polynomial.
template <int L, int H, bool Peepholes, bool Coupled, class A, class P, class F, class G, class E>
inline void lstm(A *__restrict h, A *__restrict c, const A *__restrict old,
                 const A *__restrict sums, P peephole, F f, G g, E e) {
    constexpr long gate = long(H) * L;
    for (long at = 0; at < gate; ++at) {
        [[maybe_unused]] const long k = at / L;
        [[maybe_unused]] const int l = int(at % L);
        A in = sums[at], out = sums[gate + at], forget = sums[2 * gate + at];
        if constexpr (Peepholes) in += peephole(k, l) * old[at];
        if constexpr (Peepholes) forget += peephole(2 * H + k, l) * old[at];
        const Quotient<A> i = f(in), made = g(sums[3 * gate + at]);
        const A kept = Coupled ? A(1) - i.value() : f(forget).value();
        const A cell = kept * old[at] + i.over * made.over / (i.under * made.under);
        if constexpr (Peepholes) out += peephole(H + k, l) * cell;
        const Quotient<A> o = f(out), seen = e(cell);
        c[at] = cell;
        h[at] = o.over * seen.over / (o.under * seen.under);
    }
}

// Gates z, r and n: what h contributes to n is `own` and the bias `inner`, times r if Linear.
template <int L, int H, bool Linear, class A, class B, class G>
inline void gru(A *__restrict h, const A *__restrict old, const A *__restrict gates,
                const A *__restrict row, const A *__restrict own, B inner, G g) {
    constexpr long gate = long(H) * L;
    for (long at = 0; at < gate; ++at) {
        const A part = own[at] + inner(at / L, int(at % L));
        const A n = g(row[at] + (Linear ? gates[gate + at] * part : part));
        h[at] = (A(1) - gates[at]) * n + gates[at] * old[at];
    }
}

// Where the mask is false, states stay what they were.
template <int L, int Count, class A, class M>
inline void hold(A *__restrict states, const A *__restrict old, M mask, long step) {
    for (long k = 0; k < Count; ++k)
        for (int l = 0; l < L; ++l)
            if (!mask(step, l)) states[k * L + l] = old[k * L + l];
}

template <class A, class F> inline void apply(A *x, long count, F f) {
    for (long i = 0; i < count; ++i) x[i] = f(x[i]);
}
