// Quantisers of float models: a real number to an integer code, as the model's training framework
// does it. In double, where the quotient of two floats meets no tie that the exact one has not.

enum class Nearby { CEIL, RND, RND_CONV, RND_INF, RND_MIN_INF, RND_ZERO, TRN, TRN_ZERO, UP };

// Whether below + rest goes up to below + 1; rest lies in [0, 1).
template <Nearby R> inline bool goes_up(double below, double rest) {
    if constexpr (R == Nearby::TRN)
        return false;
    else if constexpr (R == Nearby::CEIL)
        return rest > 0;
    else if constexpr (R == Nearby::TRN_ZERO)
        return below < 0 && rest > 0;
    else if constexpr (R == Nearby::UP)
        return below >= 0 && rest > 0;
    else if constexpr (R == Nearby::RND)
        return rest >= 0.5;
    else if constexpr (R == Nearby::RND_MIN_INF)
        return rest > 0.5;
    else if constexpr (R == Nearby::RND_ZERO)
        return rest > 0.5 || (rest == 0.5 && below < 0);
    else if constexpr (R == Nearby::RND_INF)
        return rest > 0.5 || (rest == 0.5 && below >= 0);
    else
        return rest > 0.5 || (rest == 0.5 && lower(below * 0.5) * 2 != below);
}

template <Nearby R, bool Wraps>
inline double quantise(double x, double scale, double zero, double lo, double hi) {
    // A zero point need not be an integer; what it has behind the point may carry.
    const double quotient = x / scale, under = lower(quotient), whole = lower(zero);
    const double sum = quotient - under + (zero - whole);
    const double carry = zero != whole && sum >= 1 ? 1 : 0, below = under + whole + carry;
    const double code = goes_up<R>(below, sum - carry) ? below + 1 : below;
    if constexpr (Wraps)
        return code - lower((code - lo) / (hi - lo + 1)) * (hi - lo + 1);
    else
        return minimum(maximum(code, lo), hi);
}
