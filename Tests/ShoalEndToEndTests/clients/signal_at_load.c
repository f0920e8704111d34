// Preloaded into an engine, sends it the signal SIGNAL_AT_LOAD when it opens a model file. With SIGNAL_ONLY_FIRST, the
// path of a folder that nobody made yet, only the first engine that makes the folder.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void strike(const char *path) {
    const char *number = getenv("SIGNAL_AT_LOAD"), *first = getenv("SIGNAL_ONLY_FIRST");
    size_t length = strlen(path);
    if (number == NULL || length < 5 || strcmp(path + length - 5, ".gguf") != 0) return;
    if (first != NULL && mkdir(first, 0700) != 0) return;
    raise(atoi(number));
}

FILE *fopen(const char *path, const char *mode) {
    strike(path);
    return ((FILE * (*)(const char *, const char *))dlsym(RTLD_NEXT, "fopen"))(path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
    strike(path);
    return ((FILE * (*)(const char *, const char *))dlsym(RTLD_NEXT, "fopen64"))(path, mode);
}
