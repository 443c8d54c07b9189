// Golden data of a test bench: codes in <port>.hex, values in the two .dat files. Never synthesised.
#ifndef SYNTH_LIB_GOLDEN_H
#define SYNTH_LIB_GOLDEN_H

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "codes.h"

namespace synth_lib {

class Golden {
  public:
    explicit Golden(const std::string &folder)
        : folder_(folder), events_(0), differences_(0), missing_(false),
          features_((folder + "/tb_input_features.dat").c_str()),
          predictions_((folder + "/tb_output_predictions.dat").c_str()) {
        if (!features_ || !predictions_) fail("the .dat files are missing in", folder);
    }

    ~Golden() {
        for (unsigned i = 0; i < codes_.size(); i++) delete codes_[i];
    }

    void open(const std::string &port) {
        codes_.push_back(new std::ifstream((folder_ + "/" + port + ".hex").c_str()));
        if (!*codes_.back()) fail("there are no codes of port", port);
    }

    // Whether there is another event: a value of the first feature.
    bool next_event() {
        if (missing_ || !(features_ >> std::ws) || features_.eof()) return false;
        events_++;
        return true;
    }

    // Take an input's code; its value must agree.
    template <class T> void input(int number, const char *port, int index, T &x) {
        ap_uint<Layout<T>::width> bits;
        if (read_code(number, port, bits)) set_code(x, bits);
        compare_value(features_, port, index, x);
    }

    // Compare an output's code and value.
    template <class T> void output(int number, const char *port, int index, const T &y) {
        ap_uint<Layout<T>::width> bits;
        T expected = y;
        if (read_code(number, port, bits)) set_code(expected, bits);
        if (expected != y)
            differs(port, index, expected.to_string(10).c_str(), y.to_string(10).c_str());
        compare_value(predictions_, port, index, y);
    }

    int verdict() {
        bool left = predictions_ >> std::ws && !predictions_.eof();
        for (unsigned i = 0; i < codes_.size(); i++)
            left = left || (*codes_[i] >> std::ws && !codes_[i]->eof());
        if (left) fail("the files differ in their number of events, in", folder_);
        if (events_ == 0) fail("there are no events in", folder_);
        const bool passed = !missing_ && differences_ == 0;
        std::printf("%s: %ld events, %ld differences\n", passed ? "PASS" : "FAIL", events_,
                    differences_);
        return passed ? 0 : 1;
    }

  private:
    template <int W> bool read_code(int number, const char *port, ap_uint<W> &bits) {
        std::string word;
        if (!(*codes_[number] >> word)) {
            fail("too few codes of port", port);
            return false;
        }
        bits = 0;
        for (unsigned i = 0; i < word.size(); i++) {
            const char digit[] = {word[i], 0};
            bits = (bits << 4) | ap_uint<W>(std::strtol(digit, 0, 16));
        }
        return true;
    }

    // Exact for values of up to 53 bits; beyond, both sides are rounded to a double.
    template <class T>
    void compare_value(std::ifstream &file, const char *port, int index, const T &value) {
        std::string word;
        if (!(file >> word)) {
            fail("too few values of port", port);
            return;
        }
        char *end = 0;
        const double expected = std::strtod(word.c_str(), &end);
        if (*end != 0 || expected != value.to_double()) {
            char found[64];
            std::snprintf(found, sizeof found, "%.17g", value.to_double());
            differs(port, index, word.c_str(), found);
        }
    }

    void differs(const char *port, int index, const char *expected, const char *found) {
        differences_++;
        if (differences_ <= 10)
            std::fprintf(stderr, "event %ld, %s[%d]: golden %s, found %s\n", events_ - 1, port,
                         index, expected, found);
    }

    void fail(const char *what, const std::string &where) {
        if (!missing_) std::fprintf(stderr, "%s %s\n", what, where.c_str());
        missing_ = true;
    }

    std::string folder_;
    long events_, differences_;
    bool missing_;
    std::ifstream features_, predictions_;
    std::vector<std::ifstream *> codes_;
};

} // namespace synth_lib

#endif
