// Tree ensembles: by columns for the events of a batch, from root to leaf for a single one.
//
// By columns, the questions of a few trees are answered for all events, a byte each. Then every
// node, from the last to the first, selects between the leaf numbers of its children: no branch, and
// no wait for memory. Large trees are walked, as a row meets few of their nodes.

// Of trees that are evaluated by columns; groves have at most so many questions.
constexpr int most_leaves = 256, most_keys = 512;

// One question: the feature, its steps (from `first` to before `end`), and the answer to NaN.
struct Key {
    int feature, first, end;
    bool nan;
};

// A node asks a key; children are nodes, or ~leaf. Nodes stand behind their parents.
struct Node {
    int key, no, yes;
};

// Nodes from `first` to before `end`, and the output that is added to: -1 for all.
struct Tree {
    int root, output, first, end, leaf;
};

// Trees up to `trees`, and their keys from `first` to before `end`: none if they are walked.
struct Grove {
    int first, end, trees;
};

// Columns of leaf numbers: each L times.
template <int L> struct Numbers {
    unsigned char at[most_leaves * L];
    constexpr Numbers() : at() {
        for (int i = 0; i < most_leaves * L; ++i) at[i] = (unsigned char)(i / L);
    }
};
template <int L> inline constexpr Numbers<L> numbers{};

// Answers y[k] of L events each: all bits, or none.
template <int L, class X, class S>
inline void answer(const X *__restrict x, const Key *keys, int count, const S *steps,
                   unsigned char *__restrict y) {
    constexpr int n = lanes<S> < L ? lanes<S> : L;
    typedef typename VectorOf<S, n>::type Values;
    typedef decltype(Values() < Values()) Answers;
    for (int k = 0; k < count; ++k, y += L) {
        const Key &key = keys[k];
        Answers passed[L / n];
        for (int i = 0; i < L / n; ++i) {
            Values value;
            for (int l = 0; l < n; ++l) value[l] = S(x[long(key.feature) * L + i * n + l]);
            passed[i] = value != value;
            if (!key.nan) passed[i] ^= passed[i];
            for (int s = key.first; s < key.end; ++s) passed[i] ^= value >= steps[s];
        }
        // In two loops: compilers narrow a whole array better than vectors of it.
        std::remove_reference_t<decltype(passed[0][0])> all[L];
        std::memcpy(all, passed, sizeof all);
        for (int l = 0; l < L; ++l) y[l] = (unsigned char)all[l];
    }
}

// Returns the column of leaf numbers that L events reach; answers are those of keys from `first`.
template <int L>
inline const unsigned char *select(const Tree &tree, const Node *nodes,
                                   const unsigned char *answers, int first,
                                   unsigned char *columns) {
    typedef typename VectorOf<unsigned char, L>::type Bytes;
    const auto column = [&](int child) {
        return child < 0 ? numbers<L>.at + long(~child - tree.leaf) * L
                         : columns + long(child - tree.first) * L;
    };
    for (int n = tree.end - 1; n >= tree.first; --n) {
        Bytes mask, no, yes;
        std::memcpy(&mask, answers + long(nodes[n].key - first) * L, sizeof mask);
        std::memcpy(&no, column(nodes[n].no), sizeof no);
        std::memcpy(&yes, column(nodes[n].yes), sizeof yes);
        const Bytes chosen = (yes & mask) | (no & ~mask);
        std::memcpy(columns + long(n - tree.first) * L, &chosen, sizeof chosen);
    }
    return column(tree.root);
}

// Returns the leaf that one of L events reaches.
template <int L, class X, class S>
inline int walk(int at, const X *x, const Node *nodes, const Key *keys, const S *steps) {
    while (at >= 0) {
        const Key &key = keys[nodes[at].key];
        const X value = x[long(key.feature) * L];
        bool passed = key.nan && value != value;
        for (int s = key.first; s < key.end; ++s) passed ^= S(value) >= steps[s];
        at = passed ? nodes[at].yes : nodes[at].no;
    }
    return ~at;
}

// y[output] = base + leaves reached.
// T says: width (values of a leaf), outputs, groves
template <int L, class T, class A, class X, class S, class Y, class F>
inline void trees(const X *__restrict x, const Key *keys, const S *steps, const Node *nodes,
                  const Tree *trees, const Grove *groves, const A *leaves, const A *base,
                  Y *__restrict y, F then) {
    A sums[T::outputs * L];
    for (long o = 0; o < T::outputs; ++o)
        for (int l = 0; l < L; ++l) sums[o * L + l] = base[o];
    const auto add = [&](int output, int l, long place) {
        const A *leaf = leaves + place * T::width;
        if (output >= 0)
            sums[long(output) * L + l] += leaf[0];
        else
            for (long o = 0; o < T::width; ++o) sums[o * L + l] += leaf[o];
    };
    int t = 0;
    for (const Grove *grove = groves; grove != groves + T::groves; ++grove) {
        if constexpr (L > 1) {
            if (grove->first < grove->end) {
                unsigned char answers[most_keys * L], columns[most_leaves * L];
                answer<L>(x, keys + grove->first, grove->end - grove->first, steps, answers);
                for (; t < grove->trees; ++t) {
                    const unsigned char *reached =
                        select<L>(trees[t], nodes, answers, grove->first, columns);
                    for (int l = 0; l < L; ++l)
                        add(trees[t].output, l, long(trees[t].leaf) + reached[l]);
                }
            }
        }
        for (; t < grove->trees; ++t)
            for (int l = 0; l < L; ++l)
                add(trees[t].output, l, walk<L>(trees[t].root, x + l, nodes, keys, steps));
    }
    for (long o = 0; o < long(T::outputs) * L; ++o) y[o] = then(sums[o]);
}
