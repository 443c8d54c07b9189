// A batch of events over threads. Never synthesised.
#ifndef SYNTH_LIB_BATCH_H
#define SYNTH_LIB_BATCH_H

#include <pthread.h>
#include <vector>

namespace synth_lib {

typedef void (*event_t)(const long long *const *, long long *const *, long long);

// All values of a model lie on the stack, as the wires of a block do in hardware.
static const unsigned long batch_stack = 1UL << 29;

struct batch_part {
    event_t one_event;
    const long long *const *inputs;
    long long *const *outputs;
    long long first, last;
};

inline void *run_part(void *argument) {
    const batch_part &part = *static_cast<const batch_part *>(argument);
    for (long long event = part.first; event < part.last; event++)
        part.one_event(part.inputs, part.outputs, event);
    return 0;
}

// Each thread takes a contiguous part of the events; where none can be started, the caller does.
inline void run_batch(event_t one_event, const long long *const *inputs,
                      long long *const *outputs, long long events, int threads) {
    std::vector<batch_part> parts;
    for (int t = 0; t < threads; t++) {
        const batch_part part = {one_event, inputs, outputs, events * t / threads,
                                 events * (t + 1) / threads};
        parts.push_back(part);
    }
    std::vector<pthread_t> pool;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, batch_stack);
    for (unsigned t = 0; t < parts.size(); t++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, run_part, &parts[t]) == 0)
            pool.push_back(thread);
        else
            run_part(&parts[t]);
    }
    pthread_attr_destroy(&attributes);
    for (unsigned t = 0; t < pool.size(); t++) pthread_join(pool[t], 0);
}

} // namespace synth_lib

#endif
