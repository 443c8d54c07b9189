// Arithmetic of integers as ONNX has it: sums wrap around, quotients are cut towards zero.

template <class T> inline T add(T a, T b) { return T(std::uint64_t(a) + std::uint64_t(b)); }
template <class T> inline T subtract(T a, T b) { return T(std::uint64_t(a) - std::uint64_t(b)); }
template <class T> inline T multiply(T a, T b) { return T(std::uint64_t(a) * std::uint64_t(b)); }

// Nothing is divided by zero: the result is 0, as in NumPy. The least integer by -1 is itself.
template <class T> inline T divide(T a, T b) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>)
        if (b == -1) return subtract(T(0), a);
    return T(a / b);
}

template <class T> inline T absolute(T x) {
    if constexpr (std::is_unsigned_v<T>)
        return x;
    else if constexpr (std::is_integral_v<T>)
        return x < 0 ? subtract(T(0), x) : x;
    else
        return maximum(x, -x);
}
