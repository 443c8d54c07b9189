// Element by element, with broadcasting; and what only moves elements.

// How an operand is read: element i of event l, or of a constant that all events share.
template <int L, class T> struct Each {
    const T *at_zero;
    T operator()(long i, int l) const { return at_zero[i * L + l]; }
};
template <class T> struct Shared {
    const T *at_zero;
    T operator()(long i, int) const { return at_zero[i]; }
};
template <int L, class T> inline Each<L, T> each(const T *x) { return {x}; }
template <class T> inline Shared<T> shared(const T *x) { return {x}; }

// y[i . To] = f(x[i . From], ...) for every index i below the sizes
template <int L, class Sizes, class To, class... From, class F, class Y, class... X>
inline void map(F f, Y *__restrict y, X... x) {
    constexpr int last = Sizes::count - 1;
    constexpr long n = Sizes::at(last);
    loop_rows<Sizes, To, From...>([&](long to, auto... from) {
        for (long i = 0; i < n; ++i)
            for (int l = 0; l < L; ++l)
                y[(to + i * To::at(last)) * L + l] = f(x(from + i * From::at(last), l)...);
    });
}

// The first count elements of y are the same.
template <int L, class Y> inline void fill(Y *y, long count, Y value) {
    for (long i = 0; i < count * L; ++i) y[i] = value;
}

// y[o][i][...] = f(x[o][index[i]][...]): rows of Inner elements, From of them behind each other.
template <int L, int Outer, int From, int Count, int Inner, class F, class Y, class X>
inline void gather(F f, Y *__restrict y, X x, const int *index) {
    for (long o = 0; o < Outer; ++o)
        for (long i = 0; i < Count; ++i)
            for (long j = 0; j < Inner; ++j)
                for (int l = 0; l < L; ++l)
                    y[((o * Count + i) * Inner + j) * L + l] =
                        f(x((o * From + index[i]) * Inner + j, l));
}

// Eight vectors of eight numbers, as columns: three rounds swap ever smaller halves.
template <class T> inline void turn(typename VectorOf<T, 8>::type (&r)[8]) {
#if defined(__clang__) || __GNUC__ >= 12
    const auto swap = [&](int distance, auto low, auto high) {
        for (int i = 0; i < 8; ++i)
            if ((i & distance) == 0) {
                const auto a = r[i], b = r[i + distance];
                r[i] = low(a, b);
                r[i + distance] = high(a, b);
            }
    };
    swap(4, [](auto a, auto b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11); },
         [](auto a, auto b) { return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15); });
    swap(2, [](auto a, auto b) { return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13); },
         [](auto a, auto b) { return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15); });
    swap(1, [](auto a, auto b) { return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14); },
         [](auto a, auto b) { return __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15); });
#else
    for (int i = 0; i < 8; ++i)
        for (int j = 0; j < i; ++j) {
            const T held = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = held;
        }
#endif
}

// y[o][c][r] = x[o][r][c]
template <int L, int Outer, int Rows, int Columns, class T>
inline void transpose(T *__restrict y, const T *__restrict x) {
    constexpr int rows = L == 1 ? Rows / 8 * 8 : 0, columns = Columns / 8 * 8;
    const auto one = [&](long r, long c) {
        for (int l = 0; l < L; ++l) y[(c * Rows + r) * L + l] = x[(r * Columns + c) * L + l];
    };
    for (int o = 0; o < Outer; ++o) {
        for (long c = 0; c < columns; c += 8)
            for (long r = 0; r < rows; r += 8) {
                typename VectorOf<T, 8>::type tile[8];
                for (int i = 0; i < 8; ++i)
                    std::memcpy(&tile[i], x + (r + i) * Columns + c, sizeof tile[i]);
                turn<T>(tile);
                for (int i = 0; i < 8; ++i)
                    std::memcpy(y + (c + i) * Rows + r, &tile[i], sizeof tile[i]);
            }
        for (long c = columns; c < Columns; ++c)
            for (long r = 0; r < rows; ++r) one(r, c);
        for (long c = 0; c < Columns; ++c)
            for (long r = rows; r < Rows; ++r) one(r, c);
        x += long(Rows) * Columns * L;
        y += long(Rows) * Columns * L;
    }
}
