// Convolutions of 3 x 3 taps and stride 1 by Winograd's minimal filtering: four results that lie
// together need 16 products a channel instead of 36.
//
// y = A' (G g G' . B' d B) A for a tile d of 4 x 4 pixels and a kernel g; the printer has made
// G g G' of the kernel. Numbers are transformed by sums and differences of four alone, so an error
// is a few times that of the sum of products itself. An infinite or undefined pixel makes all four
// results of the tiles that read it undefined.

// The 4 x 4 transforms: t[i] of rows (or columns) d[i].
template <class A> inline void taken_apart(const A *d, long step, A *t, long made) {
    t[0] = d[0] - d[2 * step];
    t[made] = d[step] + d[2 * step];
    t[2 * made] = d[2 * step] - d[step];
    t[3 * made] = d[step] - d[3 * step];
}

// One tile for `count` channels: v[p * part + c] of x[i * line + j * pixel + c].
template <class A, class X>
inline void tile_in(const X *__restrict x, long line, long pixel, A *__restrict v, long part,
                    long count) {
    for (long c = 0; c < count; ++c) {
        A d[16], t[16], made[16];
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j) d[i * 4 + j] = A(x[i * line + j * pixel + c]);
        for (int j = 0; j < 4; ++j) taken_apart(d + j, 4, t + j, 4);
        for (int i = 0; i < 4; ++i) taken_apart(t + i * 4, 1, made + i * 4, 1);
        for (int p = 0; p < 16; ++p) v[p * part + c] = made[p];
    }
}

// One tile of 2 x 2 results: y[i * line + j * pixel + c] = then(...) of m[p * part + c].
template <class A, class Y, class F>
inline void tile_out(const A *__restrict m, long part, Y *__restrict y, long line, long pixel,
                     long count, F then) {
    for (long c = 0; c < count; ++c) {
        A t[8];
        for (int j = 0; j < 4; ++j) {
            const A *const at = m + j * part + c;
            const A near = at[4 * part] + at[8 * part], far = at[4 * part] - at[8 * part];
            t[j] = at[0] + near;
            t[4 + j] = far - at[12 * part];
        }
        for (int i = 0; i < 2; ++i) {
            const A *const row = t + i * 4;
            y[i * line + c] = then(row[0] + (row[1] + row[2]));
            y[i * line + pixel + c] = then((row[1] - row[2]) - row[3]);
        }
    }
}

// C is that of `convolution`, and `together`: the rows of tiles that are computed at once. `offset`
// is the bias, and zeros behind it; `room` holds both sides of the products.
template <int L, class C, class A, class X, class Y, class F>
inline void winograd(const X *x, const A *w, const A *offset, A *room, Y *y, F then) {
    constexpr long from = long(C::channels) * L, to = long(C::outputs) * L;
    constexpr long line = C::in[2] * from, made = C::out[2] * to;
    constexpr int wide = C::out[2] / 2, high = C::out[1] / 2;
    constexpr long weights = long(blocks(C::outputs)) * C::channels * block;
    for (int plane = 0; plane < C::out[0]; ++plane) {
        const X *const image = x + plane * C::in[1] * line;
        Y *const result = y + plane * C::out[1] * made;
        tiles<high, C::together>([&](int first, auto count) {
            constexpr int n = decltype(count)::value * wide;
            A *const products = room + 16 * n * from;
            for (int t = 0; t < n; ++t)
                tile_in(image + (first + t / wide) * 2 * line + t % wide * 2 * from, line, from,
                        room + t * from, n * from, from);
            for (int p = 0; p < 16; ++p)
                // What is added to the sixth product is added to all four results.
                dense<L, n, C::channels, C::outputs>(
                    room + p * n * from, w + p * weights,
                    offset + (p == 5 ? 0 : blocks(C::outputs) * block), products + p * n * to,
                    Same());
            for (int t = 0; t < n; ++t)
                tile_out(products + t * to, n * to,
                         result + (first + t / wide) * 2 * made + t % wide * 2 * to, made, to, to,
                         then);
        });
    }
}
