// Reductions over axes and over windows.

// y[outer] = fold of f over x[outer + inner]; y is contiguous. `first` is where f begins.
template <int L, class Outer, class OuterX, class Inner, class InnerX, class F, class Then, class Y,
          class X, class A>
inline void reduce(F f, A first, Then then, Y *__restrict y, const X *__restrict x) {
    constexpr int last = Outer::count - 1;
    constexpr bool columns = L == 1 && OuterX::at(last) == 1 && Outer::at(last) > 1;
    if constexpr (columns) {
        // Whole rows at once: their elements lie side by side.
        constexpr long n = Outer::at(last);
        loop_rows<Outer, OuterX>([&](long from) {
            A sums[n];
            for (long c = 0; c < n; ++c) sums[c] = first;
            loop<Inner, InnerX>([&](long at) {
                for (long c = 0; c < n; ++c) sums[c] = f(sums[c], A(x[from + at + c]));
            });
            for (long c = 0; c < n; ++c) *y++ = then(sums[c]);
        });
    } else {
        loop<Outer, OuterX>([&](long from) {
            constexpr int end = Inner::count - 1;
            // Several partial results, as one would wait for each operation.
            constexpr int parts = L > 1 ? L : InnerX::at(end) == 1 ? block : 1;
            A sums[parts];
            for (int p = 0; p < parts; ++p) sums[p] = first;
            loop_rows<Inner, InnerX>([&](long at) {
                constexpr long n = Inner::at(end), step = InnerX::at(end);
                const X *row = x + (from + at) * L;
                if constexpr (L > 1) {
                    for (long i = 0; i < n; ++i)
                        for (int l = 0; l < L; ++l) sums[l] = f(sums[l], A(row[i * step * L + l]));
                } else {
                    for (long k = 0; k < n / parts; ++k)
                        for (int p = 0; p < parts; ++p)
                            sums[p] = f(sums[p], A(row[(k * parts + p) * step]));
                    for (long p = 0; p < n % parts; ++p)
                        sums[p] = f(sums[p], A(row[(n / parts * parts + p) * step]));
                }
            });
            if constexpr (L > 1) {
                for (int l = 0; l < L; ++l) y[l] = then(sums[l]);
                y += L;
            } else {
                for (int width = parts / 2; width > 0; width /= 2)
                    for (int p = 0; p < width; ++p) sums[p] = f(sums[p], sums[p + width]);
                *y++ = then(sums[0]);
            }
        });
    }
}

// Softmax over Inner for every index of Outer; strides are those of x and of y alike.
template <int L, class Outer, class OuterX, class Inner, class InnerX, class T>
inline void softmax(T *__restrict y, const T *__restrict x) {
    loop<Outer, OuterX>([&](long from) {
        T most[L], total[L];
        for (int l = 0; l < L; ++l) most[l] = x[from * L + l], total[l] = 0;
        loop<Inner, InnerX>([&](long at) {
            for (int l = 0; l < L; ++l) most[l] = maximum(most[l], x[(from + at) * L + l]);
        });
        loop_rows<Inner, InnerX>([&](long at) {
            constexpr int end = Inner::count - 1;
            for (long i = 0; i < Inner::at(end); ++i)
                for (int l = 0; l < L; ++l) {
                    const long k = (from + at + i * InnerX::at(end)) * L + l;
                    y[k] = exponential(x[k] - most[l]);
                }
        });
        loop<Inner, InnerX>([&](long at) {
            for (int l = 0; l < L; ++l) total[l] += y[(from + at) * L + l];
        });
        for (int l = 0; l < L; ++l) total[l] = T(1) / total[l];
        loop_rows<Inner, InnerX>([&](long at) {
            constexpr int end = Inner::count - 1;
            for (long i = 0; i < Inner::at(end); ++i)
                for (int l = 0; l < L; ++l) y[(from + at + i * InnerX::at(end)) * L + l] *= total[l];
        });
    });
}

// y[position][c] = fold of f over the taps of a window of x, which has its padding already.
template <int L, int Channels, class Out, class OutX, class Taps, class TapsX, class F, class Then,
          class Y, class X, class A>
inline void pool(F f, A first, Then then, Y *__restrict y, const X *__restrict x) {
    constexpr long n = long(Channels) * L;
    loop<Out, OutX>([&](long from) {
        A sums[n];
        for (long c = 0; c < n; ++c) sums[c] = first;
        loop<Taps, TapsX>([&](long at) {
            for (long c = 0; c < n; ++c) sums[c] = f(sums[c], A(x[(from + at) * L + c]));
        });
        for (long c = 0; c < n; ++c) *y++ = then(sums[c]);
    });
}
