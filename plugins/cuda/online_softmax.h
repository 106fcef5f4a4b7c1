// Online softmax: keys arrive one tile at a time, and sums are relative to the largest score so
// far.
#ifndef MBERT_PLUGINS_CUDA_ONLINE_SOFTMAX_H_
#define MBERT_PLUGINS_CUDA_ONLINE_SOFTMAX_H_

#include <cmath>

#include "arch/types.h"

namespace mbert::cuda {

// A lane's part of two rows: elements 0 and 1, and elements 2 and 3, of each part of a matrix. The
// three lanes whose index differs in the lowest two bits hold the rest of the rows. kExactOne makes
// the largest weight exactly 1, at the cost of one instruction per weight.
template <bool kExactOne>
class OnlineSoftmax {
 public:
  // scale: positive factor of the scores, for powers of two.
  explicit MBERT_DEVICE OnlineSoftmax(float scale) : scale_(scale) {}

  // Replaces the scores by weights relative to the new maximum, and rescales the context to it.
  template <int kScores, int kContext, class Machine>
  MBERT_DEVICE void update(Machine& machine, float (&scores)[kScores][4],
                           float (&context)[kContext][4]) {
    MBERT_UNROLL
    for (int half = 0; half < 2; ++half) {
      float maximum = maximum_[half];
      MBERT_UNROLL
      for (int n = 0; n < kScores; ++n) {
        maximum = fmaxf(maximum, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      }
      maximum = fmaxf(maximum, machine.shuffle_xor(maximum, 1));
      maximum = fmaxf(maximum, machine.shuffle_xor(maximum, 2));
      // A row without any key so far gets weights of 0.
      const float reference = maximum == -INFINITY ? 0.0f : maximum;
      const float correction = machine.exp2((maximum_[half] - reference) * scale_);
      maximum_[half] = maximum;

      float sum = 0.0f;
      MBERT_UNROLL
      for (int n = 0; n < kScores; ++n) {
        MBERT_UNROLL
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[n][i] = machine.exp2(exponent(scores[n][i], reference));
          sum += scores[n][i];
        }
      }
      sum_[half] = fmaf(sum_[half], correction, sum);
      MBERT_UNROLL
      for (int n = 0; n < kContext; ++n) {
        context[n][2 * half] *= correction;
        context[n][2 * half + 1] *= correction;
      }
    }
  }

  // Divides the context by the sum of the weights.
  template <int kContext, class Machine>
  MBERT_DEVICE void finish(Machine& machine, float (&context)[kContext][4]) {
    MBERT_UNROLL
    for (int half = 0; half < 2; ++half) {
      float sum = sum_[half];
      sum += machine.shuffle_xor(sum, 1);
      sum += machine.shuffle_xor(sum, 2);
      const float inverse = 1.0f / sum;
      MBERT_UNROLL
      for (int n = 0; n < kContext; ++n) {
        context[n][2 * half] *= inverse;
        context[n][2 * half + 1] *= inverse;
      }
    }
  }

 private:
  MBERT_DEVICE float exponent(float score, float reference) const {
    return kExactOne ? (score - reference) * scale_ : fmaf(score, scale_, -(reference * scale_));
  }

  float scale_;
  float maximum_[2] = {-INFINITY, -INFINITY};
  float sum_[2] = {0.0f, 0.0f};
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_ONLINE_SOFTMAX_H_
