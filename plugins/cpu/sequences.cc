#include "sequences.h"

namespace mbert::cpu {
namespace {

std::string at(std::int64_t index) { return "cu_seqlens[" + std::to_string(index) + "]"; }

}  // namespace

std::string validate_sequences(const std::int32_t* cu_seqlens, std::int64_t sequences,
                               std::int64_t tokens, std::int64_t max_length) {
  if (sequences < 0) {
    return "cu_seqlens is empty; it holds one more offset than there are sequences, so at least "
           "the 0";
  }
  if (cu_seqlens[0] != 0) {
    return at(0) + " is " + std::to_string(cu_seqlens[0]) + "; the offsets have to start from 0";
  }
  for (std::int64_t s = 0; s < sequences; ++s) {
    const std::int64_t begin = cu_seqlens[s];
    const std::int64_t end = cu_seqlens[s + 1];
    if (end < begin) {
      return at(s + 1) + " is " + std::to_string(end) + ", less than " + at(s) + " = " +
             std::to_string(begin) + "; the offsets may not decrease";
    }
    if (max_length >= 0 && end - begin > max_length) {
      return "sequence " + std::to_string(s) + " has " + std::to_string(end - begin) +
             " tokens, but the rope table has " + std::to_string(max_length) +
             " positions; shorten the sequence, or export with a greater maximum length";
    }
  }
  if (cu_seqlens[sequences] > tokens) {
    return "the last offset, " + at(sequences) + ", is " + std::to_string(cu_seqlens[sequences]) +
           ", but there are only " + std::to_string(tokens) + " tokens";
  }
  return {};
}

}  // namespace mbert::cpu
