/* A process that ends in the middle of what it writes: preloaded into it, this library counts writes, truncations and
 * syncs of files whose names hold ".sqlite", and at the one whose number stands in STOP_AT does half of it and ends the
 * process, as SIGKILL would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef int (*truncate_fn)(int, off_t);
typedef int (*sync_fn)(int);

static long so_far;

static int is_last(int fd) {
    const char *at = getenv("STOP_AT");
    if (at == NULL) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, ".sqlite") != NULL && __sync_add_and_fetch(&so_far, 1) == strtol(at, NULL, 10);
}

static void stop(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define WRITES(name)                                                            \
    ssize_t name(int fd, const void *bytes, size_t size, off_t offset) {        \
        pwrite_fn next = (pwrite_fn)dlsym(RTLD_NEXT, #name);                    \
        if (is_last(fd)) {                                                      \
            next(fd, bytes, size / 2, offset);                                  \
            stop();                                                             \
        }                                                                       \
        return next(fd, bytes, size, offset);                                   \
    }

WRITES(pwrite)
WRITES(pwrite64)

#define TRUNCATES(name)                                                         \
    int name(int fd, off_t size) {                                              \
        if (is_last(fd)) stop();                                                \
        return ((truncate_fn)dlsym(RTLD_NEXT, #name))(fd, size);                \
    }

TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)

#define SYNCS(name)                                                             \
    int name(int fd) {                                                          \
        if (is_last(fd)) stop();                                                \
        return ((sync_fn)dlsym(RTLD_NEXT, #name))(fd);                          \
    }

SYNCS(fsync)
SYNCS(fdatasync)
