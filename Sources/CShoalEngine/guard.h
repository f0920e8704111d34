// Turns C++ exceptions into error texts, for the shims of this folder.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

namespace shoal {

inline char * copied(const std::string & text) {
    char * copy = static_cast<char *>(malloc(text.size() + 1));
    if (copy != nullptr) {
        memcpy(copy, text.c_str(), text.size() + 1);
    }
    return copy;
}

/// Runs `body` and gives its result, or `failure` after setting `*error`.
template <typename Result, typename Body>
Result guarded(char ** error, Result failure, Body body) {
    try {
        return body();
    } catch (const std::exception & exception) {
        *error = copied(exception.what());
    } catch (...) {
        *error = copied("an unknown C++ exception");
    }
    return failure;
}

}  // namespace shoal
