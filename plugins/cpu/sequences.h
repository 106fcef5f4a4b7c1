// Packed sequences: sequence s has the rows from cu_seqlens[s] to cu_seqlens[s + 1] - 1.
#ifndef MBERT_PLUGINS_CPU_SEQUENCES_H_
#define MBERT_PLUGINS_CPU_SEQUENCES_H_

#include <cstdint>
#include <string>

namespace mbert::cpu {

// Checks the offsets; max_length < 0: lengths are not limited. Returns an empty string, or else an
// error message.
std::string validate_sequences(const std::int32_t* cu_seqlens, std::int64_t sequences,
                               std::int64_t tokens, std::int64_t max_length);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_SEQUENCES_H_
