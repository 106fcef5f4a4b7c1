// A check of VarlenAttention's input qkv that all libraries share.
#ifndef MBERT_PLUGINS_COMMON_QKV_H_
#define MBERT_PLUGINS_COMMON_QKV_H_

#include <cstdint>
#include <string>

namespace mbert {

// Checks that qkv has columns for all query, key and value heads; head_dim is the number of columns
// of rope. Returns an empty string, or else an error message.
inline std::string validate_columns(std::int64_t columns, std::int64_t num_heads,
                                    std::int64_t head_dim) {
  const std::int64_t hidden = num_heads * head_dim;
  if (columns == 3 * hidden) return {};
  return "qkv has " + std::to_string(columns) + " columns; " + std::to_string(num_heads) +
         " heads (num_heads) of " + std::to_string(head_dim) + " (the columns of rope) need 3 * " +
         std::to_string(hidden) + " = " + std::to_string(3 * hidden);
}

}  // namespace mbert

#endif  // MBERT_PLUGINS_COMMON_QKV_H_
