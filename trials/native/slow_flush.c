/* A device whose flushes take long, for one process: preloaded into it, every fsync and fdatasync takes FLUSH_MS
 * milliseconds more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*flush_fn)(int);

static void wait_for_device(void) {
    const char *text = getenv("FLUSH_MS");
    long ms = text == NULL ? 0 : atol(text);
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

#define TAKES(name)                                    \
    int name(int fd) {                                 \
        int done = ((flush_fn)dlsym(RTLD_NEXT, #name))(fd); \
        wait_for_device();                             \
        return done;                                   \
    }

TAKES(fsync)
TAKES(fdatasync)
