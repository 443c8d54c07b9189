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
