/* A machine that loses its power, for one process: preloaded into it, this library keeps, for every regular file under
 * POWER_CUT_ROOT, what each write since the file's last fsync replaced. Killing the process and undoing those writes
 * leaves what a disk that honours fsync, and nothing more, would hold.
 *
 * In the folder POWER_CUT_UNDO stand, for a file with inode N, `N.path` (its path) and `N.undo`: records, oldest first,
 * of offset, size of the file before, length, and the bytes that stood there (three 64-bit integers in the machine's
 * order, then the bytes). The record is written before the write it undoes, and dropped after the fsync that covers it,
 * so that a kill between any two steps loses neither.
 *
 * Not undone: writes through a shared mapping (SQLite's index of its log, rebuilt at the next start), truncation by
 * open, and what happened to directories. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))
typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef ssize_t (*writev_fn)(int, const struct iovec *, int);
typedef int (*truncate_fn)(int, off_t);
typedef int (*sync_fn)(int);
typedef int (*unlink_fn)(const char *);
typedef int (*rename_fn)(const char *, const char *);

static void undo_path(char *out, size_t size, ino_t inode, const char *suffix) {
    snprintf(out, size, "%s/%llu.%s", getenv("POWER_CUT_UNDO"), (unsigned long long)inode, suffix);
}

/* Whether a descriptor is a file that this library watches; its state goes to `st`, its path to `path`. */
static int watched(int fd, struct stat *st, char *path, size_t size) {
    const char *root = getenv("POWER_CUT_ROOT");
    if (!root || !getenv("POWER_CUT_UNDO") || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) == 0 && path[strlen(root)] == '/';
}

static void note_path(ino_t inode, const char *path) {
    char name[4096];
    undo_path(name, sizeof name, inode, "path");
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || NEXT(write_fn, "write")(fd, path, strlen(path)) < 0) abort();
    close(fd);
}

static void put_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t done = NEXT(write_fn, "write")(fd, bytes, length);
        if (done <= 0) abort();
        bytes += done;
        length -= (size_t)done;
    }
}

/* Keeps what `length` bytes at `offset` are before they change. Holds the turn. */
static void keep(int fd, const struct stat *st, const char *path, off_t offset, size_t length) {
    char name[4096];
    undo_path(name, sizeof name, st->st_ino, "undo");
    if (access(name, F_OK) != 0) note_path(st->st_ino, path);
    int log = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) abort();
    uint64_t old = 0;
    if (offset < st->st_size) {
        old = (uint64_t)(st->st_size - offset);
        if (old > length) old = length;
    }
    uint64_t head[3] = {(uint64_t)offset, (uint64_t)st->st_size, old};
    char *record = malloc(sizeof head + old);
    if (!record) abort();
    memcpy(record, head, sizeof head);
    /* A descriptor opened for writing alone cannot be read: open the file beside it. */
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    if (old > 0 && (reader < 0 || pread(reader, record + sizeof head, old, offset) != (ssize_t)old)) abort();
    if (reader >= 0) close(reader);
    put_all(log, record, sizeof head + old);
    free(record);
    close(log);
}

static off_t write_offset(int fd, const struct stat *st) {
    return (fcntl(fd, F_GETFL) & O_APPEND) ? st->st_size : lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    write_fn next = NEXT(write_fn, "write");
    struct stat st;
    char path[4096];
    if (!watched(fd, &st, path, sizeof path)) return next(fd, bytes, length);
    pthread_mutex_lock(&turn);
    if (fstat(fd, &st) == 0) keep(fd, &st, path, write_offset(fd, &st), length);
    ssize_t done = next(fd, bytes, length);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    writev_fn next = NEXT(writev_fn, "writev");
    struct stat st;
    char path[4096];
    if (!watched(fd, &st, path, sizeof path)) return next(fd, parts, count);
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    pthread_mutex_lock(&turn);
    if (fstat(fd, &st) == 0) keep(fd, &st, path, write_offset(fd, &st), length);
    ssize_t done = next(fd, parts, count);
    pthread_mutex_unlock(&turn);
    return done;
}

static ssize_t pwrite_with(pwrite_fn next, int fd, const void *bytes, size_t length, off_t offset) {
    struct stat st;
    char path[4096];
    if (!watched(fd, &st, path, sizeof path)) return next(fd, bytes, length, offset);
    pthread_mutex_lock(&turn);
    if (fstat(fd, &st) == 0) keep(fd, &st, path, offset, length);
    ssize_t done = next(fd, bytes, length, offset);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite_with(NEXT(pwrite_fn, "pwrite"), fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite_with(NEXT(pwrite_fn, "pwrite64"), fd, bytes, length, offset);
}

static int truncate_with(truncate_fn next, int fd, off_t size) {
    struct stat st;
    char path[4096];
    if (!watched(fd, &st, path, sizeof path)) return next(fd, size);
    pthread_mutex_lock(&turn);
    if (fstat(fd, &st) == 0) keep(fd, &st, path, size, size < st.st_size ? (size_t)(st.st_size - size) : 0);
    int done = next(fd, size);
    pthread_mutex_unlock(&turn);
    return done;
}

int ftruncate(int fd, off_t size) { return truncate_with(NEXT(truncate_fn, "ftruncate"), fd, size); }
int ftruncate64(int fd, off_t size) { return truncate_with(NEXT(truncate_fn, "ftruncate64"), fd, size); }

static int sync_with(sync_fn next, int fd) {
    struct stat st;
    char path[4096], name[4096];
    if (!watched(fd, &st, path, sizeof path)) return next(fd);
    pthread_mutex_lock(&turn);
    int done = next(fd);
    undo_path(name, sizeof name, st.st_ino, "undo");
    if (done == 0) truncate(name, 0);
    pthread_mutex_unlock(&turn);
    return done;
}

int fsync(int fd) { return sync_with(NEXT(sync_fn, "fsync"), fd); }
int fdatasync(int fd) { return sync_with(NEXT(sync_fn, "fdatasync"), fd); }

/* A deleted file takes its record with it: its inode will be another file's. */
int unlink(const char *path) {
    unlink_fn next = NEXT(unlink_fn, "unlink");
    struct stat st;
    if (!getenv("POWER_CUT_UNDO") || stat(path, &st) != 0) return next(path);
    pthread_mutex_lock(&turn);
    int done = next(path);
    if (done == 0 && st.st_nlink == 1) {
        char name[4096];
        undo_path(name, sizeof name, st.st_ino, "undo");
        next(name);
        undo_path(name, sizeof name, st.st_ino, "path");
        next(name);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

int rename(const char *from, const char *to) {
    rename_fn next = NEXT(rename_fn, "rename");
    struct stat st;
    char name[4096], full[4096];
    if (!getenv("POWER_CUT_UNDO") || stat(from, &st) != 0) return next(from, to);
    pthread_mutex_lock(&turn);
    int done = next(from, to);
    undo_path(name, sizeof name, st.st_ino, "path");
    if (done == 0 && access(name, F_OK) == 0 && realpath(to, full)) note_path(st.st_ino, full);
    pthread_mutex_unlock(&turn);
    return done;
}
