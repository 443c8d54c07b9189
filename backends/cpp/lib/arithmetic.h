// Arithmetic of integers as ONNX has it: sums wrap around, quotients are cut towards zero.

template <class T> inline T add(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        return a + b;
    else
        return T(std::uint64_t(a) + std::uint64_t(b));
}
template <class T> inline T subtract(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        return a - b;
    else
        return T(std::uint64_t(a) - std::uint64_t(b));
}
template <class T> inline T multiply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        return a * b;
    else
        return T(std::uint64_t(a) * std::uint64_t(b));
}

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

template <class T> inline T sign(T x) { return T((x > 0) - (x < 0)); }

// The same number in another type; beyond the ends of an integer type, its ends, and 0 for NaN.
template <class T, class X> inline T to(X x) {
    if constexpr (std::is_same_v<T, bool>) {
        return x != 0;
    } else if constexpr (std::is_integral_v<T> && std::is_floating_point_v<X>) {
        // 2^digits is exact in floats, which the greatest integer itself need not be.
        const X end = X(T(1) << (std::numeric_limits<T>::digits - 1)) * 2;
        if (x != x) return 0;
        if (x >= end) return std::numeric_limits<T>::max();
        if (x <= X(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
        return T(x);
    } else {
        return T(x);
    }
}

// The remainder with the dividend's sign, as in C, or with the divisor's.
template <class T> inline T remainder(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        return std::fmod(a, b);
    else
        return subtract(a, multiply(divide(a, b), b));
}
template <class T> inline T modulo(T a, T b) {
    const T rest = remainder(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? T(rest + b) : rest;
}

template <class T> inline T power(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        return std::pow(a, b);
    else
        return to<T>(std::pow(double(a), double(b)));
}

template <class T> inline T shift_left(T a, T b) {
    return b < T(8 * sizeof(T)) ? T(std::uint64_t(a) << b) : T(0);
}
template <class T> inline T shift_right(T a, T b) {
    return b < T(8 * sizeof(T)) ? T(a >> b) : T(0);
}
