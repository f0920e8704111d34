// POSIX threads, whose types differ between C libraries more than Swift likes.
#include "CShoalEngine.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    // llama.cpp's template and grammar code recurses; the default of some C libraries is 128 KiB.
    STACK_BYTE_COUNT = 8 << 20,
};

struct start {
    void (* run)(void *);
    void * context;
};

static void * thread_main(void * argument) {
    struct start start = *(struct start *) argument;
    free(argument);
    start.run(start.context);
    return NULL;
}

bool shoal_thread_start(void (* run)(void *), void * context) {
    struct start * start = malloc(sizeof *start);
    pthread_attr_t attributes;
    if (start == NULL || pthread_attr_init(&attributes) != 0) {
        free(start);
        return false;
    }
    *start = (struct start) {run, context};
    pthread_t thread;
    bool started = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0
        && pthread_attr_setstacksize(&attributes, STACK_BYTE_COUNT) == 0
        && pthread_create(&thread, &attributes, thread_main, start) == 0;
    pthread_attr_destroy(&attributes);
    if (!started) {
        free(start);
    }
    return started;
}
