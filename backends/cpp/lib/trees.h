// Tree ensembles: every question once, then each tree from its root to a leaf.

// One question: the feature, its steps (from `first` to before `end`), and the answer to NaN.
struct Key {
    int feature, first, end;
    bool nan;
};

// A node asks a key; children are nodes, or ~leaf.
struct Node {
    int key, no, yes;
};

// y[output] = base + leaves reached; trees[t] is a root and the output it adds to, -1 for all.
// T says: features, keys, trees, width (values of a leaf), outputs
template <int L, class T, class A, class X, class S, class Y, class F>
inline void trees(const X *__restrict x, const Key *keys, const S *steps, const Node *nodes,
                  const int (*roots)[2], const A *leaves, const A *base, Y *__restrict y, F then) {
    bool answer[(T::keys + 1) * L];
    for (long k = 0; k < T::keys; ++k) {
        const X *feature = x + long(keys[k].feature) * L;
        for (int l = 0; l < L; ++l) {
            bool passed = keys[k].nan && feature[l] != feature[l];
            for (int s = keys[k].first; s < keys[k].end; ++s)
                passed ^= S(feature[l]) >= steps[s];
            answer[k * L + l] = passed;
        }
    }
    A sums[T::outputs * L];
    for (long o = 0; o < T::outputs; ++o)
        for (int l = 0; l < L; ++l) sums[o * L + l] = base[o];
    for (long t = 0; t < T::trees; ++t) {
        for (int l = 0; l < L; ++l) {
            int at = roots[t][0];
            while (at >= 0) at = answer[long(nodes[at].key) * L + l] ? nodes[at].yes : nodes[at].no;
            const A *leaf = leaves + long(~at) * T::width;
            if (roots[t][1] >= 0)
                sums[long(roots[t][1]) * L + l] += leaf[0];
            else
                for (long o = 0; o < T::width; ++o) sums[o * L + l] += leaf[o];
        }
    }
    for (long o = 0; o < long(T::outputs) * L; ++o) y[o] = then(sums[o]);
}
