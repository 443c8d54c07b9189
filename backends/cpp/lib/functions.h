// Functions of one variable, without branches: loops over them become vector code.
//
// Those of float are polynomials, fitted to least greatest relative error; beside each stands its
// greatest error in units of the last place (ulp), which the tests measure. Those of double are the
// standard library's.

template <class T> inline T maximum(T a, T b) { return a < b ? b : a; }
template <class T> inline T minimum(T a, T b) { return b < a ? b : a; }

// x between -end and end; NaN stays NaN.
inline float limit(float x, float end) { return maximum(minimum(x, end), -end); }

inline float from_bits(std::int32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

inline std::int32_t to_bits(float x) {
    std::int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

// 2^n for n from -252 to 254, as two factors: neither is subnormal or infinite.
inline float times_power(float x, std::int32_t n) {
    const std::int32_t half = n >> 1;
    return x * from_bits((half + 127) << 23) * from_bits((n - half + 127) << 23);
}

// e^x / 2^n, for the whole number n nearest to x / ln 2: of a float, or of each of a vector.
template <class X, class N> inline X exponential_without_power(X x, N &n) {
    const X shifted = x * 1.44269504f + 12582912.0f;
    const X whole = shifted - 12582912.0f;
    const X r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    X q = r * 1.39012900e-3f + 8.36316213e-3f;
    q = q * r + 4.16668537e-2f;
    q = q * r + 0.166665772f;
    q = q * r + 0.499999996f;
    std::memcpy(&n, &shifted, sizeof n);
    n -= 0x4b400000;
    return q * r * r + r + 1.0f;
}

// e^x: 1.5 ulp; NaN stays NaN.
inline float exponential(float x) {
    const float inside = limit(x, 104.0f);
    std::int32_t n;
    const float fraction = exponential_without_power(inside, n);
    return times_power(fraction, n);
}

// The same for x up to 0, in fewer steps: 2^(n + 24) is neither subnormal nor infinite.
template <class N, class X> inline X exponential_of_loss_by(X x) {
    N n;
    const X fraction = exponential_without_power(maximum(x, X{} - 104.0f), n);
    const N bits = (n + (24 + 127)) << 23;
    X power;
    std::memcpy(&power, &bits, sizeof power);
    return fraction * power * 5.9604645e-8f;
}
inline float exponential_of_loss(float x) { return exponential_of_loss_by<std::int32_t>(x); }
inline Vector<float> exponential_of_loss(const Vector<float> &x) {
    return exponential_of_loss_by<VectorOf<std::int32_t, lanes<float>>::type>(x);
}

// e^x - 1: 3 ulp.
inline float exponential_less_one(float x) {
    float q = 1.98756198e-4f;
    q = q * x + 1.39819917e-3f;
    q = q * x + 8.33345220e-3f;
    q = q * x + 4.16657959e-2f;
    q = q * x + 0.166666655f;
    q = q * x + 0.500000012f;
    const float near = q * x * x + x, far = exponential(x) - 1.0f;
    return x > -0.5f && x < 0.5f ? near : far;
}

// ln x: 2 ulp; -infinity of 0, NaN below.
inline float logarithm(float x) {
    const bool tiny = x < 1.17549435e-38f;
    const std::int32_t bits = to_bits(tiny ? x * 8388608.0f : x) - 0x3f3504f3;
    const float n = float((bits >> 23) - (tiny ? 23 : 0));
    const float f = from_bits((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
    float q = 7.03758629e-2f;
    q = q * f - 0.115145582f;
    q = q * f + 0.116770108f;
    q = q * f - 0.124201492f;
    q = q * f + 0.142493225f;
    q = q * f - 0.166680573f;
    q = q * f + 0.200007148f;
    q = q * f - 0.249999940f;
    q = q * f + 0.333333312f;
    const float square = f * f;
    const float y = (q * f * square + n * -2.12194440e-4f - 0.5f * square) + f + n * 0.693359375f;
    const float infinity = std::numeric_limits<float>::infinity();
    const float finite = x < infinity ? y : x;
    return x > 0 ? finite : x == 0 ? -infinity : std::numeric_limits<float>::quiet_NaN();
}

// ln(1 + x): 3 ulp.
inline float logarithm_of_one_and(float x) {
    const float u = 1.0f + x, difference = u - 1.0f;
    // What rounding took from 1 + x comes back as a factor.
    const float infinity = std::numeric_limits<float>::infinity();
    const float y = logarithm(u) * (x / (difference == 0 ? 1.0f : difference));
    return difference == 0 ? x : u < infinity ? y : u;
}

// What a function is, before the division: a product of two takes one division then.
template <class T> struct Quotient {
    T over, under;
    T value() const { return over / under; }
};

// tanh x: 5 ulp. Numerator and denominator are sums of positive terms.
inline Quotient<float> hyperbolic_tangent_quotient(float x) {
    const float inside = limit(x, 9.02f), z = inside * inside;
    float p = 1.33187683e-8f;
    p = p * z + 2.05832560e-5f;
    p = p * z + 3.49402079e-3f;
    p = p * z + 0.133797064f;
    p = p * z + 0.999999979f;
    float q = 7.76189307e-7f;
    q = q * z + 3.28307034e-4f;
    q = q * z + 2.58710209e-2f;
    q = q * z + 0.467130216f;
    q = q * z + 1.0f;
    return {inside * p, q};
}
inline float hyperbolic_tangent(float x) { return hyperbolic_tangent_quotient(x).value(); }

// 1 / (1 + e^-x): 3 ulp down to e^-end, which is its least value.
inline Quotient<float> logistic_quotient(float x, float end) {
    std::int32_t n;
    const float fraction = exponential_without_power(limit(-x, end), n);
    return {1.0f, 1.0f + fraction * from_bits((n + 127) << 23)};
}
inline float logistic(float x) { return logistic_quotient(x, 87.3f).value(); }
// As a factor: under another quotient's denominator it stays finite.
inline Quotient<float> logistic_quotient(float x) { return logistic_quotient(x, 80.0f); }

// erf x: 4 ulp.
inline float error_function(float x) {
    const float z = x * x, size = x < 0 ? -x : x;
    float q = 7.85385771e-5f;
    q = q * z - 8.01019252e-4f;
    q = q * z + 5.18832756e-3f;
    q = q * z - 2.68538119e-2f;
    q = q * z + 0.112835851f;
    q = q * z - 0.376126258f;
    q = q * z + 1.12837917f;
    const float near = q * x;
    const float bounded = size > 4.2f ? 4.2f : size, t = 1.0f / (1.0f + 0.5f * bounded);
    float p = 5.06686621e-2f;
    p = p * t - 8.38989190e-2f;
    p = p * t - 0.117866944f;
    p = p * t + 0.215640593f;
    p = p * t + 0.108063483f;
    p = p * t + 0.266124925f;
    p = p * t + 0.279190436f;
    p = p * t + 0.282277845f;
    const float far = 1.0f - p * t * exponential(-bounded * bounded);
    const float signed_far = x < 0 ? -far : far;
    return size < 1.0f ? near : x != x ? x : signed_far;
}

// The standard library's own are no part of what g++ is told above, and would stay calls.
inline float lower(float x) { return __builtin_floorf(x); }
inline double lower(double x) { return __builtin_floor(x); }
inline float upper(float x) { return __builtin_ceilf(x); }
inline double upper(double x) { return __builtin_ceil(x); }
inline float inner(float x) { return __builtin_truncf(x); }
inline double inner(double x) { return __builtin_trunc(x); }
inline float nearest(float x) { return __builtin_rintf(x); }
inline double nearest(double x) { return __builtin_rint(x); }
inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }
inline double exponential(double x) { return std::exp(x); }
inline double exponential_of_loss(double x) { return std::exp(x); }
inline Vector<double> exponential_of_loss(Vector<double> x) {
    for (int i = 0; i < lanes<double>; ++i) x[i] = std::exp(x[i]);
    return x;
}
inline double exponential_less_one(double x) { return std::expm1(x); }
inline double logarithm(double x) { return std::log(x); }
inline double logarithm_of_one_and(double x) { return std::log1p(x); }
inline double hyperbolic_tangent(double x) { return std::tanh(x); }
inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }
inline double error_function(double x) { return std::erf(x); }
