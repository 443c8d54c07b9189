// Codes as 64-bit words, least significant first: the interface of C simulation. Never synthesised.
#ifndef SYNTH_LIB_WORDS_H
#define SYNTH_LIB_WORDS_H

#include "codes.h"

namespace synth_lib {

template <class T> inline void from_words(const long long *words, T &x) {
    const int width = Layout<T>::width;
    if (width <= 64) {
        x.setBits((ap_ulong)words[0]);
        return;
    }
    ap_uint<width> bits = 0;
    for (int lo = 0; lo < width; lo += 64) {
        const int hi = lo + 63 < width ? lo + 63 : width - 1;
        bits.range(hi, lo) = ap_uint<64>((ap_ulong)words[lo / 64]);
    }
    set_code(x, bits);
}

// The last word carries copies of the sign.
template <class T> inline void to_words(const T &x, int count, long long *words) {
    const int width = Layout<T>::width;
    if (width <= 64) {
        const long long value = (long long)x.bits_to_uint64();
        words[0] = value;
        for (int i = 1; i < count; i++) words[i] = Layout<T>::is_signed && value < 0 ? -1 : 0;
        return;
    }
    const ap_int<64 * ((width + 63) / 64)> bits = code(x);
    const bool negative = Layout<T>::is_signed && x < T(0);
    for (int i = 0; i < count; i++) {
        if (64 * i < width)
            words[i] = (long long)ap_uint<64>(bits.range(64 * i + 63, 64 * i)).to_uint64();
        else
            words[i] = negative ? -1 : 0;
    }
}

} // namespace synth_lib

#endif
