// A batch of events over threads. Never synthesised.
#ifndef SYNTH_LIB_BATCH_H
#define SYNTH_LIB_BATCH_H

#include <thread>
#include <vector>

namespace synth_lib {

typedef void (*event_t)(const long long *const *, long long *const *, long long);

inline void run_range(event_t one_event, const long long *const *inputs, long long *const *outputs,
                      long long first, long long last) {
    for (long long event = first; event < last; event++) one_event(inputs, outputs, event);
}

// Each thread takes a contiguous part of the events.
inline void run_batch(event_t one_event, const long long *const *inputs,
                      long long *const *outputs, long long events, int threads) {
    std::vector<std::thread> pool;
    for (int t = 1; t < threads; t++)
        pool.push_back(std::thread(run_range, one_event, inputs, outputs, events * t / threads,
                                   events * (t + 1) / threads));
    run_range(one_event, inputs, outputs, 0, threads > 1 ? events / threads : events);
    for (unsigned t = 0; t < pool.size(); t++) pool[t].join();
}

} // namespace synth_lib

#endif
