#include "version.h"

namespace mbert {
namespace {

constexpr char kMark[] = "@(#)mbert " MBERT_VERSION;
constexpr int kPrefix = sizeof("@(#)mbert ") - 1;

}  // namespace

const char* version() { return kMark + kPrefix; }

}  // namespace mbert
