// Values on their way through a design, for the search of the first divergence.
//
// SYNTH_TAP(index, array, size) expands to nothing unless SYNTH_TRACE is defined.
#ifndef SYNTH_LIB_TRACE_H
#define SYNTH_LIB_TRACE_H

#ifdef SYNTH_TRACE

#include "words.h"

namespace synth_lib {

// Where each tapped value goes, by index: null where it isn't wanted. One thread at a time.
static long long *const *trace_sinks = 0;
static long long trace_event = 0;

template <class T> void tap(int index, const T *values, int size) {
    if (!trace_sinks || !trace_sinks[index]) return;
    const int count = (Layout<T>::width + 63) / 64;
    long long *const sink = trace_sinks[index] + trace_event * size * count;
    for (int i = 0; i < size; i++) to_words(values[i], count, sink + i * count);
}

} // namespace synth_lib

#define SYNTH_TAP(index, array, size) synth_lib::tap(index, array, size)
#else
#define SYNTH_TAP(index, array, size)
#endif

#endif
