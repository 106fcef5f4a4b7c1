// The version of mbert that a library was built from.
#ifndef MBERT_PLUGINS_COMMON_VERSION_H_
#define MBERT_PLUGINS_COMMON_VERSION_H_

namespace mbert {

// Returns the package's version, for example "0.1.0". The library file contains it as
// "@(#)mbert 0.1.0", in the form that what(1) reads: it can be found without loading the library.
const char* version();

}  // namespace mbert

#endif  // MBERT_PLUGINS_COMMON_VERSION_H_
