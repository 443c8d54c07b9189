// One event at a time, one thread: the emitted header against onnxruntime's C API, in pairs.
//
// The wheel of onnxruntime has its library but no headers, so the functions that are called are
// named here by their places in its table, which its ABI keeps.
//
//   program LIBRARY MODEL.onnx WEIGHTS INPUT_SHAPE OUTPUT_SHAPE PAIRS both|ours|theirs
#include MODEL_HEADER
#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <dlfcn.h>
#include <random>
#include <string>

namespace ort {
typedef const void *Status;
struct Base {
    void *const *(*get)(std::uint32_t);
    const char *(*version)();
};
enum Slot { message = 2, env = 3, session = 7, run = 9, options = 10, intra = 24, tensor = 49, info = 69 };

struct Session {
    void *const *api;
    void *handle = nullptr, *in = nullptr, *out = nullptr;

    template <class... T> void call(Slot slot, T... arguments) const {
        const Status status = reinterpret_cast<Status (*)(T...)>(api[slot])(arguments...);
        if (status == nullptr) return;
        std::puts(reinterpret_cast<const char *(*)(Status)>(api[message])(status));
        std::exit(1);
    }

    Session(const char *library, const char *model, float *x, std::vector<std::int64_t> from, float *y,
            std::vector<std::int64_t> to) {
        void *const found = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (!found) std::puts(dlerror()), std::exit(1);
        api = reinterpret_cast<const Base *(*)()>(dlsym(found, "OrtGetApiBase"))()->get(16);
        void *environment = nullptr, *chosen = nullptr, *memory = nullptr;
        call(env, 3, "benchmark", &environment);
        call(options, &chosen);
        call(intra, chosen, 1);
        call(session, environment, model, chosen, &handle);
        call(info, 0, 0, &memory);
        const auto size = [](const std::vector<std::int64_t> &shape) {
            std::size_t n = sizeof(float);
            for (const auto d : shape) n *= std::size_t(d);
            return n;
        };
        call(tensor, memory, static_cast<void *>(x), size(from), from.data(), from.size(), 1, &in);
        call(tensor, memory, static_cast<void *>(y), size(to), to.data(), to.size(), 1, &out);
    }

    void infer() {
        const char *const names[] = {"x", "y"};
        call(run, handle, static_cast<void *>(nullptr), &names[0], &in, std::size_t(1), &names[1],
             std::size_t(1), &out);
    }
};
} // namespace ort

static std::vector<std::int64_t> shape(const char *text) {
    std::vector<std::int64_t> sizes;
    for (const char *at = text; *at; at += *at == ',') {
        char *end = nullptr;
        sizes.push_back(std::strtol(at, &end, 10));
        at = end;
    }
    return sizes;
}

// The time of this thread alone: others may share the core.
static double now() {
    std::timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

template <class F> static double seconds(long calls, F f) {
    const double start = now();
    for (long i = 0; i < calls; ++i) f();
    return (now() - start) / double(calls);
}

static double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

int main(int, char **argument) {
    using Model = MODEL_NAMESPACE::Session;
    const std::string mode = argument[7];
    std::vector<float> x(Model::x_size), y(Model::y_size), expected(Model::y_size);
    std::mt19937 generator(0);
    for (float &v : x) v = std::normal_distribution<float>()(generator);
    std::vector<double> ours, theirs, ratios;
    const auto work = std::make_unique<Model::Workspace>();
    const auto open = [&] {
        if constexpr (std::is_default_constructible_v<Model>)
            return std::make_unique<Model>();
        else
            return std::make_unique<Model>(std::string(argument[3]));
    };
    const auto model = mode == "theirs" ? nullptr : open();
    const auto mine = [&] { model->infer(x.data(), y.data(), *work); };
    if (mode == "ours") {
        for (int i = 0; i < 10; ++i) mine();
    } else {
        ort::Session rival(argument[1], argument[2], x.data(), shape(argument[4]), expected.data(),
                           shape(argument[5]));
        const auto other = [&] { rival.infer(); };
        if (mode == "theirs") {
            for (int i = 0; i < 10; ++i) other();
        } else {
            mine(), other();
            const long calls = std::max(1L, long(2e-3 / seconds(3, other)));
            for (int pair = 0; pair < std::atoi(argument[6]); ++pair) {
                ours.push_back(seconds(calls, mine));
                theirs.push_back(seconds(calls, other));
                ratios.push_back(theirs.back() / ours.back());
            }
            double worst = 0, most = 0;
            for (std::size_t i = 0; i < y.size(); ++i) {
                worst = std::max(worst, double(std::abs(y[i] - expected[i])));
                most = std::max(most, double(std::abs(expected[i])));
            }
            std::printf("%.9g %.9g %.9g %.3g\n", median(ours), median(theirs), median(ratios), worst / most);
            return 0;
        }
    }
    // The greatest resident size since this program began, in kB.
    std::FILE *const status = std::fopen("/proc/self/status", "r");
    char line[256];
    while (std::fgets(line, sizeof line, status))
        if (std::strncmp(line, "VmHWM:", 6) == 0) std::printf("%ld\n", std::strtol(line + 6, nullptr, 10));
}
