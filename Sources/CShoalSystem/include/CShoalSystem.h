// What the operating system offers and Swift lacks: child processes, memory facts, thread names.
// Functions return 0 or a positive value on success and -errno on failure, unless they say otherwise.
#ifndef CSHOAL_SYSTEM_H
#define CSHOAL_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// MARK: Child processes

// Two ends of a connected Unix stream socket, close-on-exec.
int shoal_socket_pair(int ends[2]);

// A pipe, [0] for reading, close-on-exec at both ends.
int shoal_pipe(int ends[2]);

// Starts `path` with `arguments` (arguments[0] included) and `environment`, both NULL-terminated. The child has the
// three descriptors as its 0, 1 and 2, default signal handling, no blocked signals, and no other descriptor of ours
// (close-on-exec alone where the C library cannot close the rest).
// Returns the process id, or -errno; a missing or not executable file is reported here, not by the child.
int32_t shoal_spawn(
    const char *path, char *const arguments[], char *const environment[], int standard_input, int standard_output,
    int standard_error);

// The same for a stock program that knows nothing of us: its standard output and error both go to `output`, its input
// is empty. On Linux and Android it ignores SIGPIPE, and the system kills it when the calling thread ends, and with it
// when this process dies; elsewhere it may outlive this process.
int32_t shoal_spawn_tied(const char *path, char *const arguments[], char *const environment[], int output);

// Blocks until the child has ended, without reaping it: its id stays taken. Returns 0 or -errno.
int shoal_wait_ended(int32_t process_id);

// Reaps an ended child. Sets `exit_code`, or `signal_number` when a signal ended it, and the other one to -1.
// Returns 0 or -errno.
int shoal_reap(int32_t process_id, int32_t *exit_code, int32_t *signal_number);

// Sends a signal. Returns 0 or -errno.
int shoal_signal(int32_t process_id, int32_t signal_number);

// Blocks until `descriptor` is readable (or at its end), bit 0, or `wake` is, bit 1. Returns the bits or -errno.
int shoal_wait_readable(int descriptor, int wake);

// MARK: The machine

// Bytes of memory, the control group's limit if that is lower; -1 when unknown.
int64_t shoal_memory_total_bytes(void);

// Bytes that can be allocated without swapping, the control group's rest if that is lower; -1 when unknown.
int64_t shoal_memory_available_bytes(void);

// Processors that this process may use; at least 1.
int32_t shoal_core_count(void);

// The processor's name, or its kind where the system does not tell; terminated, at most `capacity` bytes with the zero.
void shoal_processor_name(char *name, size_t capacity);

// Resident bytes of a process, 0 meaning this one; -1 when unknown.
int64_t shoal_resident_bytes(int32_t process_id);

// How often the kernel has killed a process for lack of memory, in this process's control group if that is counted,
// on the machine otherwise; -1 when unknown.
int64_t shoal_out_of_memory_kill_count(void);

// Counters of what a process did; they only grow.
struct shoal_pulse {
    int64_t cpu_nanoseconds;
    // By read calls, from the disk or its cache.
    int64_t read_bytes;
    // Pages that had to be fetched from the disk before the process could go on.
    int64_t major_faults;
    // 1 when a signal or a debugger holds it.
    int32_t is_stopped;
};

// Fills `pulse`. Returns 0, or -1 when the process is gone or the system does not tell.
int shoal_process_pulse(int32_t process_id, struct shoal_pulse *pulse);

// Makes this process die with the one that started it, even while it is stopped, and be the first to be killed when
// memory runs out. Where the system lacks one of these, nothing happens.
void shoal_depend_on_parent(void);

// Names the calling thread, for debuggers and top; cut to what the system allows.
void shoal_set_thread_name(const char *name);

#ifdef __cplusplus
}
#endif

#endif
