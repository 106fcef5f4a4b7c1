// Packed sequences: rows cu_seqlens[s] to cu_seqlens[s + 1] of a matrix of tokens belong to
// sequence s.
#ifndef MBERT_PLUGINS_CPU_SEQUENCES_H_
#define MBERT_PLUGINS_CPU_SEQUENCES_H_

#include <cstdint>
#include <string>

namespace mbert::cpu {

// Returns an empty string, or else what is wrong with the offsets. max_length < 0: any length will
// do.
std::string validate_sequences(const std::int32_t* cu_seqlens, std::int64_t sequences,
                               std::int64_t tokens, std::int64_t max_length);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_SEQUENCES_H_
