// Kernels whose sizes are known at each call only, for one event at a time.
//
// A Span is a loop: its sizes, and the strides of each array. What is known of the last axis stands
// in `Last`, an Ints of its size and of the strides there, or `unknown`: inner loops are as fast as
// where all is known.

constexpr int unknown = std::numeric_limits<int>::min();

template <int Axes, int Arrays> struct Span {
    long size[Axes];
    long stride[Arrays][Axes];
};
template <int Arrays> struct Places {
    long at[Arrays];
};

template <int End, int Axis, int Axes, int Arrays, class F>
inline void walk_from(const Span<Axes, Arrays> &span, F &f, Places<Arrays> places) {
    if constexpr (Axis == End)
        f(places);
    else
        for (long i = 0; i < span.size[Axis]; ++i) {
            walk_from<End, Axis + 1>(span, f, places);
            for (int a = 0; a < Arrays; ++a) places.at[a] += span.stride[a][Axis];
        }
}

// Calls f(places) for every index.
template <int Axes, int Arrays, class F> inline void walk(const Span<Axes, Arrays> &span, F f) {
    walk_from<Axes, 0>(span, f, Places<Arrays>{});
}

// The same without the last axis, along which f does what is to be done.
template <int Axes, int Arrays, class F>
inline void walk_rows(const Span<Axes, Arrays> &span, F f) {
    walk_from<Axes - 1, 0>(span, f, Places<Arrays>{});
}

template <class Last, int At> inline long known(long value) {
    return Last::at(At) == unknown ? value : Last::at(At);
}

// How a size is read, or what goes up along an axis by its stride.
struct Counting {
    long start;
    long operator()(long i, int) const { return start + i; }
};

// The reciprocal of a number of elements; 1 of none, whose sum is 0 and so their mean.
template <class T> inline T one_over(long n) { return T(1.0 / double(n > 1 ? n : 1)); }

// Throws unless a dimension is within the bounds that the workspace is made for.
inline void check_size(const char *name, long size, long least, long most) {
    if (size < least || size > most)
        throw std::out_of_range(std::string(name) + " is " + std::to_string(size) + ", not from " +
                                std::to_string(least) + " to " + std::to_string(most));
}

template <class Last, class F, int Axes, int Arrays, class Y, std::size_t... A, class... X>
inline void map_over(F f, const Span<Axes, Arrays> &span, Y *__restrict y, std::index_sequence<A...>,
                     X... x) {
    const long n = known<Last, 0>(span.size[Axes - 1]);
    const long to = known<Last, 1>(span.stride[0][Axes - 1]);
    walk_rows(span, [&](const Places<Arrays> &places) {
        Y *const row = y + places.at[0];
        for (long i = 0; i < n; ++i)
            row[i * to] = f(x(places.at[A + 1] +
                                  i * known<Last, int(A) + 2>(span.stride[A + 1][Axes - 1]),
                              0)...);
    });
}

// y[i . strides of y] = f(x[i . strides of x], ...) for every index i
template <class Last, class F, int Axes, int Arrays, class Y, class... X>
inline void map_sized(F f, const Span<Axes, Arrays> &span, Y *y, X... x) {
    map_over<Last>(f, span, y, std::index_sequence_for<X...>(), x...);
}

// y[o][i][...] = f(x[o][index[i]][...]): rows of `inner` elements, `from` of them behind each other.
template <class F, class Y, class X>
inline void gather_sized(F f, long outer, long from, long count, long inner, Y *__restrict y, X x,
                         const int *index) {
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < count; ++i)
            for (long j = 0; j < inner; ++j)
                *y++ = f(x((o * from + index[i]) * inner + j, 0));
}

// y[row][k] = f(x[row][positions[row][k]]), of n elements a row
template <class F, class Y, class X, class P>
inline void pick_sized(F f, long rows, long n, long m, Y *__restrict y, X x, P positions) {
    for (long r = 0; r < rows; ++r)
        for (long k = 0; k < m; ++k)
            y[r * m + k] = f(x(r * n + within(positions(r * m + k, 0), n), 0));
}

// y = x, with f(element, update) at positions, one after another
template <class F, class Y, class X, class P, class U>
inline void scatter_sized(F f, long rows, long n, long m, Y *__restrict y, X x, P positions,
                          U updates) {
    for (long i = 0; i < rows * n; ++i) y[i] = x(i, 0);
    for (long r = 0; r < rows; ++r)
        for (long k = 0; k < m; ++k) {
            Y &at = y[r * n + within(positions(r * m + k, 0), n)];
            at = f(at, updates(r * m + k, 0));
        }
}

// Calls f(element of a row, its place) for rows of Width elements of which the first is at `start`.
template <int Width, class F> inline void through_row(long start, long n, F f) {
    if (start >= 0 && start <= n - Width)
        for (long j = 0; j < Width; ++j) f(j, start + j);
    else
        for (long j = 0; j < Width; ++j) f(j, within(start < n ? start + j : n, n));
}

// y[row][k][j] = f(x[row][starts[row][k] + j]), of n elements a row
template <int Width, class F, class Y, class X, class P>
inline void pick_rows(F f, long rows, long n, long m, Y *__restrict y, X x, P starts) {
    for (long r = 0; r < rows; ++r)
        for (long k = 0; k < m; ++k, y += Width)
            through_row<Width>(long(starts(r * m + k, 0)), n,
                               [&](long j, long at) { y[j] = f(x(r * n + at, 0)); });
}

// y = x, with f(element, update) along rows that begin at positions, one after another
template <int Width, class F, class Y, class X, class P, class U>
inline void scatter_rows(F f, long rows, long n, long m, Y *__restrict y, X x, P starts, U updates) {
    for (long i = 0; i < rows * n; ++i) y[i] = x(i, 0);
    for (long r = 0; r < rows; ++r, y += n)
        for (long k = 0; k < m; ++k)
            through_row<Width>(long(starts(r * m + k, 0)), n, [&](long j, long at) {
                y[at] = f(y[at], updates((r * m + k) * Width + j, 0));
            });
}

// Positions of the `count` first elements of each row by an order; see `rank`. `taken` has room for
// a row.
template <bool Last, class F, class X>
inline void rank_sized(F before, long rows, long n, long count, std::int64_t *__restrict y, X x,
                       bool *__restrict taken) {
    for (long r = 0; r < rows; ++r) {
        for (long i = 0; i < n; ++i) taken[i] = false;
        for (long m = 0; m < count; ++m) {
            long best = -1;
            for (long i = 0; i < n; ++i) {
                if (taken[i]) continue;
                const auto one = x(r * n + i, 0);
                if (best < 0 || before(one, x(r * n + best, 0)) ||
                    (Last && !before(x(r * n + best, 0), one)))
                    best = i;
            }
            taken[best] = true;
            *y++ = best;
        }
    }
}

// y[o][k][i] = x[o][0][i] + ... + x[o][k][i]
template <class F, class T>
inline void running_sum_sized(F add_to, long outer, long n, long inner, T *__restrict y,
                              const T *__restrict x) {
    for (long o = 0; o < outer; ++o)
        for (long k = 0; k < n * inner; ++k, ++y, ++x) *y = k < inner ? *x : add_to(y[-inner], *x);
}

// y[outer] = fold of f over x[outer + inner]; y is contiguous, `first` is where f begins.
template <class Last, class F, int Axes, int Inner, class Then, class Y, class X, class A>
inline void reduce_sized(F f, A first, Then then, const Span<Axes, 1> &outer,
                         const Span<Inner, 1> &inner, Y *__restrict y, const X *__restrict x) {
    const long n = known<Last, 0>(outer.size[Axes - 1]);
    const long step = known<Last, 1>(outer.stride[0][Axes - 1]);
    walk_rows(outer, [&](const Places<1> &from) {
        for (long begin = 0; begin < n; begin += block) {
            // Elements side by side, at once.
            const long width = n - begin < block ? n - begin : block;
            const X *const columns = x + from.at[0] + begin * step;
            A sums[block];
            for (long c = 0; c < block; ++c) sums[c] = first;
            walk(inner, [&](const Places<1> &at) {
                for (long c = 0; c < width; ++c)
                    sums[c] = f(sums[c], A(columns[at.at[0] + c * step]));
            });
            for (long c = 0; c < width; ++c) *y++ = then(sums[c]);
        }
    });
}

// Softmax over `inner` for every index of `outer`; strides are those of x and of y alike.
template <class Last, int Axes, int Inner, class T>
inline void softmax_sized(const Span<Axes, 1> &outer, const Span<Inner, 1> &inner, T *__restrict y,
                          const T *__restrict x) {
    constexpr int last = Inner - 1;
    const long n = known<Last, 0>(inner.size[last]), step = known<Last, 1>(inner.stride[0][last]);
    walk(outer, [&](const Places<1> &from) {
        T most = -std::numeric_limits<T>::infinity(), total = 0;
        const auto rows = [&](auto f) {
            walk_rows(inner, [&](const Places<1> &at) { f(from.at[0] + at.at[0]); });
        };
        rows([&](long row) {
            for (long i = 0; i < n; ++i) most = maximum(most, x[row + i * step]);
        });
        rows([&](long row) {
            for (long i = 0; i < n; ++i) y[row + i * step] = exponential_of_loss(x[row + i * step] - most);
        });
        rows([&](long row) {
            for (long i = 0; i < n; ++i) total += y[row + i * step];
        });
        const T factor = T(1) / total;
        rows([&](long row) {
            for (long i = 0; i < n; ++i) y[row + i * step] *= factor;
        });
    });
}

// `rows_product` of any number of rows.
template <int Taps, int K, int M, class A, class X, class Y, class Tap, class F>
inline void rows_sized(long rows, const X *x, long row, Tap tap, const A *w, const A *bias, Y *y,
                       long y_row, F then) {
    constexpr int most = 8;
    long r = 0;
    for (; r + most <= rows; r += most)
        rows_product<most, Taps, K, M>(x + r * row, row, tap, w, bias, y + r * y_row, y_row, then);
    for (; r < rows; ++r)
        rows_product<1, Taps, K, M>(x + r * row, row, tap, w, bias, y + r * y_row, y_row, then);
}

// y[row][m] = then(sum of x[row][k] w[k][m] + bias[m])
template <int K, int M, class A, class X, class Y, class F>
inline void dense_sized(long rows, const X *x, const A *w, const A *bias, Y *y, F then) {
    rows_sized<1, K, M>(rows, x, K, [](int) { return 0L; }, w, bias, y, M, then);
}

// Rows of a b, of N blocks of packed columns of b from `b` on.
template <int R, class A, class X, class Y, class F>
inline void product_tile(long k, const X *a, long row, const A *b, long width, Y *y, long y_row,
                         F then) {
    constexpr int V = block / lanes<A>;
    Sums<A, R, V> sums{};
    for (long t = 0; t < k; ++t) {
        Vector<A> w[V];
        for (int v = 0; v < V; ++v) w[v] = load<A>(b + t * block + v * lanes<A>);
        for (int r = 0; r < R; ++r) {
            const A factor = A(a[r * row + t]);
            for (int v = 0; v < V; ++v) sums.at[r][v] += factor * w[v];
        }
    }
    for (int r = 0; r < R; ++r) finish<A>(sums.at[r], y + r * y_row, int(width), then);
}

// y = then(a b) of two computed matrices, a [n][k] and b [k][m]; `packed` has room for a block of b.
template <class A, class X, class W, class Y, class F>
inline void matrix_product_sized(long n, long k, long m, const X *__restrict a,
                                 const W *__restrict b, A *__restrict packed, Y *__restrict y,
                                 F then) {
    constexpr int most = 4;
    for (long first = 0; first < m; first += block) {
        const long width = m - first < block ? m - first : block;
        for (long t = 0; t < k; ++t)
            for (long c = 0; c < block; ++c)
                packed[t * block + c] = c < width ? A(b[t * m + first + c]) : A(0);
        long r = 0;
        for (; r + most <= n; r += most)
            product_tile<most>(k, a + r * k, k, packed, width, y + r * m + first, m, then);
        for (; r < n; ++r)
            product_tile<1>(k, a + r * k, k, packed, width, y + r * m + first, m, then);
    }
}

// `convolution` where sizes in `in` and `out` are known at each call only.
template <class C, class A, class X, class Y, class F>
inline void convolution_sized(const long (&in)[3], const long (&out)[3], const X *x, const A *w,
                              const A *bias, Y *y, F then) {
    constexpr int taps = C::kernel[0] * C::kernel[1] * C::kernel[2];
    constexpr long all = long(C::groups) * C::channels, made = long(C::groups) * C::outputs;
    constexpr long packed = long(blocks(C::outputs)) * taps * C::channels * block;
    const long line = in[2] * all, plane = in[1] * line;
    const auto tap = [&](int t) {
        return t / (C::kernel[2] * C::kernel[1]) * C::dilation[0] * plane +
               t / C::kernel[2] % C::kernel[1] * C::dilation[1] * line +
               t % C::kernel[2] * C::dilation[2] * all;
    };
    for (int g = 0; g < C::groups; ++g)
        for (long i = 0; i < out[0]; ++i)
            for (long j = 0; j < out[1]; ++j)
                rows_sized<taps, C::channels, C::outputs>(
                    out[2], x + i * C::stride[0] * plane + j * C::stride[1] * line + g * C::channels,
                    C::stride[2] * all, tap, w + g * packed, bias + g * blocks(C::outputs) * block,
                    y + (i * out[1] + j) * out[2] * made + g * C::outputs, made, then);
}

// rows[t] = x[t] W + bias for all steps of a recurrent layer; W and bias are packed.
template <int K, int M, class A, class X>
inline void contribute_sized(long steps, A *__restrict rows, const X *__restrict x, const A *w,
                             const A *bias) {
    constexpr long row = long(blocks(M)) * block;
    rows_sized<1, K, M>(steps, x, K, [](int) { return 0L; }, w, bias, rows, row, Same());
}
