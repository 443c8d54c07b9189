// Sums of products: rows times packed weights.
//
// A matrix [terms][columns] is packed in blocks of 16 columns, [columns / 16][terms][16], with zeros
// behind the last column. One kernel does all the work: `accumulate` keeps rows x columns of sums in
// registers, and multiplies a number of one operand with a vector of the other. For single events
// the vector is made of outputs; for batches, of events, and the number is a weight.

// Sums of one tile in registers: a quarter of them is left for operands.
constexpr int tile_registers = vector_registers * 3 / 4;

constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int blocks(int columns) { return (columns + block - 1) / block; }

template <class A, int R, int V> struct Sums {
    Vector<A> at[R][V];
};

// sums[r][v] += a[r * row + k * step] * b[k * stride + v], for k below terms
template <int K, int Step, int Stride, class A, int R, int V, class X, class W>
inline void accumulate(Sums<A, R, V> &sums, const X *a, long row, const W *b, long blocked) {
    constexpr int per_block = block / lanes<A>;
    for (int k = 0; k < K; ++k) {
        Vector<A> w[V];
        for (int v = 0; v < V; ++v)
            w[v] = load<A>(b + k * Stride + v / per_block * blocked + v % per_block * lanes<A>);
        for (int r = 0; r < R; ++r) {
            const A factor = A(a[r * row + k * Step]);
            for (int v = 0; v < V; ++v) sums.at[r][v] += factor * w[v];
        }
    }
}

// A few sums are too few to hide how long a multiplication takes: they are split in two.
template <int K, int Step, int Stride, class A, int R, int V, class X, class W>
inline void add_products(Sums<A, R, V> &sums, const X *a, long row, const W *b, long blocked) {
    if constexpr (R * V <= 4 && K >= 8) {
        constexpr int parts = R * V == 1 ? 8 : R * V == 2 ? 4 : 2;
        constexpr int each = K / parts;
        Sums<A, R * parts, V> split{};
        const X *rows = a;
        for (int k = 0; k < each; ++k) {
            for (int p = 0; p < parts; ++p) {
                const long t = k * parts + p;
                for (int v = 0; v < V; ++v) {
                    constexpr int per_block = block / lanes<A>;
                    const Vector<A> w = load<A>(b + t * Stride + v / per_block * blocked +
                                                v % per_block * lanes<A>);
                    for (int r = 0; r < R; ++r)
                        split.at[r * parts + p][v] += A(rows[r * row + t * Step]) * w;
                }
            }
        }
        accumulate<K % parts, Step, Stride>(sums, a + long(each * parts) * Step, row,
                                            b + long(each * parts) * Stride, blocked);
        for (int r = 0; r < R; ++r)
            for (int p = 0; p < parts; ++p)
                for (int v = 0; v < V; ++v) sums.at[r][v] += split.at[r * parts + p][v];
    } else {
        accumulate<K, Step, Stride>(sums, a, row, b, blocked);
    }
}

// The rows of each tile, at most so many, if tiles are as much alike as can be.
constexpr int alike(int rows, int most) {
    const int count = (rows + most - 1) / most;
    return (rows + count - 1) / count;
}

// Calls f(row, constant) for tiles of Most rows and one of what remains; constant::value rows each.
template <int Rows, int Most, class F> inline void tiles(F f) {
    constexpr int whole = Rows / Most, rest = Rows % Most;
    for (int t = 0; t < whole; ++t) f(t * Most, std::integral_constant<int, Most>());
    if constexpr (rest != 0) f(whole * Most, std::integral_constant<int, rest>());
}

// Hands the sums of `width` columns on: y[c] = then(sum[c]).
template <class A, int V, class Y, class F>
inline void finish(const Vector<A> (&sums)[V], Y *__restrict y, int width, F then) {
    if constexpr (takes_vectors<F> && std::is_same_v<Y, A>) {
        if (width == V * lanes<A>) {
            for (int v = 0; v < V; ++v) store(y + v * lanes<A>, then(sums[v]));
            return;
        }
    }
    A held[V * lanes<A>];
    for (int v = 0; v < V; ++v) store(held + v * lanes<A>, sums[v]);
    if (width == V * lanes<A>)
        for (int c = 0; c < V * lanes<A>; ++c) y[c] = then(held[c]);
    else
        for (int c = 0; c < width; ++c) y[c] = then(held[c]);
}

// Blocks of columns whose sums one tile holds: more for a single row, which has no other rows.
template <class A> constexpr int blocks_at_once(int rows, int columns) {
    const int most = (rows == 1 ? tile_registers / 2 : 2) * lanes<A> / block;
    return larger(1, smaller(blocks(columns), most));
}

// The sums of Taps x K products in N blocks of columns from `first` on, for rows of one event: row
// r of tap t begins at x[r * row + tap(t)].
template <int N, int Rows, int Taps, int K, int M, class A, class X, class Y, class Tap, class F>
inline void columns_product(int first, const X *__restrict x, long row, Tap tap,
                            const A *__restrict w, const A *__restrict bias, Y *__restrict y,
                            long y_row, F then) {
    // If these are all columns, vectors without any are left out.
    constexpr int held = blocks(M) == N ? M : N * block;
    constexpr int V = (held + lanes<A> - 1) / lanes<A>;
    constexpr long blocked = long(Taps) * K * block;
    const int width = smaller(V * lanes<A>, M - first * block);
    tiles<Rows, alike(Rows, larger(1, tile_registers / V))>([&](int r0, auto tile) {
        constexpr int R = decltype(tile)::value;
        Sums<A, R, V> sums;
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                sums.at[r][v] = load<A>(bias + first * block + v * lanes<A>);
        for (int t = 0; t < Taps; ++t)
            add_products<K, 1, block>(sums, x + r0 * row + tap(t), row,
                                      w + first * blocked + long(t) * K * block, blocked);
        for (int r = 0; r < R; ++r)
            finish<A>(sums.at[r], y + (r0 + r) * y_row + first * block, width, then);
    });
}

// The same for all columns.
template <int Rows, int Taps, int K, int M, class A, class X, class Y, class Tap, class F>
inline void rows_product(const X *__restrict x, long row, Tap tap, const A *__restrict w,
                         const A *__restrict bias, Y *__restrict y, long y_row, F then) {
    tiles<blocks(M), blocks_at_once<A>(Rows, M)>([&](int first, auto count) {
        columns_product<decltype(count)::value, Rows, Taps, K, M>(first, x, row, tap, w, bias, y,
                                                                  y_row, then);
    });
}

// The same for one row of a batch (L = block): outputs are rows, and events are columns.
template <int Taps, int K, int M, class A, class X, class Y, class Tap, class F>
inline void lanes_product(const X *__restrict x, Tap tap, const A *__restrict w,
                          const A *__restrict bias, Y *__restrict y, F then) {
    constexpr int V = block / lanes<A>;
    constexpr int rows = smaller(block, larger(1, tile_registers / V));
    constexpr long blocked = long(Taps) * K * block;
    const auto outputs = [&](int first, auto count) {
        tiles<decltype(count)::value, rows>([&](int m0, auto tile) {
            constexpr int R = decltype(tile)::value;
            Sums<A, R, V> sums;
            const long m = long(first) * block + m0;
            for (int r = 0; r < R; ++r)
                for (int v = 0; v < V; ++v) sums.at[r][v] = bias[m + r] + Vector<A>{};
            for (int t = 0; t < Taps; ++t)
                accumulate<K, block, block>(sums, w + first * blocked + long(t) * K * block + m0, 1,
                                            x + tap(t) * block, block);
            for (int r = 0; r < R; ++r) finish<A>(sums.at[r], y + (m + r) * block, block, then);
        });
    };
    for (int first = 0; first < M / block; ++first)
        outputs(first, std::integral_constant<int, block>());
    if constexpr (M % block != 0) outputs(M / block, std::integral_constant<int, M % block>());
}

// y[row][m] = then(sum of x[row][k] w[k][m] + bias[m])
template <int L, int Rows, int K, int M, class A, class X, class Y, class F>
inline void dense(const X *x, const A *w, const A *bias, Y *y, F then) {
    const auto here = [](int) { return 0L; };
    if constexpr (L == 1)
        rows_product<Rows, 1, K, M>(x, K, here, w, bias, y, M, then);
    else
        for (long r = 0; r < Rows; ++r)
            lanes_product<1, K, M>(x + r * K * L, here, w, bias, y + r * M * L, then);
}

// The same for one output: w [K] lies as x does, so the vector is made of terms.
template <int L, int Rows, int K, class A, class X, class Y, class F>
inline void single(const X *__restrict x, const A *__restrict w, const A *bias, Y *__restrict y, F then) {
    for (long r = 0; r < Rows; ++r) {
        const X *const row = x + r * K * L;
        if constexpr (L == 1) {
            Vector<A> sums[4] = {};
            for (int v = 0; v < K / lanes<A>; ++v)
                sums[v % 4] += load<A>(row + v * lanes<A>) * load<A>(w + v * lanes<A>);
            A held[lanes<A>], rest = bias[0];
            for (int k = K / lanes<A> * lanes<A>; k < K; ++k) rest += A(row[k]) * w[k];
            store(held, (sums[0] + sums[1]) + (sums[2] + sums[3]));
            y[r] = then(joined(held, [](A a, A b) { return a + b; }) + rest);
        } else {
            constexpr int V = block / lanes<A>;
            Sums<A, 1, V> sums;
            for (int v = 0; v < V; ++v) sums.at[0][v] = bias[0] + Vector<A>{};
            accumulate<K, 1, block>(sums, w, 0, row, block);
            finish<A>(sums.at[0], y + r * L, L, then);
        }
    }
}

// y = then(a b) of two computed matrices, a [N][K] and b [K][M]; `packed` has room for b, packed, and
// a row of zeros behind it.
template <int L, int N, int K, int M, class A, class X, class W, class Y, class F>
inline void matrix_product(const X *__restrict a, const W *__restrict b, A *__restrict packed,
                           Y *__restrict y, F then) {
    if constexpr (L == 1) {
        for (int m = 0; m < blocks(M) * block; ++m) {
            A *column = packed + long(m / block) * K * block + m % block;
            for (int k = 0; k < K; ++k) column[k * block] = m < M ? A(b[k * M + m]) : A(0);
        }
        A *zeros = packed + long(blocks(M)) * K * block;
        for (int m = 0; m < blocks(M) * block; ++m) zeros[m] = 0;
        rows_product<N, 1, K, M>(a, K, [](int) { return 0L; }, packed, zeros, y, M, then);
    } else {
        for (long n = 0; n < N; ++n)
            for (long m = 0; m < M; ++m) {
                A sums[L] = {};
                for (long k = 0; k < K; ++k)
                    for (int l = 0; l < L; ++l)
                        sums[l] += A(a[(n * K + k) * L + l]) * A(b[(k * M + m) * L + l]);
                for (int l = 0; l < L; ++l) y[(n * M + m) * L + l] = then(sums[l]);
            }
    }
}

// Convolution, channels last, of an operand that has its padding already. C says:
//   in[3], kernel[3], stride[3], dilation[3], out[3]   sizes in three dimensions
//   groups, channels, outputs                          channels and outputs of a group
template <int L, class C, class A, class X, class Y, class F>
inline void convolution(const X *x, const A *w, const A *bias, Y *y, F then) {
    // Taps that lie side by side in memory are one.
    constexpr bool merged = C::groups == 1 && C::dilation[2] == 1;
    constexpr int k2 = merged ? 1 : C::kernel[2], depth = merged ? C::kernel[2] * C::channels : C::channels;
    constexpr int taps = C::kernel[0] * C::kernel[1] * k2;
    constexpr long all = long(C::groups) * C::channels;
    constexpr long line = C::in[2] * all, plane = C::in[1] * line;
    constexpr long packed = long(blocks(C::outputs)) * taps * depth * block;
    const auto tap = [](int t) {
        return t / (k2 * C::kernel[1]) * C::dilation[0] * plane +
               t / k2 % C::kernel[1] * C::dilation[1] * line + t % k2 * C::dilation[2] * all;
    };
    constexpr long made = long(C::groups) * C::outputs;
    for (int g = 0; g < C::groups; ++g) {
        const A *const weights = w + g * packed, *const offset = bias + g * blocks(C::outputs) * block;
        const auto lines = [&](auto f) {
            for (int i = 0; i < C::out[0]; ++i)
                for (int j = 0; j < C::out[1]; ++j)
                    f(x + (i * C::stride[0] * plane + j * C::stride[1] * line + g * C::channels) * L,
                      y + ((long(i) * C::out[1] + j) * C::out[2] * made + g * C::outputs) * L);
        };
        if constexpr (L == 1)
            // All lines with a few blocks of weights, which stay in cache meanwhile.
            tiles<blocks(C::outputs), blocks_at_once<A>(C::out[2], C::outputs)>(
                [&](int first, auto count) {
                    lines([&](const X *from, Y *to) {
                        columns_product<decltype(count)::value, C::out[2], taps, depth, C::outputs>(
                            first, from, C::stride[2] * all, tap, weights, offset, to, made, then);
                    });
                });
        else
            lines([&](const X *from, Y *to) {
                for (long k = 0; k < C::out[2]; ++k)
                    lanes_product<taps, depth, C::outputs>(from + k * C::stride[2] * all * L, tap,
                                                           weights, offset, to + k * made * L, then);
            });
    }
}

// The same where each channel has a kernel of its own: w [taps][channels], bias [channels].
template <int L, class C, class A, class X, class Y, class F>
inline void depthwise(const X *__restrict x, const A *__restrict w, const A *__restrict bias,
                      Y *__restrict y, F then) {
    constexpr long all = C::groups;
    constexpr long line = C::in[2] * all, plane = C::in[1] * line;
    using Taps = Ints<C::kernel[0], C::kernel[1], C::kernel[2]>;
    using Out = Ints<C::out[0], C::out[1], C::out[2]>;
    const auto taps = [](auto f) {
        long t = 0;
        loop<Taps, Ints<C::dilation[0] * plane, C::dilation[1] * line, C::dilation[2] * all>>(
            [&](long at) { f(at, all * t++); });
    };
    loop<Out, Ints<C::stride[0] * plane, C::stride[1] * line, C::stride[2] * all>>([&](long from) {
        if constexpr (L == 1) {
            constexpr int whole = C::groups / lanes<A>;
            tiles<whole, 4>([&](int first, auto count) {
                constexpr int V = decltype(count)::value;
                const long c = long(first) * lanes<A>;
                Vector<A> sums[V];
                for (int v = 0; v < V; ++v) sums[v] = load<A>(bias + c + v * lanes<A>);
                taps([&](long at, long t) {
                    for (int v = 0; v < V; ++v)
                        sums[v] += load<A>(x + from + at + c + v * lanes<A>) *
                                   load<A>(w + t + c + v * lanes<A>);
                });
                finish<A>(sums, y + c, V * lanes<A>, then);
            });
            for (long c = whole * lanes<A>; c < all; ++c) {
                A sum = bias[c];
                taps([&](long at, long t) { sum += A(x[from + at + c]) * w[t + c]; });
                y[c] = then(sum);
            }
        } else {
            constexpr int V = block / lanes<A>;
            for (long c = 0; c < all; ++c) {
                Vector<A> sums[V];
                for (int v = 0; v < V; ++v) sums[v] = bias[c] + Vector<A>{};
                taps([&](long at, long t) {
                    for (int v = 0; v < V; ++v)
                        sums[v] += load<A>(x + (from + at + c) * L + v * lanes<A>) * w[t + c];
                });
                finish<A>(sums, y + c * L, L, then);
            }
        }
        y += all * L;
    });
}
