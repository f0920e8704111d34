// Transparent huge pages, of Linux alone.
#include "CShoalEngine.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

void shoal_allow_huge_pages(bool are_allowed) {
#ifdef __linux__
    // Before Linux 3.15 it fails, and memory is what it would have been.
    (void) prctl(PR_SET_THP_DISABLE, are_allowed ? 0UL : 1UL, 0UL, 0UL, 0UL);
#else
    (void) are_allowed;
#endif
}
