// A FILE * that shows a stage's virtual GGUF: the header from memory, the tensors from the user's files in place.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CShoalEngine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum {
    // glibc copies everything through its buffer, whatever the size of a request.
    STREAM_BUFFER_BYTE_COUNT = 1 << 18,
    ERROR_BYTE_COUNT_MAX = 512,
    PATH_COUNT_MAX = 4096,
};

struct shoal_virtual_file {
    FILE * stream;
    char * stream_buffer;
    uint8_t * header;
    size_t header_byte_count;
    shoal_extent * extents;
    size_t extent_count;
    int * descriptors;
    size_t descriptor_count;
    uint64_t byte_count;
    uint64_t position;
    bool has_just_sought;
    uint64_t bytes_read;
    bool failed;
    char error[ERROR_BYTE_COUNT_MAX];
};

static char * formatted(const char * format, ...) {
    char text[ERROR_BYTE_COUNT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return strdup(text);
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

// The first extent that ends after `position`, or extent_count.
static size_t extent_index(const shoal_virtual_file * file, uint64_t position) {
    size_t low = 0, high = file->extent_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const shoal_extent * extent = &file->extents[middle];
        if (extent->virtual_offset + extent->byte_count <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool read_from_disk(
    shoal_virtual_file * file, const shoal_extent * extent, uint64_t inside, char * to, size_t count) {
    size_t done = 0;
    while (done < count) {
        off_t offset = (off_t) (extent->file_offset + inside + done);
        ssize_t result = pread(file->descriptors[extent->file_index], to + done, count - done, offset);
        if (result < 0 && errno == EINTR) {
            continue;
        }
        if (result <= 0) {
            file->failed = true;
            const char * reason = result < 0 ? strerror(errno) : "the file ends before";
            snprintf(file->error, sizeof file->error, "pread of %zu bytes at %lld of file %d: %s", count - done,
                     (long long) offset, (int) extent->file_index, reason);
            return false;
        }
        done += (size_t) result;
    }
    file->bytes_read += count;
    return true;
}

// Serves at most `count` bytes from one run (header, extent or gap) at the current position; 0 on a read error.
static size_t read_run(shoal_virtual_file * file, char * to, size_t count) {
    if (file->position < file->header_byte_count) {
        size_t part = (size_t) smaller(count, file->header_byte_count - file->position);
        memcpy(to, file->header + file->position, part);
        return part;
    }
    size_t index = extent_index(file, file->position);
    const shoal_extent * extent = index < file->extent_count ? &file->extents[index] : NULL;
    if (extent == NULL || file->position < extent->virtual_offset) {
        uint64_t end = extent == NULL ? file->byte_count : extent->virtual_offset;
        size_t part = (size_t) smaller(count, end - file->position);
        memset(to, 0, part);
        return part;
    }
    uint64_t inside = file->position - extent->virtual_offset;
    size_t part = (size_t) smaller(count, extent->byte_count - inside);
    if (extent->file_index < 0) {
        memset(to, 0, part);
        return part;
    }
    return read_from_disk(file, extent, inside, to, part) ? part : 0;
}

// One run at a time, so that filling the stream's buffer never reads into the next tensor. glibc seeks to a multiple of
// its buffer's size first and reads what lies between there and the target, or seeks again if that read is short: the
// first read after a seek gives one byte, and the bytes of other stages stay on the disk.
static int64_t read_bytes(shoal_virtual_file * file, char * to, size_t count) {
    if (file->position >= file->byte_count || count == 0) {
        return 0;
    }
    size_t wanted = file->has_just_sought ? 1 : (size_t) smaller(count, file->byte_count - file->position);
    file->has_just_sought = false;
    size_t part = read_run(file, to, wanted);
    if (part == 0) {
        errno = EIO;
        return -1;
    }
    file->position += part;
    return (int64_t) part;
}

static int64_t seek_to(shoal_virtual_file * file, int64_t offset, int whence) {
    int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (int64_t) file->position : (int64_t) file->byte_count;
    int64_t target;
    if (__builtin_add_overflow(base, offset, &target) || target < 0) {
        errno = EINVAL;
        return -1;
    }
    file->position = (uint64_t) target;
    file->has_just_sought = true;
    return target;
}

#if defined(__GLIBC__)
static ssize_t cookie_read(void * cookie, char * to, size_t count) { return (ssize_t) read_bytes(cookie, to, count); }

static int cookie_seek(void * cookie, off64_t * offset, int whence) {
    int64_t target = seek_to(cookie, *offset, whence);
    if (target < 0) {
        return -1;
    }
    *offset = target;
    return 0;
}

static FILE * open_stream(shoal_virtual_file * file) {
    cookie_io_functions_t functions = {.read = cookie_read, .seek = cookie_seek};
    return fopencookie(file, "rb", functions);
}
#elif defined(__APPLE__) || defined(__ANDROID__)
static int cookie_read(void * cookie, char * to, int count) { return (int) read_bytes(cookie, to, (size_t) count); }
static fpos_t cookie_seek(void * cookie, fpos_t offset, int whence) { return seek_to(cookie, offset, whence); }
static FILE * open_stream(shoal_virtual_file * file) { return funopen(file, cookie_read, NULL, cookie_seek, NULL); }
#else
#error "a stream over callbacks is needed: fopencookie (glibc) or funopen (Darwin, Android)"
#endif

static char * extents_problem(const shoal_virtual_file * file) {
    uint64_t end = file->header_byte_count;
    for (size_t i = 0; i < file->extent_count; i++) {
        const shoal_extent * extent = &file->extents[i];
        uint64_t next;
        if (extent->virtual_offset < end || __builtin_add_overflow(extent->virtual_offset, extent->byte_count, &next)) {
            return formatted("extent %zu of the virtual file overlaps the one before", i);
        }
        if (extent->file_index >= 0 && (size_t) extent->file_index >= file->descriptor_count) {
            return formatted("extent %zu lies in file %d of %zu", i, (int) extent->file_index, file->descriptor_count);
        }
        end = next;
    }
    if (end > file->byte_count || file->byte_count > INT64_MAX) {
        return formatted("the virtual file of %llu bytes ends before its last extent",
                         (unsigned long long) file->byte_count);
    }
    return NULL;
}

static char * open_files(shoal_virtual_file * file, const char * const * paths, size_t path_count) {
    if (path_count > PATH_COUNT_MAX) {
        return formatted("a model of %zu files; the limit is %d", path_count, (int) PATH_COUNT_MAX);
    }
    file->descriptors = calloc(path_count + 1, sizeof *file->descriptors);
    if (file->descriptors == NULL) {
        return formatted("out of memory for %zu files", path_count);
    }
    for (size_t i = 0; i < path_count; i++) {
        int descriptor = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) {
            return formatted("open %s: %s", paths[i], strerror(errno));
        }
        file->descriptors[file->descriptor_count++] = descriptor;
    }
    return NULL;
}

static char * start_stream(shoal_virtual_file * file) {
    file->stream = open_stream(file);
    if (file->stream == NULL) {
        return formatted("no stream over the virtual file: %s", strerror(errno));
    }
    setvbuf(file->stream, file->stream_buffer, _IOFBF, STREAM_BUFFER_BYTE_COUNT);
    return NULL;
}

shoal_virtual_file * shoal_virtual_file_open(
    const uint8_t * header, size_t header_byte_count, const shoal_extent * extents, size_t extent_count,
    uint64_t byte_count, const char * const * paths, size_t path_count, char ** error) {
    shoal_virtual_file * file = calloc(1, sizeof *file);
    if (file == NULL) {
        *error = formatted("out of memory");
        return NULL;
    }
    file->header = malloc(header_byte_count + 1);
    file->extents = calloc(extent_count + 1, sizeof *extents);
    file->stream_buffer = malloc(STREAM_BUFFER_BYTE_COUNT);
    char * problem = NULL;
    if (file->header == NULL || file->extents == NULL || file->stream_buffer == NULL) {
        problem = formatted("out of memory for a header of %zu bytes", header_byte_count);
    } else {
        memcpy(file->header, header, header_byte_count);
        memcpy(file->extents, extents, extent_count * sizeof *extents);
        file->header_byte_count = header_byte_count;
        file->extent_count = extent_count;
        file->byte_count = byte_count;
        problem = open_files(file, paths, path_count);
    }
    problem = problem != NULL ? problem : extents_problem(file);
    problem = problem != NULL ? problem : start_stream(file);
    if (problem != NULL) {
        *error = problem;
        shoal_virtual_file_close(file);
        return NULL;
    }
    return file;
}

FILE * shoal_virtual_file_stream(shoal_virtual_file * file) { return file->stream; }

uint64_t shoal_virtual_file_bytes_read(const shoal_virtual_file * file) { return file->bytes_read; }

const char * shoal_virtual_file_error(const shoal_virtual_file * file) { return file->failed ? file->error : NULL; }

void shoal_virtual_file_close(shoal_virtual_file * file) {
    if (file->stream != NULL) {
        fclose(file->stream);
    }
    for (size_t i = 0; i < file->descriptor_count; i++) {
        close(file->descriptors[i]);
    }
    free(file->descriptors);
    free(file->stream_buffer);
    free(file->extents);
    free(file->header);
    free(file);
}
