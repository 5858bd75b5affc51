/* A disk that keeps what was synced and nothing else, to be preloaded into a bank.
 *
 * What is written to the database and its WAL (POWER_DATA names the database) reaches the copies of them in the
 * folder POWER_DISK when a sync of it succeeds. While the file POWER_FAIL is there and names one of them, "db" or
 * "wal", its next sync that has anything to do fails, as it does on Linux: the pages count as clean from then on,
 * and each descriptor is told once. Nothing else is changed: the bank sees its files as the system's cache has
 * them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 1 << 18, DESCRIPTORS = 4096 };

static struct file {
    const char *name, *ending;
    int copy, dirty_count, failures;
    unsigned char dirty[PAGES];
} files[] = {{"db", "", -1, 0, 0, {0}}, {"wal", "-wal", -1, 0, 0, {0}}};
static int told[DESCRIPTORS], is_known[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...)                                   \
    static result (*real)(__VA_ARGS__);                           \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static struct file *file_of(int fd) {
    char link[64], path[1024], wanted[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fd >= DESCRIPTORS) return NULL;
    path[length] = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(wanted, sizeof wanted, "%s%s", getenv("POWER_DATA"), files[i].ending);
        if (!strcmp(path, wanted)) return &files[i];
    }
    return NULL;
}

static ssize_t written(int fd, ssize_t count, off64_t offset) {
    struct file *file = count > 0 ? file_of(fd) : NULL;
    if (!file) return count;
    pthread_mutex_lock(&lock);
    for (off64_t page = offset / PAGE; page <= (offset + count - 1) / PAGE; page++) {
        if (page >= PAGES) abort();
        file->dirty_count += !file->dirty[page];
        file->dirty[page] = 1;
    }
    pthread_mutex_unlock(&lock);
    return count;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return written(fd, real(fd, bytes, count, offset), offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return written(fd, real(fd, bytes, count, offset), offset);
}

int close(int fd) {
    REAL(int, "close", int);
    if (fd >= 0 && fd < DESCRIPTORS) is_known[fd] = 0;
    return real(fd);
}

static int is_to_fail(struct file *file) {
    const char *path = getenv("POWER_FAIL");
    char name[8] = {0};
    FILE *wanted = path ? fopen(path, "r") : NULL;
    if (!wanted) return 0;
    int is_it = fscanf(wanted, "%7s", name) == 1 && !strcmp(name, file->name);
    fclose(wanted);
    return is_it && file->dirty_count > 0 && unlink(path) == 0;
}

static void keep(struct file *file, int fd) {
    static ssize_t (*write_copy)(int, const void *, size_t, off64_t);
    if (!write_copy) write_copy = dlsym(RTLD_NEXT, "pwrite64");
    struct stat64 status;
    char path[1024], page[PAGE];
    if (file->copy < 0) {
        const char *base = strrchr(getenv("POWER_DATA"), '/');
        snprintf(path, sizeof path, "%s%s%s", getenv("POWER_DISK"), base, file->ending);
        file->copy = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    }
    if (file->copy < 0 || fstat64(fd, &status)) abort();
    for (int i = 0; i < PAGES && file->dirty_count; i++) {
        if (!file->dirty[i]) continue;
        ssize_t count = pread64(fd, page, PAGE, (off64_t)i * PAGE);
        if (count > 0 && write_copy(file->copy, page, count, (off64_t)i * PAGE) != count) abort();
        file->dirty[i] = 0;
        file->dirty_count--;
    }
    if (ftruncate64(file->copy, status.st_size)) abort();
}

static int synced(int fd) {
    struct file *file = file_of(fd);
    if (!file) return 0;
    pthread_mutex_lock(&lock);
    if (!is_known[fd]) {
        is_known[fd] = 1;
        told[fd] = file->failures;
    }
    if (is_to_fail(file)) {
        memset(file->dirty, 0, sizeof file->dirty);
        file->dirty_count = 0;
        file->failures++;
    } else {
        keep(file, fd);
    }
    int has_failed = told[fd] < file->failures;
    told[fd] = file->failures;
    pthread_mutex_unlock(&lock);
    if (has_failed) errno = EIO;
    return has_failed ? -1 : 0;
}

/* The real sync is left out: nobody pulls the real plug. */
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return file_of(fd) ? synced(fd) : real(fd);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return file_of(fd) ? synced(fd) : real(fd);
}
