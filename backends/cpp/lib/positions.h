// Elements at places that are computed; a place beyond an end is the element at that end.

template <class P> inline long within(P place, long size) {
    const long at = long(place);
    return at < 0 ? 0 : at >= size ? size - 1 : at;
}

// y[row][m] = f(x[row][positions[row][m]]), of N elements a row
template <int L, int Rows, int N, int M, class F, class Y, class X, class P>
inline void pick(F f, Y *__restrict y, X x, P positions) {
    for (long r = 0; r < Rows; ++r)
        for (long m = 0; m < M; ++m)
            for (int l = 0; l < L; ++l)
                y[(r * M + m) * L + l] = f(x(r * N + within(positions(r * M + m, l), N), l));
}

// y = x, with f(element, update) at positions, one after another
template <int L, int Rows, int N, int M, class F, class Y, class X, class P, class U>
inline void scatter(F f, Y *__restrict y, X x, P positions, U updates) {
    for (long i = 0; i < long(Rows) * N; ++i)
        for (int l = 0; l < L; ++l) y[i * L + l] = x(i, l);
    for (long r = 0; r < Rows; ++r)
        for (long m = 0; m < M; ++m)
            for (int l = 0; l < L; ++l) {
                Y &at = y[(r * N + within(positions(r * M + m, l), N)) * L + l];
                at = f(at, updates(r * M + m, l));
            }
}

// Positions of the Count first elements of each row by an order: before(a, b) says whether a comes
// first; of equal ones, the one in front or, if Last, the one behind.
template <int L, int Rows, int N, int Count, bool Last, class F, class X>
inline void rank(F before, std::int64_t *__restrict y, X x) {
    for (long r = 0; r < Rows; ++r)
        for (int l = 0; l < L; ++l) {
            bool taken[N] = {};
            for (long m = 0; m < Count; ++m) {
                long best = -1;
                for (long i = 0; i < N; ++i) {
                    if (taken[i]) continue;
                    const auto one = x(r * N + i, l);
                    const bool first = best < 0 || before(one, x(r * N + best, l)) ||
                                       (Last && !before(x(r * N + best, l), one));
                    if (first) best = i;
                }
                taken[best] = true;
                y[(r * Count + m) * L + l] = best;
            }
        }
}

// y[o][n][i] = x[o][0][i] + ... + x[o][n][i]
template <int L, int Outer, int N, int Inner, class F, class T>
inline void running_sum(F add_to, T *__restrict y, const T *__restrict x) {
    constexpr long row = long(Inner) * L;
    for (long o = 0; o < Outer; ++o)
        for (long n = 0; n < N; ++n)
            for (long i = 0; i < row; ++i) {
                const long at = (o * N + n) * row + i;
                y[at] = n ? add_to(y[at - row], x[at]) : x[at];
            }
}
