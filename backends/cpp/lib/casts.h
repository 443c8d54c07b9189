// From one number format into another: rounding, then overflow, as ap_fixed does.
//
// Integers are held in float up to 2^24, in double up to 2^53 and else in 64 bits, whichever holds
// every intermediate exactly; the numbers of a cast are chosen for that.

enum class Rounding { TRN, TRN_ZERO, RND, RND_CONV, RND_MIN_INF, RND_ZERO, RND_INF };
enum class Overflow { NONE, SAT, SAT_ZERO, SAT_SYM, WRAP };

template <Rounding R, class T> inline T rounded(T x) {
    if constexpr (R == Rounding::TRN)
        return lower(x);
    else if constexpr (R == Rounding::TRN_ZERO)
        return inner(x);
    else if constexpr (R == Rounding::RND)
        return lower(x + T(0.5));
    else if constexpr (R == Rounding::RND_CONV)
        return nearest(x);
    else if constexpr (R == Rounding::RND_MIN_INF)
        return upper(x - T(0.5));
    else if constexpr (R == Rounding::RND_ZERO)
        return x > 0 ? upper(x - T(0.5)) : lower(x + T(0.5));
    else
        return x < 0 ? upper(x - T(0.5)) : lower(x + T(0.5));
}

// A format's limits: `least` and `most` pass unchanged, `lowest` is where a wrap begins.
template <class T> struct Limits {
    T least, most, lowest, span;
};

template <Overflow O, class T> inline T limited(T x, const Limits<T> &to) {
    if constexpr (O == Overflow::SAT || O == Overflow::SAT_SYM)
        return minimum(maximum(x, to.least), to.most);
    else if constexpr (O == Overflow::SAT_ZERO)
        return x < to.least || x > to.most ? T(0) : x;
    else if constexpr (O == Overflow::WRAP)
        return x - lower((x - to.lowest) / to.span) * to.span;
    else
        return x;
}

// x * scale, rounded and limited; scale is a power of two, and `finer` restores a finer LSB.
template <Rounding R, Overflow O, class T>
inline T cast(T x, T scale, const Limits<T> &to, T finer = 1) {
    return limited<O>(rounded<R>(x * scale), to) * finer;
}

__extension__ typedef __int128 Wide;

// The same for x / 2^shift in integers, of which 128 bits hold every intermediate.
template <Rounding R, Overflow O>
inline std::int64_t cast_integer(std::int64_t x, int shift, const Limits<Wide> &to, int finer = 0) {
    Wide y = x;
    if (shift <= 0) {
        y = y * (Wide(1) << -shift);
    } else {
        const Wide down = y >> shift, rest = y - down * (Wide(1) << shift);
        const Wide half = Wide(1) << (shift - 1);
        bool up = false;
        if constexpr (R == Rounding::TRN_ZERO) up = x < 0 && rest != 0;
        if constexpr (R == Rounding::RND) up = rest >= half;
        if constexpr (R == Rounding::RND_CONV) up = rest > half || (rest == half && (down & 1));
        if constexpr (R == Rounding::RND_MIN_INF) up = rest > half;
        if constexpr (R == Rounding::RND_ZERO) up = rest > half || (rest == half && x < 0);
        if constexpr (R == Rounding::RND_INF) up = rest > half || (rest == half && x >= 0);
        y = down + up;
    }
    if constexpr (O == Overflow::SAT || O == Overflow::SAT_SYM) {
        y = y < to.least ? to.least : y > to.most ? to.most : y;
    } else if constexpr (O == Overflow::SAT_ZERO) {
        y = y < to.least || y > to.most ? 0 : y;
    } else if constexpr (O == Overflow::WRAP) {
        Wide turn = (y - to.lowest) % to.span;
        y = to.lowest + (turn < 0 ? turn + to.span : turn);
    }
    return std::int64_t(y * (Wide(1) << finer));
}

// entries[x - lo], the first or last of them beyond the ends
template <class T, class E, class X> inline T look_up(const E *entries, long lo, long last, X x) {
    const long at = long(x) - lo;
    return T(entries[at < 0 ? 0 : at > last ? last : at]);
}
