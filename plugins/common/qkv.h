// The layout of VarlenAttention's input qkv, as every runtime's library checks it.
#ifndef MBERT_PLUGINS_COMMON_QKV_H_
#define MBERT_PLUGINS_COMMON_QKV_H_

#include <cstdint>
#include <string>

namespace mbert {

// Returns an empty string when qkv's columns are those of all query, key and value heads, or else
// what is wrong. head_dim is the columns of rope.
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
