// Vectors of the machine, and loops whose sizes the compiler knows.
//
// Arrays hold L values side by side for each element: those of L events. L is 1 for single events
// and `block` for batches, so the same kernels serve both; `many` for those of trees alone.

// A block of columns: what a row of packed weights holds, and the events of a batch.
constexpr int block = 16;

// Events of a batch where there is nothing but trees: their tables are large, and read once for all.
constexpr int many = 64;

#if defined(SYNTH_VECTOR_BYTES)
constexpr int vector_bytes = SYNTH_VECTOR_BYTES;
#elif defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
constexpr int vector_registers = vector_bytes == 64 ? 32 : 16;

template <class T> constexpr int lanes = vector_bytes / int(sizeof(T));

template <class T, int N> struct VectorOf {
    typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T> using Vector = typename VectorOf<T, lanes<T>>::type;

template <class A, class T> inline Vector<A> load(const T *p) {
    typename VectorOf<T, lanes<A>>::type v;
    std::memcpy(&v, p, sizeof v);
    if constexpr (std::is_same_v<A, T>)
        return v;
    else
        return __builtin_convertvector(v, Vector<A>);
}

template <class A> inline void store(A *p, const Vector<A> &v) { std::memcpy(p, &v, sizeof v); }

template <int... N> struct Ints {
    static constexpr int count = int(sizeof...(N));
    static constexpr long at(int axis) {
        const long values[] = {N..., 0};
        return values[axis];
    }
    static constexpr long product() { return (1L * ... * N); }
};

template <int Axis, int End, class Sizes, class... Strides, class F, class... Offset>
inline void nest(F &f, Offset... offset) {
    if constexpr (Axis == End)
        f(offset...);
    else
        for (long i = 0; i < Sizes::at(Axis); ++i)
            nest<Axis + 1, End, Sizes, Strides...>(f, (offset + i * Strides::at(Axis))...);
}

// Calls f(offset, ...) for every index below the sizes, with an offset for each list of strides.
template <class Sizes, class... Strides, class F> inline void loop(F f) {
    nest<0, Sizes::count, Sizes, Strides...>(f, (0 * Strides::at(0))...);
}

// The same without the last axis, along which f does what is to be done.
template <class Sizes, class... Strides, class F> inline void loop_rows(F f) {
    nest<0, Sizes::count - 1, Sizes, Strides...>(f, (0 * Strides::at(0))...);
}
