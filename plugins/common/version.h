// The version of mbert that a library was built from.
#ifndef MBERT_PLUGINS_COMMON_VERSION_H_
#define MBERT_PLUGINS_COMMON_VERSION_H_

namespace mbert {

// The package's version, for instance "0.1.0". The library's file holds it as "@(#)mbert 0.1.0",
// the mark that what(1) looks for: it can be read without loading the library.
const char* version();

}  // namespace mbert

#endif  // MBERT_PLUGINS_COMMON_VERSION_H_
