// What comes in and goes out: events one behind the other, in user's memory.

// Hands on what it is given.
struct Same {
    template <class T> T operator()(T x) const { return x; }
};

// 0 for what is below: of a number, or of each number of a vector.
struct Relu {
    template <class T> T operator()(T x) const { return x < T{} ? T{} : x; }
};

// What takes vectors as it takes numbers.
template <class F>
constexpr bool takes_vectors = std::is_same_v<F, Same> || std::is_same_v<F, Relu>;

// to[e] = from[e], in another type.
template <class T, class U> inline void convert(T *__restrict to, const U *__restrict from, long size) {
    for (long e = 0; e < size; ++e) to[e] = T(from[e]);
}

// `count` events of `size` elements, as a batch of L: to[e][l] = from[l][e]. What is missing of a
// batch repeats its first event.
template <int L, class T, class U>
inline void enter(T *__restrict to, const U *__restrict from, long size, long count) {
    for (long l = 0; l < L; ++l)
        for (long e = 0; e < size; ++e) to[e * L + l] = T(from[(l < count ? l : 0) * size + e]);
}

template <int L, class T, class U>
inline void leave(T *__restrict to, const U *__restrict from, long size, long count) {
    for (long l = 0; l < count; ++l)
        for (long e = 0; e < size; ++e) to[l * size + e] = T(from[e * L + l]);
}

// Reads a file of weights to the first aligned place of a storage that has 64 bytes to spare.
inline const unsigned char *read_weights(unsigned char *storage, const std::string &path,
                                         std::size_t size) {
    unsigned char *const to = storage + (64 - reinterpret_cast<std::uintptr_t>(storage) % 64) % 64;
    std::FILE *const file = std::fopen(path.c_str(), "rb");
    const std::size_t found = file ? std::fread(to, 1, size, file) : 0;
    const bool whole = file && found == size && std::fgetc(file) == EOF;
    if (file) std::fclose(file);
    if (!whole) throw std::runtime_error("no weights of this model in " + path);
    return to;
}
