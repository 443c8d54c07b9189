// Reductions over axes and over windows.

// Calls f(p, offset) for every index below the sizes; p goes round below Parts, so that a partial
// result for each does not wait for the one before.
template <int Parts, class Inner, class InnerX, class F> inline void in_parts(F f) {
    loop_rows<Inner, InnerX>([&](long at) {
        constexpr int end = Inner::count - 1;
        constexpr long n = Inner::at(end), step = InnerX::at(end);
        for (long k = 0; k < n / Parts; ++k)
            for (int p = 0; p < Parts; ++p) f(p, at + (k * Parts + p) * step);
        for (int p = 0; p < int(n % Parts); ++p) f(p, at + (n / Parts * Parts + p) * step);
    });
}

// The fold of partial results, whose number is a power of two.
template <int Parts, class A, class F> inline A joined(A (&parts)[Parts], F f) {
    for (int width = Parts / 2; width > 0; width /= 2)
        for (int p = 0; p < width; ++p) parts[p] = f(parts[p], parts[p + width]);
    return parts[0];
}

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
            constexpr int parts = L > 1 ? L : InnerX::at(Inner::count - 1) == 1 ? block : 1;
            A sums[parts];
            for (int p = 0; p < parts; ++p) sums[p] = first;
            if constexpr (L > 1) {
                loop<Inner, InnerX>([&](long at) {
                    for (int l = 0; l < L; ++l) sums[l] = f(sums[l], A(x[(from + at) * L + l]));
                });
                for (int l = 0; l < L; ++l) y[l] = then(sums[l]);
                y += L;
            } else {
                in_parts<parts, Inner, InnerX>(
                    [&](int p, long at) { sums[p] = f(sums[p], A(x[from + at])); });
                *y++ = then(joined(sums, f));
            }
        });
    }
}

// Softmax over Inner of Width elements side by side, each over its own.
template <long Width, int L, class Inner, class InnerX, class T>
inline void softmax_columns(T *__restrict y, const T *__restrict x) {
    T most[Width], total[Width] = {};
    for (long c = 0; c < Width; ++c) most[c] = x[c];
    loop<Inner, InnerX>([&](long at) {
        for (long c = 0; c < Width; ++c) most[c] = maximum(most[c], x[at * L + c]);
    });
    loop<Inner, InnerX>([&](long at) {
        for (long c = 0; c < Width; ++c) {
            y[at * L + c] = exponential_of_loss(x[at * L + c] - most[c]);
            total[c] += y[at * L + c];
        }
    });
    for (long c = 0; c < Width; ++c) total[c] = T(1) / total[c];
    loop<Inner, InnerX>([&](long at) {
        for (long c = 0; c < Width; ++c) y[at * L + c] *= total[c];
    });
}

// The fold of a vector's elements, by halves: none of them passes through memory.
template <class T, int N, class F>
inline T across(const typename VectorOf<T, N>::type &v, F f) {
    if constexpr (N == 1) {
        return v[0];
    } else {
        typename VectorOf<T, N / 2>::type low, high;
        std::memcpy(&low, &v, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char *>(&v) + sizeof low, sizeof high);
        return across<T, N / 2>(f(low, high), f);
    }
}

// The fold of N elements that lie side by side, and `first`; f takes numbers and vectors.
template <int N, class T, class F> inline T folded(const T *x, T first, F f) {
    constexpr int whole = N / lanes<T>, chains = 4;
    Vector<T> parts[chains];
    for (auto &part : parts) part = first + Vector<T>{};
    for (int v = 0; v < whole / chains * chains; v += chains)
        for (int p = 0; p < chains; ++p)
            parts[p] = f(parts[p], load<T>(x + (v + p) * lanes<T>));
    for (int v = whole / chains * chains; v < whole; ++v)
        parts[0] = f(parts[0], load<T>(x + v * lanes<T>));
    T result = across<T, lanes<T>>(f(f(parts[0], parts[1]), f(parts[2], parts[3])), f);
    for (int i = whole * lanes<T>; i < N; ++i) result = f(result, x[i]);
    return result;
}

// y = e^(x - most) for N elements that lie side by side; returns their sum.
template <int N, class T>
inline T exponentials_of_loss(T *__restrict y, const T *__restrict x, T most) {
    constexpr int each = lanes<T>, rest = N % each;
    if constexpr (N < each) {
        T total = 0;
        for (int i = 0; i < N; ++i) y[i] = exponential_of_loss(x[i] - most);
        for (int i = 0; i < N; ++i) total += y[i];
        return total;
    } else {
        Vector<T> sums{};
        const auto part = [&](int i) {
            const Vector<T> made = exponential_of_loss(load<T>(x + i) - most);
            store<T>(y + i, made);
            return made;
        };
        for (int i = 0; i < N - rest; i += each) sums += part(i);
        if constexpr (rest != 0) {
            // One more vector, of which the first elements are done.
            Vector<T> counted;
            for (int i = 0; i < each; ++i) counted[i] = i < each - rest ? T(0) : T(1);
            sums += part(N - each) * counted;
        }
        return across<T, each>(sums, [](auto a, auto b) { return a + b; });
    }
}

// Softmax over Inner of one element, whose last axis is contiguous.
template <class Inner, class InnerX, class T>
inline void softmax_row(T *__restrict y, const T *__restrict x) {
    constexpr int n = int(Inner::at(Inner::count - 1));
    T most = x[0], total = 0;
    loop_rows<Inner, InnerX>([&](long at) {
        most = folded<n>(x + at, most, [](auto a, auto b) { return maximum(a, b); });
    });
    loop_rows<Inner, InnerX>(
        [&](long at) { total += exponentials_of_loss<n>(y + at, x + at, most); });
    const T factor = T(1) / total;
    loop_rows<Inner, InnerX>([=](long at) {
        for (int i = 0; i < n; ++i) y[at + i] *= factor;
    });
}

// Softmax over Inner for every index of Outer; strides are those of x and of y alike.
template <int L, class Outer, class OuterX, class Inner, class InnerX, class T>
inline void softmax(T *__restrict y, const T *__restrict x) {
    constexpr int last = Outer::count - 1;
    if constexpr (L == 1 && InnerX::at(Inner::count - 1) == 1)
        loop<Outer, OuterX>([&](long from) { softmax_row<Inner, InnerX>(y + from, x + from); });
    else if constexpr (L == 1 && OuterX::at(last) == 1)
        loop_rows<Outer, OuterX>([&](long from) {
            softmax_columns<Outer::at(last), L, Inner, InnerX>(y + from, x + from);
        });
    else
        loop<Outer, OuterX>([&](long from) {
            softmax_columns<L, L, Inner, InnerX>(y + from * L, x + from * L);
        });
}

// y[position][c] = fold of f over the taps of a window of x, which has its padding already.
template <int L, int Channels, class Out, class OutX, class Taps, class TapsX, class F, class Then,
          class Y, class X, class A>
inline void pool(F f, A first, Then then, Y *__restrict y, const X *__restrict x) {
    constexpr long n = long(Channels) * L;
    if constexpr (n == 1) {
        // A row of windows at once.
        constexpr int last = Out::count - 1;
        constexpr long row = Out::at(last), step = OutX::at(last);
        loop_rows<Out, OutX>([&](long from) {
            for (long i = 0; i < row; ++i) {
                A sum = first;
                loop<Taps, TapsX>([&](long at) { sum = f(sum, A(x[from + at + i * step])); });
                y[i] = then(sum);
            }
            y += row;
        });
    } else {
        loop<Out, OutX>([&](long from) {
            A sums[n];
            for (long c = 0; c < n; ++c) sums[c] = first;
            loop<Taps, TapsX>([&](long at) {
                for (long c = 0; c < n; ++c) sums[c] = f(sums[c], A(x[(from + at) * L + c]));
            });
            for (long c = 0; c < n; ++c) *y++ = then(sums[c]);
        });
    }
}
